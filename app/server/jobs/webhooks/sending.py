"""One attempt to deliver a message: one connection to a checked address, no redirect, no proxy."""

import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import anyio
import httpcore2

from app.request.callback import CallbackUrl
from app.server.jobs.webhooks.addresses import AddressRefused, Receivers

DEADLINE_S = 15.0
_GONE = 410


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What came of an attempt.

    Attributes:
        status: the HTTP status that the receiver answered; None: it did not answer.
        reason: why it was not delivered, as a sentence; "" if it was.
    """

    status: int | None
    reason: str = ""

    @property
    def delivered(self) -> bool:
        """Whether the receiver took it: any 2xx."""
        return not self.reason

    @property
    def is_final(self) -> bool:
        """Whether the receiver wants nothing more (410 Gone)."""
        return self.status == _GONE


class Sender:
    """Delivers messages to receivers that the operator allows.

    Args:
        receivers: what is allowed.
        ca: authorities to trust besides those of the system (PEM).
        deadline_s: seconds that an attempt may take in all, however slowly the receiver answers.
    """

    def __init__(
        self, receivers: Receivers, *, ca: Path | None, deadline_s: float = DEADLINE_S
    ) -> None:
        self._receivers, self._ca, self._deadline_s = receivers, ca, deadline_s
        if ca is not None:
            _ = self._trust  # a file that cannot be used is an error at the start

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        """Reading the system's authorities takes longer than all else that an app needs."""
        trust = ssl.create_default_context()
        if self._ca is not None:
            trust.load_verify_locations(self._ca)
        return trust

    async def send(self, url: CallbackUrl, headers: dict[str, str], body: bytes) -> Attempt:
        """Makes one attempt. The content of the answer is not read."""
        try:
            self._receivers.require(url)
            with anyio.fail_after(self._deadline_s):
                status = await self._post(url, headers, body)
        except AddressRefused as error:
            return Attempt(status=None, reason=f"the receiver may not be called: {error}")
        except (httpcore2.TimeoutException, TimeoutError):
            return Attempt(
                status=None, reason=f"the receiver did not answer within {self._deadline_s:g} s"
            )
        except httpcore2.NetworkError:
            return Attempt(status=None, reason="the connection failed, or its certificate")
        except httpcore2.ProtocolError:
            return Attempt(status=None, reason="the receiver did not answer in HTTP")
        if 200 <= status < 300:
            return Attempt(status=status)
        return Attempt(status=status, reason=f"the receiver answered {status}")

    async def _post(self, url: CallbackUrl, headers: dict[str, str], body: bytes) -> int:
        address = httpcore2.URL(
            scheme=url.origin.scheme,
            host=url.origin.host.strip("[]"),
            port=url.origin.port,
            target=url.target,
        )
        named = [("Host", url.origin.authority), *headers.items()]
        async with (
            httpcore2.AsyncConnectionPool(
                ssl_context=self._trust if address.scheme == b"https" else None,
                network_backend=_CheckedBackend(self._receivers),
            ) as pool,
            pool.stream("POST", address, headers=named, content=body) as answer,
        ):
            return answer.status


class _CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to an address that was checked. TLS still checks the name."""

    def __init__(self, receivers: Receivers) -> None:
        self._receivers, self._inner = receivers, httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        error: httpcore2.NetworkError | None = None
        for address in await self._receivers.resolve(host, port):
            try:
                return await self._inner.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except httpcore2.NetworkError as failed:
                error = failed
        raise error or httpcore2.ConnectError("the name has no address")
