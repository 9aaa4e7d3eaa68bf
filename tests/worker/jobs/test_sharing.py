"""One certification over several hosts has the certificate of one host alone, whatever happens.

Hosts are threads or processes with names of their own; each opens its own session with the engine.
"""

import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import pytest
from logged import list_events
from redis import Redis
from sharing_hosts import finished, helpers, running
from waiting import HANG_S, wait_until
from waiting import running as start

from worker.contract import (
    CertificationJob,
    StagedParameters,
)
from worker.contract.certificate.ballots import check_disagreements
from worker.contract.protocol import RangeCounted
from worker.contract.request import request_sha256
from worker.contract.votes import encode_votes
from worker.counting.range_merge import Disagreement, VotesDisagreed
from worker.jobs.certify import run_certification
from worker.jobs.sharing.counter import cut
from worker.jobs.sharing.help import help_certification
from worker.jobs.sharing.ranges import (
    LEASE_S,
    BoardGone,
    RangeBoard,
    SharedSession,
)
from worker.store import keyspace
from worker.store.jobs import certificates, progress


def take_votes(redis: Redis) -> dict[bytes, bytes]:
    """All single votes that are stored, which are then forgotten."""
    stored = {key: redis.get(key) for key in redis.scan_iter(keyspace.votes("*", "*"))}
    redis.delete(*stored)
    return stored


def waiting_for_help(
    redis: Redis, job: CertificationJob, counted: dict[int, int]
) -> Callable[..., None]:
    """Holds a run back where ranges are open, until a helper has counted some.

    Else a run on a busy machine may count them all before a helper has looked.
    """

    def has_open() -> bool:
        boards = redis.scan_iter(keyspace.range_board(job.id, "*", "open"))
        return any(redis.llen(board) for board in boards)

    def hold(*_: object) -> None:
        if not sum(counted.values()) and has_open():
            wait_until(lambda: sum(counted.values()))

    return hold


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
    redis, sharing, submit, count_alone, watch, number, shard_samples, n
):
    whole = count_alone(n=n)
    votes = take_votes(redis)
    job, settings = submit(n=n), sharing(shard_samples)
    with helpers(settings, job, number) as counted:
        held = watch(waiting_for_help(redis, job, counted), keyspace.checkpoint(job.id))
        run_certification(held, settings, job.id)
    assert finished(redis, job).model_dump_json() == whole.model_dump_json()
    assert take_votes(redis) == votes
    assert sum(counted.values()) > 0


def test_staged_looks_are_those_of_one_host_alone(redis, sharing, submit, count_alone, watch):
    """The looks are made one after another, so ranges are put up again and again."""
    procedure = StagedParameters(n_max=20_000, tolerance=0)
    whole = count_alone(procedure=procedure)
    assert len(whole.certificates[0].looks) > 5
    job, settings = submit(procedure=procedure), sharing(500)
    with helpers(settings, job, 2) as counted:
        held = watch(waiting_for_help(redis, job, counted), keyspace.checkpoint(job.id))
        run_certification(held, settings, job.id)
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
board = RangeBoard(redis, certification_id, run, host="dying")
with board.renewed():
    print(board.lease().start, flush=True)
    time.sleep(6000)
"""


@pytest.mark.long
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
                time.sleep(LEASE_S + 1)  # longer than a lease lasts
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
