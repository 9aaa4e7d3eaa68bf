"""The keys that are valid now, reloaded whenever the keys file changes."""

from datetime import UTC, datetime
from pathlib import Path

from app.server.access.api_keys import ApiKey, KeysFile, KeysFileUnusable, load_keys
from app.server.access.operator_file import look
from models.log import get_logger

log = get_logger(__name__)


class Keyring:
    """The keys of a file. Empty if no file is configured or the file does not exist yet.

    Once the file has existed, requests need a key until the process ends. If the file then vanishes
    or breaks, the last good keys stay in force and the log records the fault. A fault never opens
    the service.

    Args:
        path: the keys file; None: this service has no keys.
        sign_on: whether people sign in with tokens: then a request needs one or the other, even
            where there are no keys.

    Raises:
        KeysFileUnusable: the file exists and cannot be used.
    """

    def __init__(self, path: Path | None, *, sign_on: bool = False) -> None:
        self._path, self._sign_on = path, sign_on
        self._seen: tuple[int, ...] | None = None
        self._keys: KeysFile | None = None
        if path is not None and (seen := look(path)) is not None:
            self._keys, self._seen = load_keys(path), seen

    @property
    def required(self) -> bool:
        """Whether a request needs a key or a token."""
        return self._sign_on or self._keys is not None

    def find(self, token: str) -> ApiKey | None:
        """The valid key that this token belongs to, or None."""
        return None if self._keys is None else self._keys.find(token, datetime.now(UTC))

    def is_revoked(self, key_id: str) -> bool:
        """Whether this is the id of a key that was revoked or has expired."""
        keys = () if self._keys is None else self._keys.keys
        return any(key.id == key_id and not key.is_valid(datetime.now(UTC)) for key in keys)

    def refresh(self) -> None:
        """Reloads the file if it has changed. Otherwise the cost is one `stat`."""
        if self._path is None or (seen := look(self._path)) == self._seen:
            return
        self._seen = seen
        try:
            self._keys = load_keys(self._path)
        except (KeysFileUnusable, OSError) as error:
            if self._keys is not None:
                log.error("keys_unusable", error=type(error).__name__)
            elif seen is not None:
                self._keys = KeysFile()  # keys are wanted: admit nobody until they load
                log.error("keys_unusable", error=type(error).__name__)
            return
        log.info("keys_loaded", keys=len(self._keys.keys))
