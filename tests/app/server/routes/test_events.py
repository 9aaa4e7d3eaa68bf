"""GET /certifications/{id}/events, from an app that runs in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import httpx2
import psutil
import pytest
from redis import Redis
from rq.job import JobStatus
from waiting import HANG_S, running, wait_until

from app.settings import AppSettings
from worker.contract import CertificationJob, LiveVotes
from worker.contract.certificate.document import FinishedResult
from worker.jobs.queue import create_queue, fetch_job
from worker.store.jobs import progress, records, results

Finish = Callable[..., FinishedResult]
LIVE = LiveVotes(
    sigma=0.25,
    prompting="template",
    target_index=0,
    n=64,
    counts=(60, 4, 0, 0, 0, 0),
    ambiguous=0,
    p_a_lower=0.8,
    p_b_upper=0.2,
)


@dataclass(frozen=True, kw_only=True)
class Served:
    """An app behind uvicorn."""

    process: "subprocess.Popen[bytes]"
    url: str

    def open(self, **headers: str) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=HANG_S, trust_env=False, headers=headers)


@pytest.fixture
def served(settings: AppSettings, redis: Redis, free_port: int) -> Iterator[Served]:
    environment = {
        **os.environ,
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "PROMPTSMOOTH_MODELS": str(settings.models),
    }
    command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app"]
    command += ["--no-access-log", "--port", str(free_port)]
    with running(command, env=environment) as process:
        served = Served(process=process, url=f"http://127.0.0.1:{free_port}")
        _wait(served)
        yield served
        process.kill()


def _wait(served: Served) -> None:
    def answers() -> bool:
        assert served.process.poll() is None
        with suppress(httpx2.TransportError), served.open() as client:
            return client.get("/healthz").status_code == 200
        return False

    wait_until(answers)


@pytest.fixture
def job(served: Served, redis: Redis, png: bytes) -> CertificationJob:
    answer = httpx2.post(
        f"{served.url}/certify",
        files={"image": png},
        data={"sigma": "0.25"},
        trust_env=False,
        timeout=HANG_S,
    )
    found = records.find_job(redis, answer.json()["id"])
    assert found is not None
    return found


class Events:
    """Reads one stream, event by event."""

    def __init__(self, response: httpx2.Response) -> None:
        self._lines = response.iter_lines()

    def next(self) -> dict[str, str]:
        fields: dict[str, str] = {}
        for line in self._lines:
            if not line:
                return fields
            name, _, value = line.partition(": ")
            fields[name] = value
        raise EOFError


def _open(served: Served, job: CertificationJob, stack: ExitStack, **headers: str) -> Events:
    client = stack.enter_context(served.open(**headers))
    response = stack.enter_context(client.stream("GET", f"/certifications/{job.id}/events"))
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    return Events(response)


def test_a_stream_tells_each_state_until_the_end(
    served: Served, redis: Redis, job: CertificationJob, finish: Finish
) -> None:
    with ExitStack() as stack:
        events = _open(served, job, stack)
        queued = events.next()
        assert queued["event"] == "progress"
        assert json.loads(queued["data"]) == {
            "status": "queued",
            "samples_done": 0,
            "samples_total": 10000,
            "queue_position": 1,
            "estimated_s": None,
            "live": [],
        }
        create_queue(redis).remove(job.id)
        progress.put_progress(redis, job.id, 64, 10_000, (LIVE,))
        fetch_job(redis, job.id).set_status(JobStatus.STARTED)
        running = json.loads(events.next()["data"])
        assert (running["status"], running["samples_done"]) == ("running", 64)
        assert running["live"] == [LIVE.model_dump(mode="json")]
        results.put_result(redis, job.id, finish(job), ttl_s=60)
        done = events.next()
        assert done["event"] == "done"
        shown = httpx2.get(
            f"{served.url}/certifications/{job.id}", trust_env=False, timeout=HANG_S
        ).json()
        assert json.loads(done["data"]) == shown
        with pytest.raises(EOFError):
            events.next()


def test_who_comes_back_is_not_told_the_same_state_again(
    served: Served, redis: Redis, job: CertificationJob, finish: Finish
) -> None:
    with ExitStack() as stack:
        seen = _open(served, job, stack).next()["id"]
    with ExitStack() as stack:
        events = _open(served, job, stack, **{"Last-Event-ID": seen})
        results.put_result(redis, job.id, finish(job), ttl_s=60)
        assert events.next()["event"] == "done"


def test_a_purged_certification_ends_its_stream(
    served: Served, redis: Redis, job: CertificationJob
) -> None:
    with ExitStack() as stack:
        events = _open(served, job, stack)
        events.next()
        path = f"{served.url}/certifications/{job.id}"
        assert httpx2.delete(path, trust_env=False, timeout=HANG_S).json()["status"] == "cancelled"
        assert events.next()["event"] == "done"
    with ExitStack() as stack:
        assert _open(served, job, stack).next()["event"] == "done"
    assert httpx2.delete(path, trust_env=False, timeout=HANG_S).status_code == 204
    answer = httpx2.get(f"{path}/events", trust_env=False, timeout=HANG_S)
    assert (answer.status_code, answer.json()["code"]) == (404, "certification_unknown")


def test_streams_hold_no_threads_and_end_with_their_clients_and_the_app(
    served: Served, job: CertificationJob
) -> None:
    process = psutil.Process(served.process.pid)
    with ExitStack() as stack:
        streams = [_open(served, job, stack) for _ in range(60)]
        assert len({events.next()["id"] for events in streams}) == 1
        assert process.num_threads() < 30  # numpy's and anyio's few
        assert len(_streams(served)) == 60
    wait_until(lambda: not _streams(served))
    with ExitStack() as stack:
        events = _open(served, job, stack)
        events.next()
        served.process.send_signal(signal.SIGTERM)
        end = events.next()
        assert end["retry"] == "2000"
        with pytest.raises(EOFError):
            events.next()
        assert served.process.wait(HANG_S) in (0, -signal.SIGTERM)


def _streams(served: Served) -> list[object]:
    """Connections of clients that are open, without those to Redis."""
    port = int(served.url.rpartition(":")[2])
    open_ = psutil.Process(served.process.pid).net_connections(kind="tcp")
    return [c for c in open_ if c.status == "ESTABLISHED" and c.laddr.port == port]


def test_a_stream_outlives_a_queue_that_is_away(
    served: Served, redis: Redis, job: CertificationJob, finish: Finish
) -> None:
    """Redis stops answering (as when it is paused on a full disk), and comes back."""
    server = psutil.Process(redis.info("server")["process_id"])
    with ExitStack() as stack:
        events = _open(served, job, stack)
        assert events.next()["event"] == "progress"
        server.suspend()
        try:
            away = events.next()
            time.sleep(2)  # it looks again, and has said it
        finally:
            server.resume()
        assert away == {"": "the queue does not answer", "retry": "2000"}
        results.put_result(redis, job.id, finish(job), ttl_s=60)
        assert events.next()["event"] == "done"
