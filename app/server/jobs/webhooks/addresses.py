"""Where webhooks may go: origins that the operator names, and no private address by surprise.

Whoever may submit chooses the address, and the app would call it from inside the hospital's
network. So the origin must be one that the operator allows. The name behind it may still lead
anywhere, and to another place with each look-up (DNS rebinding). So every address that the name has
at this moment is checked, and the connection goes to one of those addresses, not to the name.
"""

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import anyio

from app.request.callback import CallbackUrl, Origin, parse_pattern
from app.settings import AppSettings

Address = IPv4Address | IPv6Address


class AddressRefused(ValueError):
    """A webhook may not go there; the sentence says why."""


@dataclass(frozen=True, kw_only=True)
class Receivers:
    """What the operator allows.

    Attributes:
        origins: patterns of origins; empty: webhooks are off.
        networks: private networks that receivers may be in.
    """

    origins: tuple[Origin, ...]
    networks: tuple[str, ...]

    def require(self, url: CallbackUrl) -> None:
        """Raises AddressRefused unless the operator allows the origin of this address."""
        if not self.allows_origin(url.origin):
            raise AddressRefused("its origin is not in PROMPTSMOOTH_WEBHOOK_RECEIVERS")

    def allows_origin(self, origin: Origin) -> bool:
        """Whether the operator names this origin."""
        return any(one.covers(origin) for one in self.origins)

    async def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a host, all of which may be connected to.

        Raises:
            AddressRefused: the host has no address, or one that is private and not named.
        """
        try:
            found = await anyio.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise AddressRefused("its name has no address") from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not all(self.allows(one) for one in addresses):
            raise AddressRefused(
                "its address is not public, and PROMPTSMOOTH_WEBHOOK_NETWORKS does not name it"
            )
        return addresses

    def allows(self, text: str) -> bool:
        """Whether a connection to this address is allowed."""
        address = _read(text)
        if any(address in ip_network(network) for network in self.networks):
            return True
        return all(_is_public(one) for one in (address, *_list_embedded(address)))


def create_receivers(settings: AppSettings) -> Receivers:
    """What the settings allow."""
    return Receivers(
        origins=tuple(map(parse_pattern, settings.webhook_receivers)),
        networks=settings.webhook_networks,
    )


def _read(text: str) -> Address:
    """An address as the resolver gives it: with a zone, or IPv4 mapped into IPv6."""
    address = ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address.is_site_local:
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _list_embedded(address: Address) -> Iterable[IPv4Address]:
    """The IPv4 addresses that a translator on the way would connect to instead."""
    if isinstance(address, IPv4Address):
        return
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
