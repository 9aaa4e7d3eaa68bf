"""Hosts that count one certification together, as tests of it need them."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from redis import Redis
from waiting import HANG_S, wait_until

from worker.contract import CertificationJob
from worker.contract.certificate.document import FinishedResult
from worker.contract.protocol import CountRange, RangeCounted
from worker.engine.client import EngineClient
from worker.jobs.certify import run_certification
from worker.jobs.sharing.counter import RangeQueue
from worker.jobs.sharing.help import help_certification
from worker.jobs.sharing.ranges import RangeBoard
from worker.store import images, keyspace
from worker.store.jobs import results


def finished(redis: Redis, job: CertificationJob) -> FinishedResult:
    result = results.find_result(redis, job.id)
    assert isinstance(result, FinishedResult)
    return result


def find_runs(redis: Redis, job: CertificationJob) -> list[str]:
    """The runs of a certification that have ranges up."""
    pattern = keyspace.range_board(job.id, "*", "posting")
    return [key.decode().split(":")[-2] for key in redis.scan_iter(pattern)]


def pass_time(redis: Redis, job: CertificationJob, part: str, seconds: float) -> None:
    """So much of the time is over for which leases or hosts of the run `run` hold."""
    key = keyspace.range_board(job.id, "run", part)
    for name in redis.zrange(key, 0, -1):
        redis.zincrby(key, -1000 * seconds, name)


@contextmanager
def running(
    settings, job: CertificationJob, redis: Redis | None = None
) -> Iterator["Future[None]"]:
    """A run of a job by the host that has taken it from the queue, over its own connection."""
    with (
        redis or Redis.from_url(settings.redis_url.get_secret_value()) as redis,
        ThreadPoolExecutor() as pool,
    ):
        run = pool.submit(run_certification, redis, settings, job.id)
        try:
            yield run
        finally:  # a test that has failed still holds leases; without them the run can end
            for name in find_runs(redis, job):
                RangeBoard(redis, job.id, name, host="nobody").remove()


@contextmanager
def helpers(settings, job: CertificationJob, number: int) -> Iterator[dict[int, int]]:
    """`number` hosts that help whatever run of a job there is; ranges counted, by host."""
    over = threading.Event()
    counted = dict.fromkeys(range(number), 0)

    def work(i: int) -> None:
        with Redis.from_url(settings.redis_url.get_secret_value()) as redis:
            while not over.is_set():
                for run in find_runs(redis, job):
                    host = f"host-{i}"
                    counted[i] += help_certification(redis, settings, job.id, run, host=host)
                time.sleep(0.002)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield counted
    finally:
        over.set()
        for thread in threads:
            thread.join()


class Helper:
    """A host that does with its ranges what a test wants: late, twice, wrongly or never."""

    def __init__(self, redis: Redis, settings, job: CertificationJob, lease_s: float) -> None:
        (run,) = wait_until(lambda: find_runs(redis, job), pause_s=0.001)
        self.board = RangeBoard(redis, job.id, run, host="strange", lease_s=lease_s)
        posting = self.board.find_session()
        assert posting is not None
        described = job.request.input
        image = images.get_image(
            redis, described.sha256, height=described.height, width=described.width
        )
        self.engine = EngineClient.connect(settings.socket_path, wait_s=HANG_S)
        self.identity = self.engine.open(posting.session, image).identity

    def lease(self, number: int) -> list[CountRange]:
        """Takes ranges, so that the run has to wait for them."""
        return [wanted for _ in range(number) if (wanted := self.board.lease()) is not None]

    def count(self, wanted: CountRange) -> RangeCounted:
        """Counts a range, and keeps what it counted."""
        ranges = RangeQueue(self.engine, self.identity)
        ranges.ask(wanted)
        return ranges.receive()
