"""The append-only file of the data folder's Redis: what a damaged one needs.

Redis refuses to start with a file that it cannot read. Its own checker cuts the last file where it
stops making sense; the server is that program too, under another name.
"""

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from app.deployment.redis_server import find_redis_server, lock_data_dir

_FOLDER = "appendonlydir"
_TAIL_BYTES = 4096


class NotRepaired(ValueError):
    """The append-only file stays as it is; the sentence says what to do."""


def describe_damage(data_dir: Path) -> str | None:
    """What to do if Redis ended because it cannot read its append-only file, else None."""
    log = data_dir / "redis" / "redis.log"
    tail = log.read_bytes()[-_TAIL_BYTES:] if log.is_file() else b""
    if b"check-aof" not in tail:
        return None
    return (
        "its append-only file is damaged: promptsmooth repair cuts it where the damage begins and "
        "keeps a copy; promptsmooth restore puts a backup into a new data folder"
    )


def repair_log(data_dir: Path) -> tuple[int, Path] | None:
    """Cuts the last append-only file where it cannot be read any more.

    Returns the bytes that were cut and the copy of the folder as it was; None: it can be read.

    Raises:
        NotRepaired: a service uses the folder, there is no such file, or cutting does not help.
        app.deployment.redis_server.NoRedis: this machine has no server.
    """
    folder = data_dir / "redis" / _FOLDER
    with lock_data_dir(data_dir) as free:
        if not free:
            raise NotRepaired(f"a service runs on the data folder {data_dir}; stop it first")
        files = sorted(folder.glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[-3]))
        if not files:
            raise NotRepaired(f"there is no append-only file in {folder}")
        if _check(files[-1]):
            return None
        before = files[-1].stat().st_size
        copy = folder.with_name(f"{_FOLDER}-damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}")
        shutil.copytree(folder, copy)
        if not _check(files[-1], "--fix"):
            raise NotRepaired(
                f"{files[-1]} cannot be repaired: restore a backup into a new data folder with "
                "promptsmooth restore"
            )
        return before - files[-1].stat().st_size, copy


def _check(file: Path, *options: str) -> bool:
    """Whether the checker can read the file, after what the options ask for."""
    command = ["redis-check-aof", *options, str(file)]
    done = subprocess.run(  # noqa: S603 (our own server, under the name of its checker)
        command,
        executable=find_redis_server(),
        input=b"y\n",
        capture_output=True,
        check=False,
    )
    return done.returncode == 0
