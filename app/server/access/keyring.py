"""The keys that are valid now: the file, read again whenever it has changed."""

import logging
from datetime import UTC, datetime
from pathlib import Path

from app.server.access.api_keys import ApiKey, KeysFile, KeysFileUnusable, load_keys

log = logging.getLogger(__name__)


class Keyring:
    """Keys of a file, or none where no file is named or the named one is not there yet.

    Once a file was there, keys are asked for until the process ends: a file that vanishes or breaks
    leaves the last good keys in force, and says so in the log. It never opens the service.

    Args:
        path: the file; None: this service has no keys.

    Raises:
        KeysFileUnusable: the file is there and cannot be used.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen: tuple[int, ...] | None = None
        self._keys: KeysFile | None = None
        if path is not None and (seen := _look(path)) is not None:
            self._keys, self._seen = load_keys(path), seen

    @property
    def required(self) -> bool:
        """Whether a request needs a key."""
        return self._keys is not None

    def find(self, token: str) -> ApiKey | None:
        """The valid key that this is, or None."""
        return None if self._keys is None else self._keys.find(token, datetime.now(UTC))

    def refresh(self) -> None:
        """Reads the file if it has changed since; costs one look at it if not."""
        if self._path is None or (seen := _look(self._path)) == self._seen:
            return
        self._seen = seen
        try:
            self._keys = load_keys(self._path)
        except (KeysFileUnusable, OSError) as error:
            if self._keys is not None:
                log.error("keys_unusable", extra={"fields": {"error": type(error).__name__}})
            elif seen is not None:
                self._keys = KeysFile()  # somebody began to ask for keys: nobody gets in until then
                log.error("keys_unusable", extra={"fields": {"error": type(error).__name__}})
            return
        log.info("keys_loaded", extra={"fields": {"keys": len(self._keys.keys)}})


def _look(path: Path) -> tuple[int, ...] | None:
    """What changes when the file does; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
