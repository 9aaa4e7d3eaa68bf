"""What each key has for webhooks: a default address, and the secrets that sign its messages.

They are in a file of their own beside the keys file. A receiver needs the very secret, so unlike a
key it is stored as it is, readable by the file's owner and group only.
"""

import base64
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from app.request.callback import check_callback
from app.server.access.operator_file import load_file, locked, look, write_file
from models.log import get_logger
from worker.contract import Contract
from worker.contract.job import Owner

log = get_logger(__name__)

WEBHOOKS_FILE_NAME = "webhooks.toml"
_PREFIX, _SECRET_BYTES = "whsec_", 32
_HEAD = (
    "# Webhooks of promptsmooth-service, with their secrets. Written by: promptsmooth webhooks\n"
)


class WebhooksFileUnusable(ValueError):
    """The webhooks file cannot be read or is malformed."""


def _check_secret(text: str) -> str:
    try:
        secret = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except ValueError:
        raise ValueError("a secret is whsec_ and base64") from None
    if not 24 <= len(secret) <= 64:
        raise ValueError("a secret has 24 to 64 bytes")
    return text


class WebhookSecret(Contract):
    """A secret as receivers configure it: `whsec_` and base64."""

    secret: Annotated[str, AfterValidator(_check_secret)] = Field(pattern="^whsec_", repr=False)
    created_at: AwareDatetime
    ends_at: AwareDatetime | None = None

    def is_valid(self, now: datetime) -> bool:
        """Whether messages are signed with it at this moment."""
        return self.ends_at is None or now < self.ends_at


class KeyWebhooks(Contract):
    """The webhooks of one key."""

    key_id: Owner
    url: Annotated[str, AfterValidator(check_callback)] | None = None
    secrets: tuple[WebhookSecret, ...] = Field(min_length=1)

    def list_secrets(self, now: datetime) -> tuple[str, ...]:
        """The secrets that are valid now, the newest first."""
        return tuple(one.secret for one in self.secrets if one.is_valid(now))

    def with_url(self, url: str | None) -> Self:
        """The same with another default address."""
        return self.model_validate({**self.model_dump(), "url": url})

    def rotate(self, now: datetime, *, overlap: timedelta) -> Self:
        """A new secret signs from now on; the old ones do too until the overlap ends."""
        ends_at = now + overlap
        kept = tuple(
            one.model_copy(update={"ends_at": min(one.ends_at or ends_at, ends_at)})
            for one in self.secrets
            if overlap and one.is_valid(now)
        )
        return self.model_copy(update={"secrets": (create_secret(now), *kept)})


class WebhooksFile(Contract):
    """The webhooks of all keys."""

    webhooks: tuple[KeyWebhooks, ...] = ()

    @model_validator(mode="after")
    def _check_ids(self) -> Self:
        ids = [one.key_id for one in self.webhooks]
        if len(set(ids)) != len(ids):
            raise ValueError("two entries have the same key_id")
        return self

    def find(self, key_id: str) -> KeyWebhooks | None:
        """The webhooks of a key, or None."""
        return next((one for one in self.webhooks if one.key_id == key_id), None)


def create_secret(now: datetime) -> WebhookSecret:
    """A new secret of 32 random bytes."""
    secret = base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
    return WebhookSecret(secret=_PREFIX + secret, created_at=now)


def load_webhooks(path: Path) -> WebhooksFile:
    """Reads the webhooks file; nothing in it if there is none.

    Raises:
        WebhooksFileUnusable: the file cannot be read or is malformed. Its content is not repeated.
    """
    try:
        return load_file(path, WebhooksFile, "a webhooks file", WebhooksFileUnusable)
    except FileNotFoundError:
        return WebhooksFile()


@contextmanager
def change_webhooks(path: Path) -> Iterator[dict[str, KeyWebhooks]]:
    """Yields the webhooks by key id. When the block ends, they replace the file atomically.

    A new file is readable by its owner and group only; an existing file keeps its mode.
    """
    with locked(path):
        found = {one.key_id: one for one in load_webhooks(path).webhooks}
        yield found
        content = WebhooksFile(webhooks=tuple(found.values()))
        write_file(path, _HEAD, content.model_dump(mode="python", exclude_none=True))


class WebhookBook:
    """The webhooks file of a running service, read again whenever it changes.

    If the file breaks while the service runs, the last good one stays in force and the log says so.

    Args:
        path: the file; None: no key has webhooks.

    Raises:
        WebhooksFileUnusable: the file exists and cannot be used.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen = None if path is None else look(path)
        self._file = WebhooksFile() if path is None else load_webhooks(path)

    def find(self, key_id: str) -> KeyWebhooks | None:
        """The webhooks of a key as the file has them now, or None."""
        if self._path is not None and (seen := look(self._path)) != self._seen:
            self._seen = seen
            try:
                self._file = load_webhooks(self._path)
            except WebhooksFileUnusable as error:
                log.error("webhooks_unusable", error=type(error).__name__)
        return self._file.find(key_id)


def find_webhooks_file(webhooks_file: Path | None, keys_file: Path | None) -> Path | None:
    """The file that the settings name, or the one beside the keys file."""
    beside = None if keys_file is None else keys_file.with_name(WEBHOOKS_FILE_NAME)
    return webhooks_file or beside
