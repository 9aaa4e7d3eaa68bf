"""Who is next: urgent jobs before all others, batches last, and each some time."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Listener

import pytest
from redis import Redis
from rq.exceptions import DequeueTimeout
from rq_workers import done, ended_at, rq_worker
from waiting import HANG_S, NEVER_S, wait_until

from worker.contract import PRIORITIES, QUEUE_NAME, CertificationJob, Priority
from worker.contract.quantities import MAX_SAMPLES
from worker.contract.request import canonical_bytes
from worker.engine.client import EngineLost
from worker.jobs import queue as job_queue
from worker.jobs.cancel import cancel
from worker.jobs.certify import run_certification
from worker.jobs.janitor import SUSPECT_S
from worker.jobs.load import find_ahead, get_load
from worker.jobs.priority import OVERTAKEN, UrgentQueue, give_turn, list_waiting
from worker.jobs.purge import purge
from worker.jobs.queue import create_queue
from worker.jobs.state import get_state
from worker.processes import hand_back
from worker.rq_worker import create_janitor
from worker.settings import WorkerSettings
from worker.store import keyspace
from worker.store.jobs import accepted, records, results

Send = Callable[..., CertificationJob]
AGING_S = 600.0


@pytest.fixture
def send(redis: Redis, create_job) -> Send:
    """Accepts a job of a priority."""

    def accept(priority: Priority = "normal", **changes: object) -> CertificationJob:
        job, image = create_job(**changes)
        job = job.model_copy(update={"priority": priority})
        job_queue.accept_jobs(redis, [(job, image)], image_ttl_s=NEVER_S, job_ttl_s=NEVER_S)
        return job

    return accept


@pytest.fixture
def take(redis: Redis) -> Callable[..., str | None]:
    """Takes a job as a free worker does."""

    def take_one(*, now: float | None = None) -> str | None:
        queue = create_queue(redis)
        give_turn(queue, aging_s=AGING_S, now=now)
        taken = redis.lmove(queue.key, queue.intermediate_queue_key)
        return None if taken is None else taken.decode()

    return take_one


def take_all(take: Callable[..., str | None], **when: float) -> list[str]:
    found = []
    while (job_id := take(**when)) is not None:
        found.append(job_id)
    return found


def find_lost_later(redis: Redis, settings: WorkerSettings) -> None:
    """Looks for lost jobs twice, each time as if `SUSPECT_S` had passed."""
    janitor = create_janitor(settings, redis, QUEUE_NAME, "janitor")
    for _ in range(2):
        for key in (keyspace.accepted(QUEUE_NAME), keyspace.suspects(QUEUE_NAME)):
            for one in redis.zrange(key, 0, -1):
                redis.zincrby(key, -SUSPECT_S, one)
        janitor.find_lost()


def test_urgent_jobs_go_first_and_batches_last_each_in_their_order(send, take):
    sent = [send(priority, seed=i) for i in range(3) for priority in reversed(PRIORITIES)]
    # the first batch had its turn when nothing else waited
    batch, *rest = sent
    assert batch.priority == "batch"
    expected = [job.id for priority in PRIORITIES for job in rest if job.priority == priority]
    taken = take_all(take)
    assert sorted(taken) == sorted(job.id for job in sent)
    assert [one for one in taken if one != batch.id] == expected
    assert taken.index(batch.id) <= 3  # behind the urgent ones, in RQ's queue already


def test_an_urgent_job_is_next_however_many_wait(send, take):
    for i in range(50):
        send("batch", seed=i)
    for i in range(50):
        send("normal", seed=50 + i)
    take()
    urgent = send("urgent", seed=100)
    assert take() == urgent.id


def test_a_normal_job_waits_for_one_batch_at_most(send, take):
    for i in range(20):
        send("batch", seed=i)
    take()
    normal = send("normal", seed=20)
    assert normal.id in (take(), take())


def test_a_job_that_waited_long_gets_every_fourth_turn_of_urgent_ones(send, take):
    """Urgent jobs come without end; a normal one and a batch have waited for long."""
    old = [send("normal", seed=i) for i in range(2)] + [send("batch", seed=i) for i in (2, 3)]
    urgent = [send("urgent", seed=10 + i) for i in range(20)]
    later = time.time() + AGING_S + 1
    taken = [take(now=later) for _ in range(16)]
    assert [taken.index(job.id) for job in old] == [3, 7, 11, 15]
    assert [one for one in taken if one not in {job.id for job in old}] == [
        job.id for job in urgent[:12]
    ]


def test_a_batch_that_waited_long_gets_every_fourth_turn_of_normal_ones(send, take):
    normal = [send("normal", seed=i) for i in range(12)]
    batch = [send("batch", seed=20 + i) for i in range(2)]
    taken = [take(now=time.time() + AGING_S + 1) for _ in range(8)]
    assert [taken.index(job.id) for job in batch] == [3, 7]
    assert taken[:3] == [job.id for job in normal[:3]]


def test_a_single_urgent_job_is_next_though_others_have_waited_long(send, take):
    """What normal jobs have been granted counts nothing against it."""
    batch = [send("batch", seed=i) for i in range(10)]
    for i in range(10):
        send("normal", seed=20 + i)
    later = time.time() + AGING_S + 1
    for round_ in range(5):
        for _ in range(OVERTAKEN):
            take(now=later)
        urgent = send("urgent", seed=50 + round_)
        assert take(now=later) == urgent.id
    assert batch


def test_jobs_that_have_not_waited_long_are_granted_no_turn(send, take):
    normal = [send("normal", seed=i) for i in range(8)]
    send("batch", seed=20)
    assert [take() for _ in range(8)] == [job.id for job in normal]


def test_a_worker_takes_them_in_this_order(redis, settings, send):
    """One worker, busy at first. What comes meanwhile waits for one job's length at most."""
    running = send("normal", n=MAX_SAMPLES)
    with rq_worker(settings):
        wait_until(lambda: done(redis, running.id) > 0)
        rest = [send(one, seed=i + 1) for i, one in enumerate(("batch", "batch", "normal"))]
        urgent = send("urgent", seed=9)
        cancel(redis, running.id, ttl_s=NEVER_S)
        wait_until(lambda: all(results.has_result(redis, job.id) for job in (*rest, urgent)))
    assert ended_at(redis, urgent) <= min(ended_at(redis, job) for job in rest)
    assert ended_at(redis, rest[1]) >= max(ended_at(redis, job) for job in rest)


def test_an_urgent_job_begins_beside_a_running_one(redis, settings, send):
    """A worker of urgent jobs takes it, and leaves all others alone."""
    running = send("normal", n=MAX_SAMPLES)
    with rq_worker(settings), rq_worker(settings, QUEUE_NAME, "urgent"):
        wait_until(lambda: done(redis, running.id) > 0)
        others = [send("batch", seed=1), send("normal", seed=2)]
        urgent = [send("urgent", seed=seed) for seed in (3, 4)]
        wait_until(lambda: all(results.has_result(redis, job.id) for job in urgent))
        assert get_state(redis, running.id) == "running"
        assert [get_state(redis, job.id) for job in others] == ["queued", "queued"]


def test_a_worker_of_urgent_jobs_takes_them_wherever_they_wait(redis, send):
    """In their list, at the front of RQ's queue, or behind one that has waited for long."""
    queue = UrgentQueue(QUEUE_NAME, connection=redis)
    first = send("urgent")  # into RQ's empty queue
    normal, batch = send("normal", seed=1), send("batch", seed=2)
    second = send("urgent", seed=3)
    queue.push_job_id(normal.id, at_front=True)
    taken = [UrgentQueue.lmove(redis, queue.key, None) for _ in range(3)]
    assert taken == [(queue.key, first.id), (queue.key, second.id), None]
    assert redis.lrange(queue.intermediate_queue_key, 0, -1) == [
        job.id.encode() for job in (first, second)
    ]
    assert list_waiting(redis)["batch"] == (batch.id,)


def test_jobs_that_are_handed_back_hide_no_urgent_one(redis, send):
    """As when a whole host is drained: its jobs come back in any order."""
    queue = create_queue(redis)
    others = [send("normal", seed=seed) for seed in range(3)]
    urgent = [send("urgent", seed=seed) for seed in (3, 4)]
    for job in (*others, *urgent):
        queue.remove(job.id)
    for job in (others[0], urgent[0], others[1], urgent[1], others[2]):
        queue.push_job_id(job.id, at_front=True)
    taken = [UrgentQueue.lmove(redis, queue.key, None) for _ in range(3)]
    assert {one for one in taken if one} == {(queue.key, job.id) for job in urgent}
    assert taken[2] is None
    assert sorted(queue.job_ids) == sorted(job.id for job in others)


def test_rings_are_bounded_and_forgotten(redis, send):
    for seed in range(70):
        send("urgent", seed=seed)
    bell = keyspace.bell(QUEUE_NAME)
    assert redis.llen(bell) == 64
    assert 0 < redis.ttl(bell) <= 60


def test_an_urgent_job_that_is_handed_back_is_the_next_of_its_kind(redis, settings, send):
    job = send("urgent", n=MAX_SAMPLES)
    with rq_worker(settings, QUEUE_NAME, "urgent") as process:
        wait_until(lambda: done(redis, job.id) > 0)
        process.send_signal(hand_back.HAND_BACK)
        assert process.wait(HANG_S) == 0
    send("normal", seed=1)
    later = send("urgent", seed=2)
    key = create_queue(redis).key
    taken = [UrgentQueue.lmove(redis, key, None) for _ in range(3)]
    assert taken == [(key, job.id), (key, later.id), None]


@pytest.mark.parametrize("priority", PRIORITIES)
def test_the_engine_is_told_which_jobs_are_urgent(redis, settings, send, tmp_path, priority):
    job, path = send(priority), tmp_path / "engine.sock"
    here = settings.model_copy(update={"engine_socket": path})
    with Listener(str(path), family="AF_UNIX") as listener, ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_certification, redis, here, job.id)
        with listener.accept() as connection:
            opened = json.loads(connection.recv_bytes())
        with pytest.raises(EngineLost):
            running.result(HANG_S)
    assert opened.get("urgent", False) == (priority == "urgent")


def test_a_batch_is_still_found_after_the_last_urgent_job_left_rq_s_queue(redis, send):
    """A worker that waits at RQ's queue is woken by it alone."""
    urgent, batch = send("urgent"), send("batch", seed=1)
    queue = create_queue(redis)
    assert UrgentQueue.lmove(redis, queue.key, None) == (queue.key, urgent.id)
    assert queue.job_ids == [batch.id]


def test_a_worker_of_urgent_jobs_that_waits_is_woken(redis, send):
    key = create_queue(redis).key
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(UrgentQueue.lmove, redis, key, int(NEVER_S))
        wait_until(lambda: any("blpop" in one["cmd"] for one in redis.client_list()))
        send("normal")
        job = send("urgent", seed=1)
        assert waiting.result(HANG_S) == (key, job.id)
    with pytest.raises(DequeueTimeout):
        UrgentQueue.lmove(redis, key, 1)


def test_an_urgent_job_whose_worker_was_killed_before_it_began_waits_again(redis, settings, send):
    job = send("urgent")
    queue = create_queue(redis)
    UrgentQueue.lmove(redis, queue.key, None)  # and the worker is gone
    find_lost_later(redis, settings)
    assert UrgentQueue.lmove(redis, queue.key, None) == (queue.key, job.id)


@pytest.mark.long
def test_an_urgent_image_overtakes_five_hundred_queued_ones(redis, settings, send):
    """Within one job's length: only the job that a worker had taken by then ends before it."""
    batch = [send("batch", seed=i) for i in range(500)]
    with rq_worker(settings):
        wait_until(lambda: sum(results.has_result(redis, job.id) for job in batch) >= 3)
        urgent = send("urgent", seed=1000)
        ended_by_then = sum(results.has_result(redis, job.id) for job in batch)
        wait_until(lambda: results.has_result(redis, urgent.id), pause_s=0.001)
    ended = [job for job in batch if results.has_result(redis, job.id)]
    assert sum(ended_at(redis, job) < ended_at(redis, urgent) for job in ended) <= ended_by_then + 1
    assert len(ended) < len(batch)


@pytest.mark.parametrize("priority", PRIORITIES)
def test_a_waiting_job_is_queued_is_cancelled_and_leaves_nothing(redis, send, priority):
    send("normal"), send("normal", seed=1)
    job = send(priority, seed=2)
    assert get_state(redis, job.id) == "queued"
    assert job.id in list_waiting(redis)[priority]
    assert cancel(redis, job.id, ttl_s=60)
    assert job.id not in list_waiting(redis)[priority]
    purge(redis, job, ttl_s=60)
    left = [key for key in redis.scan_iter(f"*{job.id}*") if b"cancel" not in key]
    assert left == []


@pytest.mark.parametrize("priority", PRIORITIES)
def test_a_waiting_job_that_rq_lost_waits_again_by_its_priority(redis, settings, send, priority):
    send("normal")
    job = send(priority, seed=1)
    redis.delete(f"rq:job:{job.id}", create_queue(redis).key)
    for key in redis.scan_iter(keyspace.waiting("*")):
        redis.delete(key)
    janitor = create_janitor(settings, redis, QUEUE_NAME, "janitor")
    for key in (keyspace.accepted(QUEUE_NAME), keyspace.suspects(QUEUE_NAME)):
        for one in redis.zrange(key, 0, -1):
            redis.zincrby(key, -SUSPECT_S, one)
        janitor.find_lost()
    assert accepted.is_open(redis, QUEUE_NAME, job.id)
    redis.zincrby(keyspace.suspects(QUEUE_NAME), -SUSPECT_S, job.id)
    janitor.find_lost()
    waiting = list_waiting(redis)
    # the first that comes back fills RQ's queue, which must not be empty while others wait
    assert job.id in (*waiting[priority], *waiting["normal"][:1])


def test_waiting_jobs_are_missed_by_no_janitor(redis, settings, send):
    for i, priority in enumerate((*PRIORITIES, *PRIORITIES)):
        send(priority, seed=i)
    before = list_waiting(redis)
    find_lost_later(redis, settings)
    assert list_waiting(redis) == before


def test_a_batch_that_was_handed_back_goes_on_first(redis, settings, send):
    job = send("batch", n=MAX_SAMPLES)
    with rq_worker(settings) as process:
        wait_until(lambda: done(redis, job.id) > 0)
        others = [send("batch", seed=1), send("normal", seed=2)]
        process.send_signal(hand_back.HAND_BACK)
        process.wait()
    assert others
    assert create_queue(redis).job_ids[0] == job.id


def test_what_waits_before_a_job_is_counted_by_its_priority(redis, send):
    jobs = [send(one, seed=i, n=100) for i, one in enumerate(("normal", "batch", "urgent"))]
    each = jobs[0].request.samples_total
    for number, priority in enumerate(PRIORITIES, start=1):
        assert get_load(redis, priority).jobs == number
        assert get_load(redis, priority).samples == {"linear": number * each}
    assert [find_ahead(redis, job.id).jobs for job in jobs] == [2, 3, 1]


def test_priority_is_no_part_of_the_request_and_normal_is_not_written(redis, send):
    normal, urgent = send("normal"), send("urgent")
    assert canonical_bytes(normal.request.identity()) == canonical_bytes(urgent.request.identity())
    assert b"priority" not in redis.get(keyspace.job(normal.id))
    assert redis.get(keyspace.priority(normal.id)) is None
    assert records.find_job(redis, urgent.id).priority == "urgent"
