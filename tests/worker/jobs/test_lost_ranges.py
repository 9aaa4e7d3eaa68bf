"""Runs of a shared certification that die, and ranges of it that Redis forgets."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from sharing_hosts import find_runs, finished, helpers, running
from waiting import HANG_S, wait_until
from waiting import running as start

from worker.contract import (
    CohenParameters,
)
from worker.contract.protocol import CountRange
from worker.counting.roll import Roll
from worker.counting.sessions import NOTHING_TUNED, create_session
from worker.engine.client import EngineClient
from worker.jobs.certify import run_certification
from worker.jobs.sharing.counter import cut
from worker.jobs.sharing.disagreements import Disagreements
from worker.jobs.sharing.help import share
from worker.jobs.sharing.ranges import (
    BOARD_TTL_S,
    RangeBoard,
)
from worker.store import keyspace
from worker.store.jobs import progress, results

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


def test_ranges_that_redis_has_lost_are_put_up_again_after_those_put_up_since(
    redis, sharing, submit, count_alone, watch
):
    """One noise level's ranges are lost, and those of the next put the board up anew."""
    whole, job, settings = count_alone(n=5000), submit(n=5000), sharing()
    lost: list[str] = []

    def lose(_: int, commands: list[tuple]) -> None:
        if any(name == "RPUSH" and key.endswith(":open") for name, key, *_ in commands):
            for run in find_runs(redis, job):
                RangeBoard(redis, job.id, run, host="strange").remove()
                lost.append(run)

    with running(settings, job, watch(lose)) as run:
        run.result(HANG_S)
    assert lost, "the run had ranges up when it put up more"
    assert finished(redis, job) == whole


def test_ranges_that_come_back_do_not_hide_those_that_are_lost(redis, sharing, create_job):
    """A Redis that is set back has ranges again whose votes the run has, and lacks others."""
    (job, image), settings = create_job(), sharing()
    wanted = CountRange(sigma_index=0, phase="estimation", start=0, stop=2000)
    ranges, roll = cut(wanted, settings.shard_samples), Roll(job.request, b"of this test")
    disagreements = Disagreements(redis, job, roll.sha256, ttl_s=600)
    with (
        ThreadPoolExecutor() as pool,
        EngineClient.connect(settings.socket_path, wait_s=HANG_S) as engine,
        share(engine, redis, settings, job, disagreements) as counter,
    ):
        counter.open(create_session(job.request, {}, NOTHING_TUNED, roll.keys), image)
        counter.count(wanted)
        came = [counter.receive() for _ in range(10)]
        (run,) = find_runs(redis, job)
        board = RangeBoard(redis, job.id, run, host="strange")
        shared = board.find_session()
        assert shared is not None
        board.remove()
        board.put_up(shared, ranges[:4])
        others = pool.submit(lambda: [counter.receive() for _ in ranges[10:]])
        try:
            came += others.result(HANG_S)
        finally:
            board.remove()  # or it would wait for ever where the test fails
    assert [(one.start, one.stop) for one in came] == [(one.start, one.stop) for one in ranges]
