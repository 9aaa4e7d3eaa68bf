"""API keys, as they are made and as their file holds them: never the key, only its digest.

A key is 32 random bytes under a prefix that scanners for leaked secrets can know. SHA-256 is
enough to store it: the slow hashes of passwords defend what people choose against being guessed,
and 256 random bits cannot be guessed however fast the hash is. A slow hash would cost every request
its time, and offer whoever sends wrong keys a way to keep the service busy.
"""

import fcntl
import hashlib
import hmac
import re
import secrets
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self, get_args

import tomli_w
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.settings import Quotas
from models.files.whole_file import write_whole

PREFIX = "psk"
_FORM = re.compile(rf"{PREFIX}_([0-9a-f]{{8}})_[0-9a-f]{{64}}")
_NOBODY = "0" * 64

Scope = Literal["submit", "read", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)


KEYS_FILE_NAME = "keys.toml"


class KeysFileUnusable(ValueError):
    """The file of keys cannot be read, or is not one."""


class KeyUnknown(LookupError):
    """The file has no key of this id."""


class ApiKey(BaseModel):
    """A key as its file holds it. The id is public, is given once and is never another key's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[0-9a-f]{8}$")
    label: str = Field(max_length=200)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    scopes: tuple[Scope, ...] = Field(min_length=1)
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None
    quotas: Quotas = Quotas()

    def is_valid(self, now: datetime) -> bool:
        """Whether the key opens anything at this moment."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class KeysFile(BaseModel):
    """All keys of an installation, those that were revoked too: their ids stay theirs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[ApiKey, ...] = ()

    @model_validator(mode="after")
    def _check_ids(self) -> Self:
        ids = [key.id for key in self.keys]
        if len(set(ids)) != len(ids):
            raise ValueError("two keys have the same id")
        return self

    def find(self, token: str, now: datetime) -> ApiKey | None:
        """The valid key that a caller holds, or None. Takes as long for any digest."""
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
    """A new key and the token itself, which nothing keeps."""
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
    """What is stored of a key."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def load_keys(path: Path) -> KeysFile:
    """The keys in a file.

    Raises:
        FileNotFoundError: there is no file.
        KeysFileUnusable: it cannot be read, or holds something else.
    """
    try:
        return KeysFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise KeysFileUnusable(f"{path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise KeysFileUnusable(f"{path} is no file of keys: {where}: {first['msg']}.") from None
    except ValueError:  # no TOML, no UTF-8; the parser's own text could quote a digest
        raise KeysFileUnusable(f"{path} is no file of keys: expected TOML.") from None


@contextmanager
def change_keys(path: Path) -> Iterator[list[ApiKey]]:
    """The keys of a file in a list; what that holds at the end replaces them, whole or not.

    Two that change a file at a time do so one after the other. A new file is nobody's business
    but the owner's and the group's; one that is there keeps the mode that somebody gave it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            keys = list(load_keys(path).keys)
        except FileNotFoundError:
            keys = []
        yield keys
        content = KeysFile(keys=tuple(keys)).model_dump(mode="python", exclude_none=True)
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o640
        write_whole(path, (_HEAD + tomli_w.dumps(content)).encode(), mode=mode)


_HEAD = "# Keys of promptsmooth-service, as digests. Written by: promptsmooth keys\n"


def find_index(keys: list[ApiKey], key_id: str) -> int:
    """Where a key stands. KeyUnknown when it does not."""
    for index, key in enumerate(keys):
        if key.id == key_id:
            return index
    raise KeyUnknown(f"there is no key {key_id!r}; promptsmooth keys list shows those there are")


def now_utc() -> datetime:
    """Now, to the second."""
    return datetime.now(UTC).replace(microsecond=0)
