"""What an issuer publishes: its addresses and its public keys, fetched and kept.

Keys are fetched when they are old, and when none of them signed a token. While the issuer is away,
those that are kept stay in force: a token is checked without asking anybody.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key, KeySet

from app.server.access.sign_on.configuration import SignOnSettings
from app.server.access.sign_on.refusals import IssuerAway
from models.files.whole_file import write_whole
from models.log import get_logger

_WELL_KNOWN = "/.well-known/openid-configuration"
_TIMEOUT_S = 5.0
_MAX_BYTES = 2**20
_AGAIN_S = 10.0  # between two fetches for a key that is not there
_KINDS = frozenset({"RSA", "EC", "OKP"})
_NO_ANSWER = (httpx2.HTTPError, httpx2.InvalidURL, OSError)
_NOT_AS_DESCRIBED = (JoseError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What reading a document raises that another program wrote, whatever it wrote."""
log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)  # what these keys signed is kept by identity
class Published:
    """What the issuer said last: where people sign in, where codes are exchanged, and its keys."""

    authorization_endpoint: str
    token_endpoint: str
    keys: KeySet
    fetched_at: float


class Issuer:
    """An issuer, as its discovery document and its key set describe it."""

    def __init__(
        self, settings: SignOnSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings, self._clock = settings, clock
        self._lock = threading.Lock()
        self._tried_at = float("-inf")
        self.published: Published | None = None
        if settings.keys_cache is not None:
            self._read_cache(settings.keys_cache)

    def is_stale(self) -> bool:
        """Whether the keys should be fetched again."""
        found = self.published
        age_s = float("inf") if found is None else self._clock() - found.fetched_at
        return age_s > self._settings.keys_max_age_s

    def may_fetch(self) -> bool:
        """Whether enough time has passed: strangers' tokens must not make it a flood."""
        return self._clock() - self._tried_at >= _AGAIN_S

    def fetch(self) -> Published:
        """Fetches addresses and keys; blocks for some seconds at most.

        Raises:
            IssuerAway: the issuer did not answer well. What was kept stays in force.
        """
        with self._lock:
            self._tried_at = self._clock()
            try:
                document = self._get(self._settings.issuer.rstrip("/") + _WELL_KNOWN)
                if document.get("issuer") != self._settings.issuer:
                    raise IssuerAway("the issuer states another name than the configured one")
                keys = self._get(str(document["jwks_uri"]))
                self.published = self._parse(document, keys, fetched_at=self._clock())
            except IssuerAway:
                raise
            except (*_NO_ANSWER, *_NOT_AS_DESCRIBED) as error:
                raise IssuerAway(f"no discovery or keys: {type(error).__name__}") from error
            self._write_cache(document, keys)
            return self.published

    def post(self, address: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Sends a form; the status of the answer and its JSON.

        Raises:
            IssuerAway: there was no answer in JSON.
        """
        try:
            with self._open() as client:
                answer = client.post(address, data=form)
            return answer.status_code, _read(answer)
        except (*_NO_ANSWER, *_NOT_AS_DESCRIBED) as error:
            raise IssuerAway(f"no answer to a code: {type(error).__name__}") from error

    def _get(self, address: str) -> dict[str, Any]:
        with self._open() as client:
            return _read(client.get(address).raise_for_status())

    def _open(self) -> httpx2.Client:
        trust = True if self._settings.ca is None else str(self._settings.ca)
        return httpx2.Client(timeout=_TIMEOUT_S, verify=trust, follow_redirects=False)

    def _parse(
        self, document: dict[str, Any], keys: dict[str, Any], *, fetched_at: float
    ) -> Published:
        usable = list(_read_keys(keys["keys"]))
        if not usable:
            raise ValueError("there is no key that this service can use")
        return Published(
            authorization_endpoint=str(document["authorization_endpoint"]),
            token_endpoint=str(document["token_endpoint"]),
            keys=KeySet(usable),
            fetched_at=fetched_at,
        )

    def _read_cache(self, path: Path) -> None:
        """Takes what is kept, of any age: it is stale, so that the issuer is asked at once."""
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["document"]["issuer"] == self._settings.issuer:
                whole = kept["document"], kept["keys"]
                self.published = self._parse(*whole, fetched_at=float("-inf"))
        except FileNotFoundError:
            return
        except (OSError, *_NOT_AS_DESCRIBED) as error:
            log.warning("sign_on_cache_unusable", error=type(error).__name__)

    def _write_cache(self, document: dict[str, Any], keys: dict[str, Any]) -> None:
        path = self._settings.keys_cache
        if path is None:
            return
        content = json.dumps({"document": document, "keys": keys}).encode()
        try:
            write_whole(path, content, mode=0o600)
        except OSError as error:
            log.warning("sign_on_cache_unwritten", error=type(error).__name__)


def _read_keys(published: list[dict[str, Any]]) -> Iterator[Key]:
    """The keys that can check signatures. One that cannot be read keeps no other from use."""
    for key in published:
        try:
            if key.get("kty") in _KINDS and key.get("use", "sig") == "sig":
                yield JWKRegistry.import_key(key)
        except _NOT_AS_DESCRIBED as error:
            log.warning("issuer_key_unusable", error=type(error).__name__)


def _read(answer: httpx2.Response) -> dict[str, Any]:
    if len(answer.content) > _MAX_BYTES:
        raise ValueError("the answer is too long")
    found = answer.json()
    if not isinstance(found, dict):
        raise ValueError("the answer is no JSON object")
    return found
