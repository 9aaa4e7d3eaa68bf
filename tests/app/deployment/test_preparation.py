"""python -m app.deployment: passwords, certificates and the proxy's settings before a start."""

import json
import re
import socket
import ssl
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydantic import ValidationError
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError
from rq import SimpleWorker
from waiting import running, wait_until

from app.deployment.__main__ import prepare
from app.deployment.proxy import ANSWERS, PLAIN_HTTP
from app.deployment.queue_access import HEALTH_USER
from app.deployment.redis_server import redis_command
from app.deployment.tls import RENEW_DAYS, SELF_SIGNED_DAYS, TlsUnusable
from app.server.access.api_keys import change_keys, create_key
from app.server.access.keyring import Keyring
from worker.contract import TASK_CERTIFY
from worker.jobs.queue import CertificationRqJob, create_queue
from worker.settings import SharedSettings, WorkerSettings

REPOSITORY = Path(__file__).parents[3]
NOW = datetime.now(UTC)
Prepare = Callable[..., str]


@dataclass(frozen=True)
class Volumes:
    root: Path

    def read(self, name: str) -> str:
        return (self.root / name).read_text()

    @property
    def serial(self) -> int:
        return x509.load_pem_x509_certificate(self.read("proxy/server.crt").encode()).serial_number


@pytest.fixture
def volumes(tmp_path: Path) -> Volumes:
    for name in ("queue", "redis", "proxy", "app"):
        (tmp_path / "setup" / name).mkdir(parents=True)
    return Volumes(tmp_path / "setup")


@pytest.fixture
def own_tls(tmp_path: Path) -> Path:
    folder = tmp_path / "own-tls"
    folder.mkdir()
    return folder


@pytest.fixture
def start(volumes: Volumes, own_tls: Path) -> Prepare:
    """A start of the deployment."""

    def run(*, renew: bool = False, now: datetime = NOW) -> str:
        return prepare(volumes.root, own_tls=own_tls, renew=renew, now=now)

    return run


def put_own(folder: Path, *, days_ago: int = 0) -> None:
    """A certificate that somebody else made: another issuer stands in it."""
    key = ec.generate_private_key(ec.SECP256R1())
    begins = NOW - timedelta(days=days_ago, hours=1)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hospital.example")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(begins).not_valid_after(begins + timedelta(days=365))
    certificate = builder.sign(key, SHA256())
    (folder / "server.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "server.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )


def test_passwords_are_made_once_for_each_deployment(
    start: Prepare, volumes: Volumes, tmp_path: Path, own_tls: Path
) -> None:
    start()
    password = volumes.read("queue/redis-password")
    start()
    for name in ("queue", "redis", "proxy", "app"):
        (tmp_path / "other" / name).mkdir(parents=True)
    prepare(tmp_path / "other", own_tls=own_tls, renew=False, now=NOW)

    assert volumes.read("queue/redis-password") == password
    assert (tmp_path / "other" / "queue" / "redis-password").read_text() != password
    assert len(password.strip()) >= 43  # 256 bits
    assert stat.S_IMODE((volumes.root / "queue" / "redis-password").stat().st_mode) == 0o400


def test_redis_never_sees_the_password_of_the_queue(start: Prepare, volumes: Volumes) -> None:
    start()
    password = volumes.read("queue/redis-password").strip()
    assert all(password not in path.read_text() for path in (volumes.root / "redis").iterdir())


def test_nobody_gets_in_before_a_key_is_made_and_keys_outlive_a_start(
    start: Prepare, volumes: Volumes
) -> None:
    start()
    keyring = Keyring(volumes.root / "app" / "keys.toml")
    assert keyring.required
    with change_keys(volumes.root / "app" / "keys.toml") as keys:
        key, token = create_key("lab", ("read",), now=NOW)
        keys.append(key)
    start()
    keyring.refresh()
    assert keyring.find(token) == key


@pytest.fixture
def server(start: Prepare, volumes: Volumes, tmp_path: Path, free_port: int) -> Iterator[str]:
    """Host, port and database of a server that takes the access list."""
    start()
    command = redis_command(tmp_path, tmp_path / "redis.sock")
    options = ["--port", str(free_port), "--aclfile", str(volumes.root / "redis" / "users.acl")]
    with running([*command, *options]) as server:
        wait_until(lambda: listens(free_port))
        yield f"127.0.0.1:{free_port}/0"
        server.terminate()


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def test_nobody_uses_redis_without_a_password(server: str, volumes: Volumes) -> None:
    with pytest.raises(AuthenticationError):
        Redis.from_url(f"redis://{server}").ping()
    health = volumes.read("redis/health-password").strip()
    prober = Redis.from_url(f"redis://{HEALTH_USER}:{health}@{server}")
    assert prober.ping()
    for forbidden in (lambda: prober.get("job"), lambda: prober.info()):
        with pytest.raises(NoPermissionError):
            forbidden()


def test_the_queue_works_under_its_access_list_and_cannot_change_the_server(
    server: str, volumes: Volumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", f"redis://promptsmooth@{server}")  # the work-horse reads it
    password_file = str(volumes.root / "queue" / "redis-password")
    monkeypatch.setenv("PROMPTSMOOTH_REDIS_PASSWORD_FILE", password_file)
    settings = WorkerSettings()
    with Redis.from_url(settings.redis_url.get_secret_value()) as redis:
        queue = create_queue(redis, "empty")
        job = queue.enqueue_call(TASK_CERTIFY, args=("0" * 32,), result_ttl=60)
        worker = SimpleWorker(
            [queue], connection=redis, job_class=CertificationRqJob, serializer="json"
        )
        assert worker.work(burst=True)
        assert job.get_status(refresh=True) == "finished"  # there was nothing to certify
        try:
            assert redis.waitaof(1, 0, 1000)[0] == 1
        except ResponseError as error:
            if "unknown command" not in str(error):  # Redis before 7.2 does not have it
                raise
        for change in (redis.flushall, redis.config_get, redis.shutdown, redis.acl_list):
            with pytest.raises(NoPermissionError):
                change()


def test_a_password_file_beside_a_password_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("of the file\n")
    found = SharedSettings(redis_url="rediss://me@host:1/2", redis_password_file=file)
    assert found.redis_url.get_secret_value() == "rediss://me:of%20the%20file@host:1/2"
    with pytest.raises(ValidationError, match="without a password"):
        SharedSettings(redis_url="redis://:one@host", redis_password_file=file)
    with pytest.raises(ValidationError, match="cannot be read"):
        SharedSettings(redis_password_file=tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_a_client_that_trusts_the_self_signed_certificate_reaches_it_by_name(
    start: Prepare, volumes: Volumes, name: str
) -> None:
    start()
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(volumes.root / "proxy/server.crt", volumes.root / "proxy/server.key")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            connection, _ = server.accept()
            with serving.wrap_socket(connection, server_side=True) as secured:
                secured.sendall(b"ok")

        thread = threading.Thread(target=serve)
        thread.start()
        trusting = ssl.create_default_context(cafile=volumes.root / "proxy/server.crt")
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            trusting.wrap_socket(plain, server_hostname=name) as secured,
        ):
            assert secured.recv(2) == b"ok"
        thread.join()


def test_a_self_signed_certificate_stays_until_it_has_to_change(
    start: Prepare, volumes: Volumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    start()
    first = volumes.serial
    start(now=NOW + timedelta(days=SELF_SIGNED_DAYS - RENEW_DAYS - 1))
    assert volumes.serial == first
    start(now=NOW + timedelta(days=SELF_SIGNED_DAYS - RENEW_DAYS + 1))
    second = volumes.serial
    start(renew=True)
    third = volumes.serial
    monkeypatch.setenv("PROMPTSMOOTH_SERVER_NAMES", '["hospital.example"]')
    start()
    assert len({first, second, third, volumes.serial}) == 4


def test_an_own_certificate_is_used_and_its_successor_after_the_next_run(
    start: Prepare, volumes: Volumes, own_tls: Path
) -> None:
    put_own(own_tls, days_ago=300)
    start()
    assert volumes.read("proxy/server.crt") == (own_tls / "server.crt").read_text()
    put_own(own_tls)
    start()
    assert volumes.read("proxy/server.crt") == (own_tls / "server.crt").read_text()


def test_an_own_certificate_that_is_unusable_leaves_the_one_in_use(
    start: Prepare, volumes: Volumes, own_tls: Path
) -> None:
    put_own(own_tls)
    start()
    before = volumes.serial
    chain = (own_tls / "server.crt").read_bytes()
    put_own(own_tls)
    (own_tls / "server.crt").write_bytes(chain)
    with pytest.raises(TlsUnusable, match="is not the key of the first certificate"):
        start()
    put_own(own_tls, days_ago=400)
    with pytest.raises(TlsUnusable, match="the certificate is valid from"):
        start()
    (own_tls / "server.key").unlink()
    with pytest.raises(TlsUnusable, match="cannot be read"):
        start()
    assert volumes.serial == before


def test_the_proxy_takes_no_larger_body_than_the_app(
    start: Prepare, volumes: Volumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMPTSMOOTH_MAX_BODY_BYTES", "12345")
    start()
    assert "client_max_body_size 12345;" in volumes.read("proxy/http.conf")
    assert "at most 12345 bytes" in volumes.read("proxy/answers.conf")


def test_hsts_is_said_only_with_a_certificate_of_ones_own(
    start: Prepare, volumes: Volumes, own_tls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMPTSMOOTH_HSTS_S", "86400")
    start()
    assert 'map "" $hsts { default ""; }' in volumes.read("proxy/http.conf")
    put_own(own_tls)
    start()
    assert 'map "" $hsts { default "max-age=86400"; }' in volumes.read("proxy/http.conf")


def test_the_proxy_answers_with_problem_documents(start: Prepare, volumes: Volumes) -> None:
    start()
    text = volumes.read("proxy/answers.conf")
    found = {}
    for status, document in re.findall(r"return (\d+) '([^']*)';", text):
        problem = json.loads(document)
        assert problem["status"] == int(status)
        found[problem["code"]] = problem
    assert set(found) == {"body_too_large", "not_found", *(a.code for a in (*ANSWERS, PLAIN_HTTP))}
    documented = (REPOSITORY / "docs" / "errors.md").read_text()
    for answer in (*ANSWERS, PLAIN_HTTP):
        assert f"| {answer.status} | `{answer.code}` |" in documented
