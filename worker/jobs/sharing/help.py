"""Shares a certification through Redis and the queue: the run's side, and the helper's side."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis

from models.log import get_logger
from worker.contract import MAX_SAMPLES, CertificationJob
from worker.counting.counter import Counter
from worker.engine.client import EngineClient, EngineLost, EngineRefused
from worker.jobs.sharing.counter import SharingCounter, count_for_others, name_host
from worker.jobs.sharing.disagreements import Disagreements
from worker.jobs.sharing.helpers import Helpers
from worker.jobs.sharing.ranges import RangeBoard
from worker.settings import WorkerSettings
from worker.store import images, keyspace
from worker.store.jobs import records

log = get_logger(__name__)


@contextmanager
def share(
    engine: Counter,
    redis: Redis,
    settings: WorkerSettings,
    job: CertificationJob,
    disagreements: Disagreements,
) -> Iterator[Counter]:
    """Yields a counter that shares long ranges with other hosts, if the settings say so.

    Args:
        engine: the engine of this host.
        redis, settings: the surroundings.
        job: the certification that runs here.
        disagreements: the samples of it that two hosts counted differently. They are ambiguous
            here, shared or not; those that appear during this run are kept there.
    """
    if settings.shard_samples == 0 and not disagreements.known:
        yield engine
        return
    board = RangeBoard(redis, job.id, uuid.uuid4().hex, host=name_host(settings.socket_path))
    counter = SharingCounter(
        engine,
        board,
        helpers=Helpers(redis, job, board),
        disagreements=disagreements,
        shard_samples=settings.shard_samples or MAX_SAMPLES,
    )
    try:
        with board.renewed():
            yield counter
    finally:
        board.remove()
        if counter.samples_by_host:
            log.info(
                "ranges_shared",
                certification_id=job.id,
                samples_by_host=dict(counter.samples_by_host),
            )


def help_certification(
    redis: Redis,
    settings: WorkerSettings,
    certification_id: str,
    run: str,
    *,
    host: str,
) -> int:
    """Counts ranges of another host's run until none is open, and returns their number.

    A failure here harms nobody: the run counts what is not handed in.
    """
    board = RangeBoard(redis, certification_id, run, host=host)
    if _is_over(redis, certification_id) or not board.join():
        return 0
    try:
        counted = _count(redis, settings, board)
    except (EngineLost, EngineRefused, images.ImageExpired, images.ImageDamaged) as why:
        log.warning("helper_ended", reason=str(why))
        return 0
    finally:
        board.leave()
    log.info("ranges_counted", certification_id=certification_id, host=board.host, ranges=counted)
    return counted


def _count(redis: Redis, settings: WorkerSettings, board: RangeBoard) -> int:
    job, shared = records.find_job(redis, board.certification_id), board.find_session()
    if job is None or shared is None:
        return 0
    image = images.get_input(redis, job.request.input)
    counted = 0
    with (
        EngineClient.connect(
            settings.socket_path,
            wait_s=settings.engine_wait_s,
            urgent=job.priority == "urgent",
        ) as engine,
        board.renewed(),
    ):
        for _ in count_for_others(engine, board, shared, image):
            counted += 1
            if _is_over(redis, board.certification_id):
                break
    return counted


def _is_over(redis: Redis, certification_id: str) -> bool:
    return bool(redis.exists(keyspace.result(certification_id)))
