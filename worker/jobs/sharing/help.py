"""Sharing a certification through Redis and the queue: who runs it, and who is asked to help."""

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis

from worker.certification import Phase
from worker.contract import MAX_SAMPLES, CertificationJob, Identity
from worker.counting.counter import Counter
from worker.counting.range_merge import Doubt, RangeMerge
from worker.engine.client import EngineClient, EngineLost, EngineRefused
from worker.jobs import queue
from worker.jobs.sharing.counter import SharingCounter, count_for_others, name_host
from worker.jobs.sharing.ranges import RangeBoard
from worker.settings import WorkerSettings
from worker.store import hosts as hosts_store
from worker.store import images, keyspace
from worker.store.jobs import records

log = logging.getLogger(__name__)

_MAX_HELPERS = 16  # asked at a time; those on a host that counts already end at once


@contextmanager
def share(
    engine: Counter,
    redis: Redis,
    settings: WorkerSettings,
    job: CertificationJob,
    sha256: str,
    doubts: frozenset[Doubt],
) -> Iterator[tuple[Counter, set[Doubt]]]:
    """An engine whose long ranges are shared with other hosts, where the settings say so.

    Args:
        engine: this host's.
        redis, settings: the surroundings.
        job: the certification that is run here.
        sha256: names its canonical request.
        doubts: samples of it that two hosts counted differently before; they are ambiguous here,
            shared or not.
    """
    if settings.shard_samples == 0 and not doubts:
        yield engine, set()
        return
    run, known = uuid.uuid4().hex, set(doubts)

    def note_doubts(found: frozenset[Doubt]) -> None:
        keep_doubts(redis, job, sha256, found, settings)
        known.update(found)

    board = RangeBoard(redis, job.id, run, host=name_host(settings.socket_path))
    counter = SharingCounter(
        engine,
        board,
        shard_samples=settings.shard_samples or MAX_SAMPLES,
        merge=RangeMerge(doubts),
        ask_for_help=lambda identity, ranges: ask_for_help(redis, board, job, identity, ranges),
        keep_doubts=note_doubts,
    )
    try:
        with board.renewed():
            yield counter, known
    finally:
        board.remove()
        if counter.samples_by_host:
            fields = {"certification_id": job.id, "samples_by_host": dict(counter.samples_by_host)}
            log.info("ranges_shared", extra={"fields": fields})


def ask_for_help(
    redis: Redis, board: RangeBoard, job: CertificationJob, identity: Identity, ranges: int
) -> int:
    """Asks other workers, where a host has the same f and does not count yet; returns how many."""
    hosts = sum(identity in report.models for report in hosts_store.list_workers(redis))
    if ranges < 1 or hosts <= board.count_hosts():
        return 0
    return queue.ask_for_help(redis, job, board.run, at_most=min(ranges, _MAX_HELPERS))


def help_certification(
    redis: Redis,
    settings: WorkerSettings,
    certification_id: str,
    run: str,
    *,
    host: str,
) -> int:
    """Counts ranges of another host's run until none is open; returns how many.

    What goes wrong here harms nobody: the run counts itself what is not handed in.
    """
    board = RangeBoard(redis, certification_id, run, host=host)
    if _is_over(redis, certification_id) or not board.join():
        return 0
    try:
        counted = _count(redis, settings, board)
    except (EngineLost, EngineRefused, images.ImageExpired, images.ImageDamaged) as why:
        log.warning("helper_ended", extra={"fields": {"reason": str(why)}})
        return 0
    finally:
        board.leave()
    fields = {"certification_id": certification_id, "host": board.host, "ranges": counted}
    log.info("ranges_counted", extra={"fields": fields})
    return counted


def _count(redis: Redis, settings: WorkerSettings, board: RangeBoard) -> int:
    job, posting = records.find_job(redis, board.certification_id), board.find_posting()
    if job is None or posting is None:
        return 0
    described = job.request.input
    image = images.get_image(
        redis, described.sha256, height=described.height, width=described.width
    )
    counted = 0
    with (
        EngineClient.connect(settings.socket_path, wait_s=settings.engine_wait_s) as engine,
        board.renewed(),
    ):
        for _ in count_for_others(engine, board, posting, image):
            counted += 1
            if _is_over(redis, board.certification_id):
                break
    return counted


def _is_over(redis: Redis, certification_id: str) -> bool:
    return bool(redis.exists(keyspace.result(certification_id)))


# --- Samples that were counted differently ---


def get_doubts(redis: Redis, sha256: str) -> frozenset[Doubt]:
    """Samples of a canonical request that two hosts counted differently, at any time."""
    found = redis.smembers(keyspace.doubts(sha256))
    return frozenset(_parse_doubt(e.decode() if isinstance(e, bytes) else e) for e in found)


def keep_doubts(
    redis: Redis,
    job: CertificationJob,
    sha256: str,
    doubts: frozenset[Doubt],
    settings: WorkerSettings,
) -> None:
    """Keeps doubts as long as certificates, and drops counts that were made without them."""
    key = keyspace.doubts(sha256)
    with redis.pipeline() as pipeline:
        pipeline.sadd(key, *(":".join(map(str, doubt)) for doubt in doubts))
        pipeline.expire(key, settings.certificate_ttl_s)
        pipeline.delete(keyspace.checkpoint(job.id))
        pipeline.execute()


def _parse_doubt(text: str) -> Doubt:
    sigma_index, phase, ballot, sample = text.split(":")
    known: Phase = "selection" if phase == "selection" else "estimation"
    return Doubt(int(sigma_index), known, int(ballot), int(sample))
