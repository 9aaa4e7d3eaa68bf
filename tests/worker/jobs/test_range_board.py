"""The board of ranges: what is put up and leased, and which hosts are asked to help."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from redis import Redis
from sharing_hosts import pass_time, running
from waiting import HANG_S

from worker.contract import (
    TASK_COUNT_RANGES,
    CertificationJob,
    Identity,
    WorkerReport,
)
from worker.contract.protocol import CountRange
from worker.jobs import queue as job_queue
from worker.jobs.queue import CertificationRqJob
from worker.jobs.sharing.counter import cut
from worker.jobs.sharing.helpers import Helpers
from worker.jobs.sharing.ranges import RangeBoard, SharedSession
from worker.store import hosts, keyspace

# --- The board itself ---


@pytest.fixture
def posting(redis, settings, submit, join, sharing) -> tuple[CertificationJob, SharedSession]:
    """What a run posts."""
    job = submit(n=5000)
    with running(sharing(), job) as run:
        found = join(job).board.find_session()
        run.result(HANG_S)
    assert found is not None
    return job, found


def test_what_is_put_up_is_seen_whole_or_not_at_all(redis, settings, posting):
    job, posted = posting
    board = RangeBoard(redis, job.id, "run", host="run")
    wanted = cut(CountRange(sigma_index=0, phase="estimation", start=0, stop=1000), 10)
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            board.put_up(posted, wanted)
            board.remove()

    with (
        Redis.from_url(settings.redis_url.get_secret_value()) as other,
        ThreadPoolExecutor() as pool,
    ):
        done = pool.submit(come_and_go)
        seen = set()
        for _ in range(2000):
            with other.pipeline() as pipeline:
                pipeline.get(keyspace.range_board(job.id, "run", "posting"))
                pipeline.llen(keyspace.range_board(job.id, "run", "open"))
                data, ranges = pipeline.execute()
            seen.add(
                (data is not None and SharedSession.model_validate_json(data) == posted, ranges)
            )
        over.set()
        done.result(HANG_S)
    assert seen == {(True, 100), (False, 0)}


def test_a_range_is_leased_to_one_host_at_a_time_and_the_first_come_first(redis, posting):
    job, posted = posting
    wanted = cut(CountRange(sigma_index=1, phase="estimation", start=30, stop=100), 30)
    assert [(one.start, one.stop) for one in wanted] == [(30, 60), (60, 90), (90, 100)]
    one, two = (RangeBoard(redis, job.id, "run", host=host, lease_s=100) for host in "ab")
    one.put_up(posted, wanted)
    assert [one.lease(), two.lease(), two.lease(), one.lease()] == [*wanted, None]
    pass_time(redis, job, "leases", 75)
    one.renew()
    pass_time(redis, job, "leases", 75)  # those of `two` have run out
    assert [one.lease(), one.lease(), one.lease()] == [*wanted[1:], None]


def test_a_host_counts_once_at_a_time_for_a_run(redis, posting):
    job, posted = posting
    run, *workers = (RangeBoard(redis, job.id, "run", host=h, lease_s=100) for h in "abb")
    assert not workers[0].join()  # nothing is there yet
    run.put_up(posted, cut(CountRange(sigma_index=0, phase="estimation", start=0, stop=9), 3))
    assert [worker.join() for worker in workers] == [True, False]
    assert run.count_hosts() == 2
    workers[0].leave()
    assert workers[1].join()
    pass_time(redis, job, "hosts", 150)  # and dies
    assert run.count_hosts() == 0
    assert workers[0].join()


# --- Who is asked to help ---


@pytest.fixture
def announce(redis) -> Callable[[str, Identity], None]:
    def one(name: str, identity: Identity) -> None:
        report = WorkerReport(
            name=name,
            started_at=datetime.now(UTC),
            ready=True,
            key_commitment="0" * 64,
            models=(identity,),
            rq_workers=1,
        )
        hosts.announce(redis, report)

    return one


def test_help_is_asked_for_where_another_host_has_the_same_f(redis, posting, announce):
    job, posted = posting
    queue = job_queue.create_queue(redis)
    queue.empty()  # the job itself, which was run without the queue
    run = RangeBoard(redis, job.id, "run", host="a")
    run.put_up(posted, cut(CountRange(sigma_index=0, phase="estimation", start=0, stop=9), 3))
    other_f = posted.identity.model_copy(update={"threads": posted.identity.threads + 1})
    announce("a", posted.identity)
    announce("b", other_f)
    assert Helpers(redis, job, run).ask(posted.identity, 3) == 0
    announce("c", posted.identity)
    assert Helpers(redis, job, run).ask(posted.identity, 0) == 0
    assert Helpers(redis, job, run).ask(posted.identity, 1) == 1
    assert Helpers(redis, job, run).ask(posted.identity, 3) == 0  # jobs wait: nobody is idle
    queue.empty()
    assert Helpers(redis, job, run).ask(posted.identity, 3) == 2  # no more than other workers
    queue.empty()
    RangeBoard(redis, job.id, "run", host="c").join()
    assert Helpers(redis, job, run).ask(posted.identity, 3) == 0  # all help already


def test_a_call_for_help_holds_ids_alone_and_is_soon_forgotten(redis, posting, announce):
    job, posted = posting
    queue = job_queue.create_queue(redis)
    queue.empty()
    announce("a", posted.identity)
    announce("b", posted.identity)
    assert job_queue.ask_for_help(redis, job, "run", at_most=5) == 1
    (asked,) = queue.get_jobs()
    assert (asked.func_name, list(asked.args)) == (TASK_COUNT_RANGES, [job.id, "run"])
    assert asked.kwargs == {}
    assert asked.ttl <= 60
    assert isinstance(asked, CertificationRqJob)
    assert asked.func is not None
