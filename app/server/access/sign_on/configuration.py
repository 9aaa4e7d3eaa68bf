"""The file that says whose tokens are taken: sign-on.toml."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from app.server.access.api_keys import Scope
from app.server.access.operator_file import load_file
from app.settings import Quotas
from worker.contract import Contract

_LOCAL = ("localhost", "127.0.0.1", "::1")


class SignOnUnusable(ValueError):
    """The file of sign-on cannot be used, or what it needs is not installed."""


def _check_issuer(url: str) -> str:
    parts = urlsplit(url)
    if not parts.hostname or parts.query or parts.fragment:
        raise ValueError("expected the address of the issuer, as its tokens state it in iss")
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOCAL):
        raise ValueError("expected https; plain http is taken on this machine alone")
    return url


Texts = Annotated[tuple[str, ...], Field(min_length=1)]


class SignOnSettings(Contract):
    """Whose tokens are taken, and what their groups may do."""

    issuer: Annotated[str, AfterValidator(_check_issuer)] = Field(
        description="Address of the issuer, exactly as its tokens state it in `iss`."
    )
    client_id: str = Field(
        min_length=1, description="The client that the page signs in as: a public one, with PKCE."
    )
    client_secret_file: Path | None = Field(
        default=None, description="File with the client's secret, where the issuer demands one."
    )
    audience: Texts | None = Field(
        default=None,
        description="Who a token must be for (`aud`); one of these. Default: the client.",
    )
    groups: Mapping[str, tuple[Scope, ...]] = Field(
        min_length=1, description="What the members of a group may do: a table, group to scopes."
    )
    groups_claim: str = Field(
        default="groups", min_length=1, description="The claim of a token that lists its groups."
    )
    request: Mapping[str, str] = Field(
        default={},
        description="Further parameters of the page's request to the issuer, such as `resource`.",
    )
    scope: str = Field(
        default="openid", description="What the page asks the issuer for, words with spaces."
    )
    clock_skew_s: int = Field(
        default=60, ge=0, le=300, description="Seconds that the two clocks may differ."
    )
    keys_max_age_s: int = Field(
        default=3600, ge=60, le=86_400, description="Seconds after which keys are fetched again."
    )
    keys_cache: Path | None = Field(
        default=None,
        description="File where the issuer's keys are kept, for a start while the issuer is away.",
    )
    ca: Path | None = Field(
        default=None, description="Authorities (PEM) that sign the issuer's certificate."
    )
    quotas: Quotas = Field(
        default=Quotas(requests_per_minute=600, jobs=500),
        description="Bounds of each person, a table: `requests_per_minute`, `jobs`, "
        "`samples_per_day`.",
    )

    @property
    def audiences(self) -> tuple[str, ...]:
        """Who a token may be for."""
        return self.audience or (self.client_id,)


def load_sign_on_settings(path: Path) -> SignOnSettings:
    """Reads the file.

    Raises:
        SignOnUnusable: it, or a file that it names, cannot be read or is malformed.
    """
    try:
        settings = load_file(path, SignOnSettings, "a file of sign-on", SignOnUnusable)
    except FileNotFoundError as error:
        raise SignOnUnusable(f"{path} cannot be read: {error.strerror}.") from error
    _require_files(settings)
    return settings


def _require_files(settings: SignOnSettings) -> None:
    try:
        if settings.client_secret_file is not None:
            settings.client_secret_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise SignOnUnusable(f"{settings.client_secret_file} cannot be read as a secret.") from None
    try:
        if settings.ca is not None:
            ssl.create_default_context(cafile=settings.ca)
    except OSError:
        raise SignOnUnusable(
            f"{settings.ca} cannot be read as certificates of authorities (PEM)."
        ) from None
