"""The address that a webhook goes to, and the origins that an operator allows for it.

One grammar reads both, and the parts that it finds are what a delivery connects to: no second
parser could understand an address differently.
"""

import re
from dataclasses import dataclass

MAX_CHARACTERS = 2000
RULE = (
    f"an http or https address of at most {MAX_CHARACTERS} characters without user and fragment, "
    "at an origin that the service's operator allows"
)
_PORTS = {"http": 80, "https": 443}
_HOST = r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:.]+\])"
_ORIGIN = rf"(?P<scheme>https?)://(?P<host>{{}}{_HOST})(?::(?P<port>[1-9]\d{{{{0,4}}}}))?"
_URL = re.compile(
    _ORIGIN.format("") + r"(?P<path>[/?][A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]*)?", re.ASCII | re.I
)
_PATTERN = re.compile(_ORIGIN.format(r"(?:\*\.)?") + "/?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Scheme, host and port. The host of a pattern may begin with `*.`, for all names below."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    @property
    def authority(self) -> str:
        """Host and port as the header `Host` has them (RFC 9110, 7.2)."""
        usual = self.port == _PORTS[self.scheme]
        return self.host if usual else f"{self.host}:{self.port}"

    def covers(self, other: "Origin") -> bool:
        """Whether this pattern allows an origin."""
        if (self.scheme, self.port) != (other.scheme, other.port):
            return False
        if self.host.startswith("*."):
            return other.host.endswith(self.host[1:])
        return self.host == other.host


@dataclass(frozen=True, kw_only=True)
class CallbackUrl:
    """An address in the parts that a connection needs. `target` is path and query."""

    origin: Origin
    target: str


def parse_callback(text: str) -> CallbackUrl:
    """The address that a submission names.

    Raises:
        ValueError: it is not of the form of `RULE`.
    """
    found = _URL.fullmatch(text) if len(text) <= MAX_CHARACTERS else None
    if found is None:
        raise ValueError(f"expected {RULE}")
    path = found["path"] or "/"
    return CallbackUrl(
        origin=_read_origin(found), target=path if path.startswith("/") else f"/{path}"
    )


def parse_pattern(text: str) -> Origin:
    """An entry of an operator's list, such as `https://*.hospital.example:8443`.

    Raises:
        ValueError: it is none.
    """
    if (found := _PATTERN.fullmatch(text)) is None:
        raise ValueError(
            "expected origins like https://ris.hospital.example, https://*.hospital.example:8443 "
            f"or http://10.1.2.3:8080, got {text!r}"
        )
    return _read_origin(found)


def check_callback(text: str) -> str:
    """The address as it came, if it is one."""
    parse_callback(text)
    return text


def check_pattern(text: str) -> str:
    """The entry as it came, if it is one."""
    parse_pattern(text)
    return text


def _read_origin(found: re.Match[str]) -> Origin:
    scheme = found["scheme"].lower()
    port = int(found["port"] or _PORTS[scheme])
    if port > 65535:
        raise ValueError("expected a port of at most 65535")
    return Origin(scheme=scheme, host=found["host"].lower(), port=port)
