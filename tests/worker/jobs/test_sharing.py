"""One certification over several hosts has the certificate of one host alone, whatever happens.

Hosts are threads or processes with names of their own; each opens its own session with the engine.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime

import numpy as np
import pytest
from logged import list_events
from redis import Redis
from rq import Worker
from waiting import HANG_S, NEVER_S, wait_until
from waiting import running as start

from worker.contract import (
    TASK_COUNT_RANGES,
    CertificationJob,
    CohenParameters,
    Identity,
    StagedParameters,
    WorkerReport,
)
from worker.contract.certificate.ballots import check_disagreements
from worker.contract.certificate.document import FinishedResult
from worker.contract.protocol import CountRange, RangeCounted
from worker.contract.request import request_sha256
from worker.contract.votes import encode_votes
from worker.counting.range_merge import Disagreement, VotesDisagreed
from worker.engine.client import EngineClient
from worker.jobs import queue as job_queue
from worker.jobs.certify import run_certification
from worker.jobs.queue import CertificationRqJob
from worker.jobs.sharing.counter import RangeQueue, cut
from worker.jobs.sharing.help import help_certification
from worker.jobs.sharing.helpers import Helpers
from worker.jobs.sharing.ranges import BOARD_TTL_S, BoardGone, RangeBoard, SharedSession
from worker.store import hosts, images, keyspace
from worker.store.jobs import certificates, progress, results


@pytest.fixture
def sharing(settings):
    """Settings of a host that shares, and stores progress at once."""

    def create(shard_samples: int = 64, **changes: object):
        eager = {"shard_samples": shard_samples, "checkpoint_interval_s": 1e-9}
        return settings.model_copy(update=eager | changes)

    return create


def finished(redis: Redis, job: CertificationJob) -> FinishedResult:
    result = results.find_result(redis, job.id)
    assert isinstance(result, FinishedResult)
    return result


@pytest.fixture
def count_alone(redis, settings, submit) -> Callable[..., FinishedResult]:
    """What one host certifies; forgotten, so that the same request is counted again."""

    def certify(**changes: object) -> FinishedResult:
        job = submit(**changes)
        run_certification(redis, settings, job.id)
        result = finished(redis, job)
        for key in redis.scan_iter(keyspace.certificate("*")):
            redis.delete(key)
        return result

    return certify


def take_votes(redis: Redis) -> dict[bytes, bytes]:
    """All single votes that are stored, which are then forgotten."""
    stored = {key: redis.get(key) for key in redis.scan_iter(keyspace.votes("*", "*"))}
    redis.delete(*stored)
    return stored


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


@contextmanager
def running(settings, job: CertificationJob) -> Iterator["Future[None]"]:
    """A run of a job by the host that has taken it from the queue."""
    with (
        Redis.from_url(settings.redis_url.get_secret_value()) as redis,
        ThreadPoolExecutor() as pool,
    ):
        run = pool.submit(run_certification, redis, settings, job.id)
        try:
            yield run
        finally:  # a test that has failed still holds leases; without them the run can end
            for name in find_runs(redis, job):
                RangeBoard(redis, job.id, name, host="nobody").remove()


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


@pytest.fixture
def join(redis, settings) -> Iterator[Callable[..., Helper]]:
    joined: list[Helper] = []

    def create(job: CertificationJob, *, lease_s: float = NEVER_S) -> Helper:
        joined.append(Helper(redis, settings, job, lease_s))
        return joined[-1]

    yield create
    for helper in joined:
        helper.engine.__exit__()


def counted_so_far(redis: Redis, job: CertificationJob, counted: RangeCounted) -> int:
    """The samples of a range's stream that a checkpoint has, so that a look may have seen them."""
    name = f"{counted.phase}:{job.request.sigmas[counted.sigma_index]:f}"
    stored = progress.get_checkpoints(redis, job.id).get(name)
    return 0 if stored is None else stored.prefixes[0].n


def flipped(counted: RangeCounted, samples: int) -> RangeCounted:
    """Other votes for the first samples of a range."""
    votes = np.array(counted.get_votes(0))
    votes[:samples] = 1 - votes[:samples]
    counts = tuple(np.bincount(votes, minlength=2).tolist())
    return counted.model_copy(update={"counts": (counts,), "votes": (encode_votes(votes),)})


# --- The same certificate, whoever counted ---


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize(("shard_samples", "n"), [(1, 300), (64, 2000), (1000, 10_000)])
def test_the_certificate_is_that_of_one_host_alone(
    redis, sharing, submit, count_alone, number, shard_samples, n
):
    whole = count_alone(n=n)
    votes = take_votes(redis)
    job, settings = submit(n=n), sharing(shard_samples)
    with helpers(settings, job, number) as counted:
        run_certification(redis, settings, job.id)
    assert finished(redis, job).model_dump_json() == whole.model_dump_json()
    assert take_votes(redis) == votes
    assert sum(counted.values()) > 0


def test_staged_looks_are_those_of_one_host_alone(redis, sharing, submit, count_alone):
    """The looks are made one after another, so ranges are put up again and again."""
    procedure = StagedParameters(n_max=20_000, tolerance=0)
    whole = count_alone(procedure=procedure)
    assert len(whole.certificates[0].looks) > 5
    job, settings = submit(procedure=procedure), sharing(500)
    with helpers(settings, job, 2) as counted:
        run_certification(redis, settings, job.id)
    assert finished(redis, job) == whole
    assert sum(counted.values()) > 0


def test_a_host_alone_counts_everything_itself(redis, sharing, submit, count_alone):
    whole, job = count_alone(n=1000), submit(n=1000)
    run_certification(redis, sharing(), job.id)
    assert finished(redis, job) == whole


def test_nothing_is_left_of_a_run_that_has_ended(redis, sharing, submit):
    job = submit(n=1000)
    with helpers(sharing(), job, 1):
        run_certification(redis, sharing(), job.id)
    assert list(redis.scan_iter(keyspace.range_board(job.id, "*", "*"))) == []


# --- Hosts that die, are late, repeat themselves or are wrong ---

DIES_COUNTING = """
import sys, time
from redis import Redis
from worker.store import keyspace
from worker.jobs.sharing.ranges import RangeBoard
redis, certification_id = Redis.from_url(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
while not (found := list(redis.scan_iter(keyspace.range_board(certification_id, "*", "posting")))):
    time.sleep(0.001)
run = found[0].decode().split(":")[-2]
board = RangeBoard(redis, certification_id, run, host="dying", lease_s=3)
with board.renewed():
    print(board.lease().start, flush=True)
    time.sleep(6000)
"""


def test_the_range_of_a_killed_helper_is_counted_by_another(redis, sharing, submit, count_alone):
    """While it lives its lease is renewed, and the run waits; kill -9, and it goes on."""
    whole, job, settings = count_alone(n=10_000), submit(n=10_000), sharing()
    url = settings.redis_url.get_secret_value()
    command = [sys.executable, "-c", DIES_COUNTING, url, job.id]
    with start(command, stdout=subprocess.PIPE) as dying:
        try:
            assert dying.stdout.readline() == b"ready\n"
            with running(settings, job) as run:
                assert dying.stdout.readline()  # it has leased a range
                time.sleep(4)  # longer than a lease lasts
                assert not run.done()
                dying.kill()
                run.result(HANG_S)
        finally:
            dying.kill()
    assert finished(redis, job) == whole


def test_a_range_handed_in_twice_counts_once(redis, sharing, submit, count_alone, join):
    whole, job, settings = count_alone(n=5000), submit(n=5000), sharing()
    with running(settings, job) as run:
        helper = join(job)
        counted = [helper.count(wanted) for wanted in helper.lease(3)]
        for one in (*counted, *counted[::-1], counted[1]):
            helper.board.hand_in(one)
        run.result(HANG_S)
    assert finished(redis, job) == whole


def test_a_range_that_comes_after_its_lease_has_the_votes_of_its_retry(
    redis, sharing, submit, count_alone, join
):
    whole, job, settings = count_alone(n=5000), submit(n=5000), sharing()
    with running(settings, job) as run:
        late, last = join(job, lease_s=0.001), join(job)
        (wanted,), (held,) = late.lease(1), last.lease(1)
        time.sleep(0.5)  # the run has taken the first range again
        late.board.hand_in(late.count(wanted))
        last.board.hand_in(last.count(held))
        run.result(HANG_S)
    assert finished(redis, job) == whole


def test_samples_that_hosts_disagree_about_are_ambiguous(
    redis, sharing, submit, count_alone, join, caplog
):
    """Before a look has seen them: the range before theirs is still being counted."""
    whole, job, settings = count_alone(n=5000), submit(n=5000), sharing()
    with running(settings, job) as run:
        helper = join(job)
        held, doubted = map(helper.count, helper.lease(2))
        assert held.sigma_index == doubted.sigma_index
        helper.board.hand_in(doubted)
        helper.board.hand_in(flipped(doubted, 7))
        helper.board.hand_in(held)
        run.result(HANG_S)
    result = finished(redis, job)
    listed = [(one.sigma, one.sample) for one in result.provenance.disagreements]
    sigma = job.request.sigmas[doubted.sigma_index]
    assert listed == [(sigma, doubted.start + i) for i in range(7)]  # signed with the votes
    assert all(finding.holds for finding in check_disagreements(result))
    entry = result.certificates[doubted.sigma_index]
    alone = whole.certificates[doubted.sigma_index]
    assert (entry.ambiguous, entry.n) == (7, 5000)
    assert sum(alone.counts_estimation) - sum(entry.counts_estimation) == 7
    assert all(
        a >= b for a, b in zip(alone.counts_estimation, entry.counts_estimation, strict=True)
    )
    assert [event["differing"] for event in list_events(caplog, "votes_disagree")] == [7]


def test_doubt_about_votes_that_were_looked_at_counts_them_anew(
    redis, sharing, submit, count_alone, join
):
    """The retry begins at the beginning, with the doubted samples ambiguous for ever."""
    whole, job, settings = count_alone(n=5000), submit(n=5000), sharing()
    with running(settings, job) as run:
        helper = join(job)
        (first, held) = map(helper.count, helper.lease(2))
        helper.board.hand_in(first)
        wait_until(lambda: counted_so_far(redis, job, first) >= first.stop)
        helper.board.hand_in(flipped(first, 3))
        with pytest.raises(VotesDisagreed):
            run.result(HANG_S)
    assert held.sigma_index == first.sigma_index
    assert progress.get_checkpoints(redis, job.id) == {}
    for again in (job, submit(n=5000)):
        run_certification(redis, settings, again.id)
        entries = finished(redis, again).certificates
        assert [entry.ambiguous for entry in entries] == [
            3 if i == first.sigma_index else 0 for i in range(2)
        ]
        assert finished(redis, again) != whole
        for key in redis.scan_iter(keyspace.certificate("*")):
            redis.delete(key)


def test_a_duplicate_neither_ends_nor_goes_on_with_votes_that_were_contradicted(
    redis, sharing, submit, count_alone, watch
):
    """Two jobs ask the same; disagreement about a sample arises while the second counts alone."""
    whole, job = count_alone(n=5000), submit(n=5000)
    sha256 = request_sha256(job.request, whole.provenance.key_commitment)
    disagreement = Disagreement(0, "estimation", 0, 17)
    alone = sharing().model_copy(update={"shard_samples": 0, "checkpoint_interval_s": 1e-9})

    def disagree_at_the_second(number, _):
        if number == 2:
            redis.sadd(keyspace.disagreements(sha256), ":".join(map(str, disagreement)))

    watched = watch(disagree_at_the_second, keyspace.checkpoint(job.id))
    with pytest.raises(certificates.DisagreementsArose):
        run_certification(watched, alone, job.id)
    assert certificates.find_certificate(redis, sha256) is None
    run_certification(redis, alone, job.id)
    entries = finished(redis, job).certificates
    assert [entry.ambiguous for entry in entries] == [1, 0]


def test_a_helper_of_another_f_counts_nothing(redis, sharing, submit, join):
    job, settings = submit(n=5000), sharing()
    with running(settings, job) as run:
        helper = join(job)
        (leased,) = helper.lease(1)
        right = helper.board.find_session()
        other = right.identity.model_copy(update={"batch_size": right.identity.batch_size + 1})
        board = RangeBoard(redis, job.id, "other", host="run")
        wanted = cut(leased.model_copy(update={"start": 0, "stop": 640}), 64)
        board.put_up(SharedSession(session=right.session, identity=other), wanted)
        assert help_certification(redis, settings, job.id, "other", host="helper") == 0
        assert [board.lease() for _ in range(10)] == list(wanted)
        helper.board.hand_in(helper.count(leased))
        run.result(HANG_S)


# --- Runs that die, and Redis that forgets ---

RUNS = """
import sys
from redis import Redis
from worker.settings import WorkerSettings
from worker.tasks import run_certification
settings = WorkerSettings()
run_certification(Redis.from_url(settings.redis_url.get_secret_value()), settings, sys.argv[1])
"""


@pytest.mark.long
def test_a_run_killed_between_looks_goes_on_from_its_checkpoint(
    redis, sharing, submit, count_alone
):
    procedure = CohenParameters(n0=20, n=50_000)
    whole = count_alone(procedure=procedure)
    job, settings = submit(procedure=procedure), sharing(500)
    environment = {
        **os.environ,
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "PROMPTSMOOTH_DATA_DIR": str(settings.data_dir),
        "PROMPTSMOOTH_ENGINE_SOCKET": str(settings.socket_path),
        "PROMPTSMOOTH_SHARD_SAMPLES": "500",
        "PROMPTSMOOTH_CHECKPOINT_INTERVAL_S": "0.001",
    }
    with start([sys.executable, "-c", RUNS, job.id], env=environment) as process:
        wait_until(lambda: len(progress.get_checkpoints(redis, job.id)) > 2)
        process.kill()
    assert results.find_result(redis, job.id) is None
    (abandoned,) = find_runs(redis, job)
    stored = progress.get_checkpoints(redis, job.id)
    assert 0 < sum(c.prefixes[0].n for c in stored.values()) < 100_000
    for part in keyspace.RANGE_BOARD_PARTS:  # goes by itself, noise keys and all
        assert redis.ttl(keyspace.range_board(job.id, abandoned, part)) <= BOARD_TTL_S
    with helpers(settings, job, 1):
        run_certification(redis, settings, job.id)
    assert finished(redis, job) == whole


def test_a_board_that_redis_has_lost_is_put_up_again(redis, sharing, submit, count_alone, join):
    whole, job, settings = count_alone(n=5000), submit(n=5000), sharing()
    with running(settings, job) as run:
        helper = join(job)
        helper.lease(3)  # and never handed in
        helper.board.remove()
        run.result(HANG_S)
    assert finished(redis, job) == whole


def test_helpers_end_when_there_is_nothing_to_help_with(redis, sharing, submit, join):
    job, settings = submit(n=5000), sharing()
    assert help_certification(redis, settings, job.id, "none", host="helper") == 0
    with running(settings, job) as run:
        helper = join(job)
        posting, (leased,) = helper.board.find_session(), helper.lease(1)
        helper.board.hand_in(helper.count(leased))
        run.result(HANG_S)
    with pytest.raises(BoardGone):
        helper.board.lease()
    board = RangeBoard(redis, job.id, "late", host="run")
    board.put_up(posting, [leased])  # by a run that does not know of the result
    assert help_certification(redis, settings, job.id, "late", host="helper") == 0
    assert board.lease() == leased


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
        )
        hosts.announce(redis, report)

    return one


def register_workers(redis: Redis, number: int) -> None:
    queue = job_queue.create_queue(redis)
    for i in range(number):
        Worker([queue], name=f"w{i}", connection=redis, serializer="json").register_birth()


def test_help_is_asked_for_where_another_host_has_the_same_f(redis, posting, announce):
    job, posted = posting
    queue = job_queue.create_queue(redis)
    queue.empty()  # the job itself, which was run without the queue
    run = RangeBoard(redis, job.id, "run", host="a")
    run.put_up(posted, cut(CountRange(sigma_index=0, phase="estimation", start=0, stop=9), 3))
    other_f = posted.identity.model_copy(update={"threads": posted.identity.threads + 1})
    register_workers(redis, 3)
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


def test_a_call_for_help_holds_ids_alone_and_is_soon_forgotten(redis, posting):
    job, _ = posting
    queue = job_queue.create_queue(redis)
    queue.empty()
    register_workers(redis, 2)
    assert job_queue.ask_for_help(redis, job, "run", at_most=5) == 1
    (asked,) = queue.get_jobs()
    assert (asked.func_name, list(asked.args)) == (TASK_COUNT_RANGES, [job.id, "run"])
    assert asked.kwargs == {}
    assert asked.ttl <= 60
    assert isinstance(asked, CertificationRqJob)
    assert asked.func is not None
