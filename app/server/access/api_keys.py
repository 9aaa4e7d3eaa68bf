"""API keys: creating them, and the file that stores their digests. A key itself is never stored.

A key is 32 random bytes behind a prefix that secret scanners can recognise. One SHA-256 is enough
to store it. Slow password hashes protect secrets that people choose, and so can be guessed; 256
random bits cannot be guessed at any speed. A slow hash would also delay every request and let
anyone who sends wrong keys keep the service busy.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal, Self, get_args

from pydantic import AwareDatetime, Field, model_validator

from app.server.access.operator_file import load_file, locked, write_file
from app.settings import Quotas
from worker.contract import Contract

PREFIX = "psk"
_FORM = re.compile(rf"{PREFIX}_([0-9a-f]{{8}})_[0-9a-f]{{64}}")
_NOBODY = "0" * 64

Scope = Literal["submit", "read", "admin", "urgent", "evaluate"]
SCOPES: tuple[Scope, ...] = get_args(Scope)


KEYS_FILE_NAME = "keys.toml"


class KeysFileUnusable(ValueError):
    """The keys file cannot be read or is malformed."""


class KeyUnknown(LookupError):
    """The keys file has no key with this id."""


class ApiKey(Contract):
    """A key as stored in the keys file. Its id is public and is never reused."""

    id: str = Field(pattern=r"^[0-9a-f]{8}$")
    label: str = Field(max_length=200)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    scopes: tuple[Scope, ...] = Field(min_length=1)
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None
    quotas: Quotas = Quotas()

    def is_valid(self, now: datetime) -> bool:
        """Whether the key is accepted at this moment."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class KeysFile(Contract):
    """All keys of an installation. Revoked keys stay, so that their ids are never reused."""

    keys: tuple[ApiKey, ...] = ()

    @model_validator(mode="after")
    def _check_ids(self) -> Self:
        ids = [key.id for key in self.keys]
        if len(set(ids)) != len(ids):
            raise ValueError("two keys have the same id")
        return self

    def find(self, token: str, now: datetime) -> ApiKey | None:
        """The valid key that this token belongs to, or None. Compares digests in constant time."""
        found = _FORM.fullmatch(token)
        key = next((k for k in self.keys if found is not None and k.id == found[1]), None)
        expected = _NOBODY if key is None else key.sha256
        same = hmac.compare_digest(hash_token(token), expected)
        return key if key is not None and same and key.is_valid(now) else None


def create_key(
    label: str,
    scopes: tuple[Scope, ...],
    *,
    now: datetime,
    expires_at: datetime | None = None,
    quotas: Quotas | None = None,
    taken: frozenset[str] = frozenset(),
) -> tuple[ApiKey, str]:
    """A new key and its token. The token is not stored anywhere."""
    key_id = secrets.token_hex(4)
    while key_id in taken:
        key_id = secrets.token_hex(4)
    token = f"{PREFIX}_{key_id}_{secrets.token_hex(32)}"
    key = ApiKey(
        id=key_id,
        label=label,
        sha256=hash_token(token),
        scopes=scopes,
        created_at=now,
        expires_at=expires_at,
        quotas=quotas or Quotas(),
    )
    return key, token


def hash_token(token: str) -> str:
    """The digest that is stored for a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def load_keys(path: Path) -> KeysFile:
    """Reads the keys file.

    Raises:
        FileNotFoundError: the file does not exist.
        KeysFileUnusable: the file cannot be read or is malformed.
    """
    return load_file(path, KeysFile, "a keys file", KeysFileUnusable)


@contextmanager
def change_keys(path: Path) -> Iterator[list[ApiKey]]:
    """Yields the keys as a list. When the block ends, the list replaces the file atomically.

    A lock serialises concurrent changes. A new file is readable by its owner and group only; an
    existing file keeps its mode.
    """
    with locked(path):
        try:
            keys = list(load_keys(path).keys)
        except FileNotFoundError:
            keys = []
        yield keys
        content = KeysFile(keys=tuple(keys)).model_dump(mode="python", exclude_none=True)
        write_file(path, _HEAD, content)


_HEAD = "# Keys of promptsmooth-service, as digests. Written by: promptsmooth keys\n"


def find_index(keys: list[ApiKey], key_id: str) -> int:
    """The position of a key in the list.

    Raises:
        KeyUnknown: no key has this id.
    """
    for index, key in enumerate(keys):
        if key.id == key_id:
            return index
    raise KeyUnknown(f"there is no key {key_id!r}; promptsmooth keys list lists the existing ones")
