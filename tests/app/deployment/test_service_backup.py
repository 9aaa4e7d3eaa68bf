"""A backup of the whole service: restored elsewhere it is as closed as it was."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from command import PROMPTSMOOTH
from fastapi.testclient import TestClient
from redis import Redis
from waiting import HANG_S

from app.main import create_app
from app.server.access.api_keys import change_keys, create_key
from app.server.access.operator_file import now_utc
from app.settings import AppSettings
from models.files.audit_log import AuditLog
from worker.contract import ANONYMOUS
from worker.store import keyspace
from worker.store.owners import find_key_owner

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(valkey_url: str) -> Run:
    """Runs a command beside the Redis of the tests."""

    def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROMPTSMOOTH, *arguments],
            env={**os.environ, "REDIS_URL": valkey_url, **environment},
            capture_output=True,
            text=True,
            timeout=HANG_S,
            check=False,
        )

    return run


@pytest.fixture
def service(redis: Redis, tmp_path: Path) -> tuple[Path, dict[str, str], str]:
    """The data folder of a service with a key, the headers that carry it, and its record's id."""
    folder = tmp_path / "service"
    with change_keys(folder / "keys.toml") as keys:
        key, token = create_key("CT", ("submit", "read"), now=now_utc())
        keys.append(key)
    AuditLog(folder / "audit", max_bytes=10**6).record("certify.accepted")
    (folder / "key-secret").write_bytes(b"s" * 32)
    redis.zadd(keyspace.listed(key.id), {"0" * 32: 1})
    return folder, {"Authorization": f"Bearer {token}"}, key.id


def create_client(valkey_url: str, keys_file: Path) -> TestClient:
    settings = AppSettings(redis_url=valkey_url, keys_file=keys_file)
    return TestClient(create_app(settings), raise_server_exceptions=False)


def test_a_restored_service_is_as_closed_as_what_was_backed_up(
    run: Run, service, redis: Redis, valkey_url: str, tmp_path: Path
) -> None:
    folder, headers, _ = service
    backup, elsewhere = tmp_path / "backup", tmp_path / "elsewhere"
    (folder / "webhooks.toml").write_text("")
    made = run("backup", backup, "--secret", "--data-dir", folder, PROMPTSMOOTH_MAX_IMAGES="7")
    assert made.returncode == 0, made.stderr
    assert {path.stat().st_mode & 0o077 for path in [backup, *backup.rglob("*")]} == {0}
    redis.flushdb()

    restored = run("restore", backup, "--data-dir", elsewhere)
    assert restored.returncode == 0, restored.stderr
    assert "PROMPTSMOOTH_MAX_IMAGES" in restored.stderr
    for name in ("keys.toml", "key-secret", "webhooks.toml"):
        assert (elsewhere / name).read_bytes() == (folder / name).read_bytes()
    assert run("audit-log", "verify", elsewhere / "audit").returncode == 0
    with create_client(valkey_url, elsewhere / "keys.toml") as client:
        assert client.get("/certifications").status_code == 401
        assert client.get("/certifications", headers=headers).status_code == 200


def test_keys_that_are_there_are_kept_so_that_revoked_ones_stay_revoked(
    run: Run, service, tmp_path: Path
) -> None:
    folder, _, key_id = service
    backup = tmp_path / "backup"
    run("backup", backup, "--data-dir", folder)
    run("keys", "revoke", key_id, "--file", folder / "keys.toml")
    before = (folder / "keys.toml").read_bytes()
    assert run("restore", backup, "--over", "--data-dir", folder).returncode == 0
    assert (folder / "keys.toml").read_bytes() == before


def test_a_service_without_the_keys_of_its_records_serves_nobody(
    run: Run, service, redis: Redis, valkey_url: str, tmp_path: Path, free_port: int
) -> None:
    """A backup of an earlier release holds no keys."""
    folder, headers, _ = service
    (folder / "keys.toml").rename(tmp_path / "kept")
    backup = tmp_path / "backup"
    run("backup", backup, "--secret", "--data-dir", folder)
    restored = run("restore", backup, "--over", "--data-dir", folder)
    assert "nobody is answered" in restored.stderr

    up = run("up", "--port", str(free_port), "--data-dir", folder)
    assert up.returncode == 2
    assert "belongs to keys, and this service has none" in up.stderr
    keys_file = folder / "keys.toml"
    with create_client(valkey_url, keys_file) as client:
        for answer in (client.get("/certifications"), client.get("/metrics")):
            assert (answer.status_code, answer.json()["code"]) == (403, "keys_required")
        assert "keys.toml" in client.get("/readyz").json()["detail"]
        assert client.get("/healthz").status_code == 200
        (tmp_path / "kept").rename(keys_file)
        assert client.get("/certifications").status_code == 401
        assert client.get("/certifications", headers=headers).status_code == 200


def test_records_of_nobody_need_no_keys(redis: Redis, valkey_url: str, tmp_path: Path) -> None:
    redis.zadd(keyspace.listed(ANONYMOUS), {"0" * 32: 1})
    with create_client(valkey_url, tmp_path / "none") as client:
        assert client.get("/certifications").status_code == 200


def test_every_kind_of_record_says_whose_it_is(redis: Redis) -> None:
    assert find_key_owner(redis) is None
    redis.hset(keyspace.PROMPT_OWNERS, "mine", "3f9a1c2b")
    assert find_key_owner(redis) == "3f9a1c2b"
    redis.flushdb()
    redis.set(keyspace.learning_job("0" * 32), "{")
    assert find_key_owner(redis) is None
