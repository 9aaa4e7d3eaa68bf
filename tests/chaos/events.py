"""What is done to the service, and how long each thing takes to be as before."""

import time
from collections.abc import Callable
from functools import partial
from random import Random

import httpx2
import psutil
from chaos.service import Ask, Service, wait_for

from worker.jobs.queue import create_queue

OUTAGE_S = 30.0


def kill_horse(service: Service, random: Random) -> float:
    """The process that runs one job."""
    job, horse = _choose(service, random)
    return _recover(service, [job], horse.kill)


def kill_engine(service: Service, random: Random) -> float:
    """The process with the models: all jobs of the host wait for it."""
    wait_for(lambda: service.processes("worker.engine"), what="an engine")
    (engine,) = service.processes("worker.engine")
    return _recover(service, service.find_victims(random), engine.kill)


def kill_worker(service: Service, random: Random) -> float:
    """An RQ worker: the job it ran falls silent."""
    job, horse = _choose(service, random)
    worker = horse.parent()
    assert worker is not None
    return _recover(service, [job], worker.kill)


def kill_host(service: Service, random: Random) -> float:
    """The supervisor, and with it every process of the worker host."""

    host = next(p for p in service.processes("-m worker") if p.cmdline()[-1] == "worker")
    return _recover(service, service.find_victims(random), host.kill)


def kill_app(service: Service, random: Random) -> float:
    """The HTTP side; recovered when it answers."""
    app = service.processes("-m app")[0]
    began = time.monotonic()
    app.kill()
    wait_for(lambda: service.get("/healthz").status_code == 200, what="the app")
    return time.monotonic() - began


def kill_redis(service: Service, random: Random) -> float:
    """The queue; recovered when a request is accepted, and nothing accepted before is gone."""
    redis, began = _redis_process(service), time.monotonic()
    redis.kill()
    service.submit(Ask(seed=random.randrange(10**6, 10**7), n=20))
    return time.monotonic() - began


def stop_redis(service: Service, random: Random) -> float:
    """The queue is away for half a minute; recovered when every job counts again or has ended."""
    victims, redis = service.find_victims(random), _redis_process(service)
    redis.suspend()
    try:
        deadline = time.monotonic() + OUTAGE_S
        while time.monotonic() < deadline:
            try:  # the client does not wait as long as the outage lasts
                answer = service.post(Ask(seed=1, n=20))
                assert answer.status_code == 503, answer.text
            except httpx2.TransportError as error:
                raise AssertionError("the app did not answer in the outage") from error
            time.sleep(1)
    finally:
        redis.resume()
    began = time.monotonic()
    done = {job: service.samples_done(job) for job in victims}
    for job in victims:
        again = partial(service.counts_again, job, None, done[job])
        wait_for(again, what=job)
    return time.monotonic() - began


def stop_before_start(service: Service, random: Random) -> float:
    """Workers are killed that Redis has given a job and that have not begun it.

    Stopped while they wait, one of them is given the next job; then they are killed.
    """
    queue = create_queue(service.redis)
    while True:
        wait_for(lambda: not queue.count and not service.horses(), what="it is idle")
        waiting = service.processes("worker.rq_worker")
        for one in waiting:
            one.suspend()
        job = service.submit(Ask(seed=random.randrange(10**6, 10**7), n=20))
        if service.redis.llen(queue.intermediate_queue_key):
            break
        for one in waiting:  # each was between two waits
            one.resume()
        service.follow(job)
    began = time.monotonic()
    for one in waiting:
        one.kill()
    service.follow(job)
    return time.monotonic() - began


def cancel(service: Service, random: Random) -> float:
    """Not harm but a wish: DELETE of a job that counts on the bundled model."""
    ask = Ask(seed=random.randrange(10**6, 10**7), n=1_000_000, model="bundled-2")
    job = service.submit(ask)
    wait_for(lambda: job in service.counting(), what="it counts")
    began = time.monotonic()
    answer = service.http.delete(f"/certifications/{job}")
    assert answer.status_code in (200, 202, 204), answer.text
    wait_for(lambda: job not in service.horses(), what="nobody counts")
    return time.monotonic() - began


def fill_audit_disk(service: Service, random: Random) -> float:
    """No room for a line of the audit log: nothing new is accepted, what was accepted goes on.

    Recovered when there is room again and a request is accepted.
    """
    job = service.submit(Ask(seed=random.randrange(10**6, 10**7), n=100_000))
    (app,) = service.processes("-m app")
    before = app.rlimit(psutil.RLIMIT_FSIZE)
    app.rlimit(psutil.RLIMIT_FSIZE, (max(p.stat().st_size for p in service.audit_log), before[1]))
    try:
        answer = service.post(Ask(seed=2, n=20))
        assert answer.json().get("code") == "audit_log_unavailable", answer.text
        assert service.follow(job)["status"] == "finished"
    finally:
        app.rlimit(psutil.RLIMIT_FSIZE, before)
    began = time.monotonic()
    service.submit(Ask(seed=random.randrange(10**6, 10**7), n=20))
    seconds = time.monotonic() - began
    service.verify_audit_log()
    return seconds


def _choose(service: Service, random: Random) -> tuple[str, psutil.Process]:
    """A job that runs now, and its work-horse."""
    while True:
        job = random.choice(sorted(service.find_victims(random)))
        if horse := service.horses().get(job):
            return job, horse


def _redis_process(service: Service) -> psutil.Process:
    """The one child of `up` that is a server of Redis or Valkey."""
    children = psutil.Process(service.process.pid).children()
    return next(one for one in children if "valkey" in one.name() or "redis" in one.name())


class Missed(Exception):
    """The jobs had ended before the harm was done."""


def _recover(service: Service, jobs: list[str], harm: Callable[[], object]) -> float:
    """Does harm, and waits until each job that it hit counts again in a new run, or has ended."""
    tokens = {job: service.token(job) for job in jobs}
    began = time.monotonic()
    harm()
    done = {job: service.samples_done(job) for job in jobs}
    hit = [job for job in jobs if tokens[job] and service.token(job)]
    if not hit:
        raise Missed
    for job in hit:
        again = partial(service.counts_again, job, tokens[job], done[job])
        wait_for(again, what=job)
    return time.monotonic() - began


HARM = {
    "work-horse killed": kill_horse,
    "engine killed": kill_engine,
    "RQ worker killed": kill_worker,
    "worker host killed": kill_host,
    "app killed": kill_app,
    "Redis killed": kill_redis,
    f"Redis away for {OUTAGE_S:g} s": stop_redis,
}
