"""Where the app connects to: public addresses, and private ones that the operator names."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anyio
import pytest

from app.request.callback import CallbackUrl, parse_callback, parse_pattern
from app.server.jobs.webhooks.addresses import AddressRefused, Receivers
from app.server.jobs.webhooks.sending import Attempt, Sender

LOOPBACK = ("127.0.0.0/8", "::1/128")


def create_receivers(*origins: str, networks: tuple[str, ...] = ()) -> Receivers:
    return Receivers(origins=tuple(map(parse_pattern, origins)), networks=networks)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1%eth0",
        "fec0::1",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2002:a00:1::1",
    ],
)
def test_no_private_address_is_called_unless_it_is_named(address):
    assert not create_receivers().allows(address)


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_a_public_address_is_called(address):
    assert create_receivers().allows(address)


def test_a_named_network_is_called_and_no_other():
    receivers = create_receivers(networks=("10.1.0.0/16", "fd00:1::/32"))
    assert receivers.allows("10.1.2.3")
    assert receivers.allows("::ffff:10.1.2.3")
    assert receivers.allows("fd00:1::5")
    assert not receivers.allows("10.2.0.1")
    assert not receivers.allows("fd00:2::5")


def test_a_name_with_one_private_address_is_refused_whole():
    receivers = create_receivers(networks=("127.0.0.1/32",))

    async def resolve(host: str) -> list[str]:
        return await receivers.resolve(host, 80)

    assert anyio.run(resolve, "127.0.0.1") == ["127.0.0.1"]
    for host in ("127.0.0.2", "127.2", "0x7f.2", "2130706434"):
        with pytest.raises(AddressRefused, match="not public"):
            anyio.run(resolve, host)
    with pytest.raises(AddressRefused, match="no address"):
        anyio.run(resolve, "nowhere.invalid")


class _Handler(BaseHTTPRequestHandler):
    """Answers as the path says, and keeps what came."""

    server: "_Server"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.came.append((self.path, dict(self.headers), body))
        status = int(self.path.strip("/").partition("?")[0])
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/204")
        self.send_header("Content-Length", str(10**9))  # nobody reads it
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.came: list[tuple[str, dict[str, str], bytes]] = []


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def send(url: str, receivers: Receivers, *, deadline_s: float = 600) -> Attempt:
    sender = Sender(receivers, ca=None, deadline_s=deadline_s)

    async def run(parsed: CallbackUrl) -> Attempt:
        return await sender.send(parsed, {"webhook-id": "msg_1"}, b"{}")

    return anyio.run(run, parse_callback(url))


@pytest.mark.parametrize(
    ("status", "delivered"),
    [
        (200, True),
        (204, True),
        (301, False),
        (307, False),
        (401, False),
        (410, False),
        (503, False),
    ],
)
def test_any_2xx_is_a_delivery_and_no_redirect_is_followed(server, status, delivered):
    origin = f"http://127.0.0.1:{server.server_port}"
    attempt = send(f"{origin}/{status}?a=b", create_receivers(origin, networks=LOOPBACK))
    assert (attempt.status, attempt.delivered) == (status, delivered)
    assert attempt.is_final == (status == 410)
    ((path, headers, body),) = server.came
    assert (path, body) == (f"/{status}?a=b", b"{}")
    assert headers["Host"] == origin.removeprefix("http://")


def test_an_address_is_not_called_unless_its_origin_and_its_network_are_named(server):
    port = server.server_port
    named, other = f"http://127.0.0.1:{port}", f"http://localhost:{port}"
    assert "NETWORKS" in send(f"{named}/204", create_receivers(named)).reason
    assert "RECEIVERS" in send(f"{other}/204", create_receivers(named, networks=LOOPBACK)).reason
    assert server.came == []
    assert send(f"{other}/204", create_receivers(other, networks=LOOPBACK)).delivered


def test_a_receiver_that_answers_never_or_byte_by_byte_is_left(free_port):
    origin = f"http://127.0.0.1:{free_port}"
    receivers = create_receivers(origin, networks=LOOPBACK)
    assert "connection failed" in send(origin, receivers).reason
    with socket.create_server(("127.0.0.1", free_port)) as silent:
        assert "within 2 s" in send(origin, receivers, deadline_s=2).reason  # it has sent by then
        with closing(silent.accept()[0]) as connection:
            assert connection.recv(16).startswith(b"POST / HTTP/1.1")


def test_a_receiver_that_speaks_no_http_is_no_fault_of_ours(free_port):
    origin = f"http://127.0.0.1:{free_port}"
    with socket.create_server(("127.0.0.1", free_port)) as odd:

        def answer() -> None:
            with closing(odd.accept()[0]) as connection:
                connection.recv(65536)
                connection.sendall(b"what?\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        attempt = send(origin, create_receivers(origin, networks=LOOPBACK))
        thread.join()
    assert (attempt.status, attempt.delivered) == (None, False)


def test_tls_checks_the_name_and_the_authority(server):
    """The receiver speaks plain HTTP here: no message goes to who cannot prove its name."""
    origin = f"https://127.0.0.1:{server.server_port}"
    attempt = send(f"{origin}/204", create_receivers(origin, networks=LOOPBACK))
    assert not attempt.delivered
    assert server.came == []
