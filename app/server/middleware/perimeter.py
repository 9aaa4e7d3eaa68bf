"""From where the service may be reached while it has no keys, and under which host names.

Without keys everyone who reaches the service may do everything, so it answers only this machine.
`promptsmooth up` and `python -m app` refuse to bind to any other address. Under a server that
somebody else started, the address of each connection decides. Neither can detect a proxy on the
same machine, whose connections come from the loopback address.
"""

import socket
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.server.access.keyring import Keyring
from app.server.answers.problems import HostUnknown, KeysRequired, Problem, create_response

PROBES = frozenset({"/healthz", "/readyz"})
"""Paths that orchestrators probe, under whatever address a container happens to have."""
_LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})


class NotLoopback(ValueError):
    """Without keys the service must listen on a loopback address."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"{host} can be reached from other machines, and this service has no keys: everyone "
            "there could do everything. Create a key with: promptsmooth keys add --label NAME. If "
            "something else controls who reaches the service, set PROMPTSMOOTH_OPEN=true."
        )


def require_loopback(host: str) -> None:
    """Raises NotLoopback unless the address to listen on can be reached from this machine only."""
    if not is_loopback(host):
        raise NotLoopback(host)


def is_loopback(host: str | None) -> bool:
    """Whether a name or address can be reached from this machine only."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)} if host else set()
    except OSError:
        return False
    return bool(found) and all(_parse(address).is_loopback for address in found)


def _parse(address: str) -> IPv4Address | IPv6Address:
    """Parses an address as a socket reports it: with a zone, or IPv4 mapped into IPv6."""
    found = ip_address(address.partition("%")[0])
    return getattr(found, "ipv4_mapped", None) or found


@dataclass(frozen=True)
class Perimeter:
    """Answers only under known host names and, without keys, only on the loopback address.

    Args:
        trusted_hosts: names of this service; `*.example` covers all names below it; empty: any
            name.
        open_to_all: whether anyone may send requests without a key, from anywhere.
    """

    app: ASGIApp
    keyring: Keyring
    trusted_hosts: Collection[str]
    open_to_all: bool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in PROBES:
            try:
                self._check(scope)
            except Problem as problem:
                await create_response(Request(scope), problem)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        host = _host(Headers(scope=scope))
        if self.trusted_hosts and not any(_names(each, host) for each in self.trusted_hosts):
            raise HostUnknown
        self.keyring.refresh()
        if self.keyring.required or self.open_to_all:
            return
        local = _find_address(scope)
        if local is None:  # a Unix socket, or a server that does not report the address
            return
        if not local.is_loopback:
            raise KeysRequired
        if not self.trusted_hosts and not _is_local_name(host):
            raise HostUnknown  # DNS rebinding: another site's name that points to this machine


def _host(headers: Headers) -> str:
    """The host name in the Host header, without the port."""
    host = headers.get("host", "").strip().lower()
    if host.startswith("["):
        return host.partition("]")[0][1:]
    return host.partition(":")[0]


def _names(trusted: str, host: str) -> bool:
    trusted = trusted.lower()
    if trusted.startswith("*."):
        return host.endswith(trusted[1:])
    return trusted in ("*", host)


def _is_local_name(host: str) -> bool:
    try:
        return host in _LOCAL_NAMES or _parse(host).is_loopback
    except ValueError:
        return False


def _find_address(scope: Scope) -> IPv4Address | IPv6Address | None:
    """This machine's address that a connection came to."""
    try:
        return _parse(str(scope["server"][0]))
    except (KeyError, TypeError, ValueError):
        return None
