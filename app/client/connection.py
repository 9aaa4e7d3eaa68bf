"""The connection to the service. It never sends a key to another machine unencrypted."""

import ipaddress
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from httpx2 import URL, InvalidURL

from app.client.calls import Pause
from app.client.errors import FileUnreadable, KeyUnusable, UnsafeAddress
from app.client.routes import Routes

Http = TypeVar("Http")


class Connected(Generic[Http]):
    """What both clients are made of: httpx's client of one `_kind`, and the patience to ask again.

    Arguments and errors are those of `Client`.
    """

    _kind: Callable[..., Http]

    def __init__(
        self,
        url: str,
        *,
        api_key: str | Path | None = None,
        verify: str | bool = True,
        timeout_s: float = 60.0,
        patience_s: float = 60.0,
        allow_plain_http: bool = False,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        self._patience_s, self._on_wait = patience_s, on_wait
        self._routes = Routes(patience_s)
        connection = create_connection(
            url,
            api_key=api_key,
            verify=verify,
            timeout_s=timeout_s,
            allow_plain_http=allow_plain_http,
        )
        self._http = self._kind(**connection)

    def _tell(self, pause: Pause) -> None:
        """Says why a call is about to be sent again."""
        if pause.because and self._on_wait is not None:
            self._on_wait(pause.because)


def create_connection(
    url: str,
    *,
    api_key: str | Path | None,
    verify: str | bool,
    timeout_s: float,
    allow_plain_http: bool,
) -> dict[str, Any]:
    """The arguments that both of httpx's clients are created with.

    Raises:
        UnsafeAddress: the address is not http(s), contains a user or a query, or would receive the
            key unencrypted on another machine.
        KeyUnusable: the key has characters that a header cannot hold.
        FileUnreadable: `verify` names no file with certificates.
    """
    address = _parse(url)
    key = None if api_key is None else _parse_key(api_key)
    plain = address.scheme == "http" and not _is_loopback(address.host)
    if key is not None and plain and not allow_plain_http:
        raise UnsafeAddress(
            f"the key would travel to {address.host} unencrypted; use https, or allow_plain_http "
            "if something else encrypts the connection"
        )
    return {
        "base_url": address,
        "headers": {} if key is None else {"Authorization": f"Bearer {key}"},
        "verify": _load_authorities(verify) if isinstance(verify, str) else verify,
        "timeout": timeout_s,
        "trust_env": not _is_loopback(address.host),  # no proxy for this machine's own addresses
    }


def _load_authorities(path: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=path)
    except OSError:
        raise FileUnreadable(
            f"{path} cannot be read as certificates of authorities (PEM)"
        ) from None


def _parse(url: str) -> URL:
    try:
        parsed = URL(url)
    except InvalidURL:
        raise UnsafeAddress(_expected(url)) from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise UnsafeAddress(_expected(url))
    if parsed.userinfo or parsed.query or parsed.fragment:
        raise UnsafeAddress(
            "expected an address without user, query or fragment; pass the key as api_key"
        )
    return parsed


def _parse_key(given: str | Path) -> str:
    """A key, or the file that it is read from. Errors never quote it, because they are logged."""
    key = (_read(given) if isinstance(given, Path) else given).strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise KeyUnusable("expected a key as promptsmooth keys add printed it, got something else")
    return key


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise KeyUnusable(f"the key file {path} cannot be read as text") from None


def _expected(url: str) -> str:
    return f"expected the service's address like https://host, got {url!r}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
