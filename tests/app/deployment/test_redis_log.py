"""A damaged append-only file leads to a command, and the command to a service that starts."""

import subprocess
from pathlib import Path

import pytest
from command import PROMPTSMOOTH
from waiting import HANG_S

from app.deployment.redis_log import NotRepaired, describe_damage, repair_log
from app.deployment.redis_server import NoRedis, lock_data_dir, open_redis


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data folder in whose Redis 100 keys were stored one by one."""
    with open_redis(tmp_path) as redis:
        for number in range(100):
            redis.set(f"key-{number}", "x" * 50)
    return tmp_path


def damage(data_dir: Path) -> None:
    (file,) = (data_dir / "redis" / "appendonlydir").glob("*.incr.aof")
    data = file.read_bytes()
    at = data.index(b"key-50")
    file.write_bytes(data[:at] + b"\r\nnoise\r\n" + data[at + 9 :])


def test_a_damaged_file_is_cut_where_the_damage_begins(data_dir: Path) -> None:
    assert repair_log(data_dir) is None
    assert describe_damage(data_dir) is None
    damage(data_dir)
    with pytest.raises(NoRedis), open_redis(data_dir):
        pass
    assert "promptsmooth repair" in (describe_damage(data_dir) or "")

    done = subprocess.run(
        [PROMPTSMOOTH, "repair", "--data-dir", data_dir],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "bytes were cut" in done.stdout
    assert list((data_dir / "redis").glob("appendonlydir-damaged-*"))
    with open_redis(data_dir) as redis:
        assert redis.get("key-49") == b"x" * 50
        assert redis.get("key-99") is None


def test_nothing_is_cut_under_a_service_or_where_nothing_is(data_dir: Path, tmp_path: Path) -> None:
    with lock_data_dir(data_dir), pytest.raises(NotRepaired, match="stop it first"):
        repair_log(data_dir)
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotRepaired, match="no append-only file"):
        repair_log(tmp_path / "empty")
