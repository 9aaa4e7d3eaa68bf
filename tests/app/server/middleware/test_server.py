"""The app as a process on a socket: where it listens, and how long it waits for slow clients."""

import json
import os
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from types import MappingProxyType

import httpx2
import pytest
from ports import find_free_port
from waiting import HANG_S, wait_until

from app.server.middleware.perimeter import NotLoopback, require_loopback
from app.settings import AppSettings

Raw = tuple[int, Mapping[str, str], dict[str, object]]

HEAD = b"POST /certify HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x"


@contextmanager
def serve_app(
    folder: Path,
    *command: str,
    environment: Mapping[str, str] = MappingProxyType({}),
    **settings: str,
) -> Iterator[int]:
    """A server of the app, its port."""
    port = find_free_port()
    own = {f"PROMPTSMOOTH_{name.upper()}": value for name, value in settings.items()}
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PROMPTSMOOTH_")}
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "--port", str(port)],
            env={**clean, **own, **environment},
            stdout=log,
            stderr=log,
        )
    try:
        _wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait(HANG_S)
    assert "Traceback" not in (folder / "server.log").read_text()


def _wait_for(port: int) -> None:
    def listens() -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return True
        return False

    wait_until(listens)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server that waits half a second within a body, and else as long as it can be told to."""
    settings = {"header_timeout_s": "600", "body_idle_timeout_s": "0.5", "body_timeout_s": "3600"}
    with serve_app(tmp_path_factory.mktemp("server"), "app", **settings) as port:
        yield port


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server that waits half a second for headers and a second for a body, else very long."""
    settings = {
        "header_timeout_s": "0.5",
        "body_idle_timeout_s": "600",
        "body_timeout_s": "1",
        "keep_alive_s": "600",
    }
    with serve_app(tmp_path_factory.mktemp("hasty"), "app", **settings) as port:
        yield port


@contextmanager
def _connect(port: int, host: str = "127.0.0.1") -> Iterator[socket.socket]:
    with socket.create_connection((host, port), timeout=HANG_S) as connection:
        yield connection


def _read(connection: socket.socket) -> Raw:
    """One answer, read until the server closes."""
    data = b""
    while received := connection.recv(65536):
        data += received
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(first.split()[1]), headers, json.loads(body)


def _ask(port: int, host: str, *headers: str, path: str = "/version") -> Raw:
    with _connect(port, host) as connection:
        lines = [f"GET {path} HTTP/1.1", "Connection: close", *headers, "", ""]
        connection.sendall("\r\n".join(lines).encode())
        return _read(connection)


def _is_silent(connection: socket.socket) -> bool:
    """Whether the server has neither answered nor closed it."""
    readable, _, _ = select.select([connection], [], [], 0)
    return not readable


def _trickle(connection: socket.socket) -> bytes:
    """Sends a byte now and then, until the server answers; the beginning of that answer."""
    connection.settimeout(0.2)
    while True:
        try:
            return connection.recv(65536)
        except TimeoutError:
            connection.sendall(b"a")


def test_headers_that_never_end_are_answered_and_the_connection_closed(
    port: int, hasty: int
) -> None:
    """As soon as the server was told to: another, told otherwise, still waits."""
    with _connect(port) as patient, _connect(hasty) as connection:
        begun = time.monotonic()
        for each in (patient, connection):
            each.sendall(b"GET /version HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        status, headers, problem = _read(connection)
        assert time.monotonic() - begun > 0.4
        assert _is_silent(patient)
    assert (status, problem["code"]) == (408, "headers_too_slow")
    assert headers["content-type"] == "application/problem+json"


def test_bytes_that_trickle_do_not_move_the_deadline(hasty: int) -> None:
    with _connect(hasty) as connection:
        connection.sendall(b"GET /version HTTP/1.1\r\nX-Slow: ")
        answer = _trickle(connection)
    assert answer.startswith(b"HTTP/1.1 408")


def test_a_connection_without_a_byte_is_closed(port: int, hasty: int) -> None:
    with _connect(port) as patient, _connect(hasty) as connection:
        assert connection.recv(10) == b""
        assert _is_silent(patient)


def test_a_connection_is_used_again_within_its_keep_alive(hasty: int) -> None:
    connection = HTTPConnection("127.0.0.1", hasty)
    connection.auto_open = 0  # one connection or none
    connection.connect()
    for _ in range(3):
        connection.request("GET", "/version")
        assert connection.getresponse().read().startswith(b"{")
        time.sleep(0.7)  # longer than headers may take
    connection.close()


BODY = HEAD + b"\r\nContent-Length: 100000\r\n\r\n--x\r\n"


def _require_body_too_slow(connection: socket.socket, answer: bytes) -> None:
    connection.settimeout(HANG_S)
    while not answer.endswith(b"}"):  # head and body can come one by one
        answer += connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"body_too_slow" in answer


def test_a_body_that_falls_silent_is_ended(port: int) -> None:
    """Half a second after its last byte, though it had an hour in all."""
    with _connect(port) as connection:
        connection.sendall(BODY)
        _require_body_too_slow(connection, connection.recv(65536))


def test_a_body_that_comes_slowly_is_ended(hasty: int) -> None:
    """A second after its first byte, however often another comes."""
    with _connect(hasty) as connection:
        connection.sendall(BODY)
        _require_body_too_slow(connection, _trickle(connection))


def test_slow_clients_do_not_harm_the_others(port: int) -> None:
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]
    try:
        for i, connection in enumerate(slow):
            connection.sendall(HEAD + (b"\r\nContent-Length: 9\r\n\r\n-" if i % 2 else b"\r\nX: "))
        for _ in range(5):
            assert _ask(port, "127.0.0.1", "Host: localhost", path="/healthz")[0] == 200
        assert all(_is_silent(connection) for connection in slow[::2])  # none had ended
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.parametrize(
    "data",
    [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX: " + bytes(70_000) + b"\r\n\r\n"],
)
def test_what_is_no_http_is_a_problem(port: int, data: bytes) -> None:
    with _connect(port) as connection:
        connection.sendall(data)
        status, headers, problem = _read(connection)
    assert (status, problem["code"]) == (400, "http_invalid")
    assert headers["content-type"] == "application/problem+json"
    assert "server" not in headers


def test_a_request_of_two_lengths_is_refused_and_its_connection_closed(port: int) -> None:
    """Else what follows the shorter body is a request that a proxy never saw."""
    hidden = b"0\r\n\r\nGET /version HTTP/1.1\r\nHost: localhost\r\n\r\n"
    lengths = b"\r\nContent-Length: %d\r\nTransfer-Encoding: chunked" % len(hidden)
    with _connect(port) as connection:
        connection.sendall(HEAD + lengths + b"\r\n\r\n" + hidden)
        status, headers, problem = _read(connection)
    assert (status, problem["code"]) == (400, "http_invalid")
    assert headers["connection"] == "close"


@pytest.mark.parametrize(
    "head",
    [
        b"GET /version",  # HTTP/0.9
        b"GET /version RTSP/1.0\r\nHost: localhost",
        b"GET  /version HTTP/1.1\r\nHost: localhost",
        b"\r\n\r\nGET /version HTTP/1.1\r\nHost: localhost",
        b"GET /version HTTP/1.1",
        b"GET /version HTTP/1.1\r\nHost: localhost\r\nHost: evil.example",
        b"GET /version HTTP/1.1\r\nHost: localhost\r\nX: a\rb",
        HEAD + b"\r\nTransfer-Encoding: identity",
        HEAD + b"\r\nTransfer-Encoding: xchunked",
        HEAD + b"\r\nTransfer-Encoding: \x0bchunked",
        HEAD + b"\r\nTransfer-Encoding: gzip, chunked",
        HEAD + b"\r\nContent-Length: 3\r\nContent-Length: 4",
        HEAD + b"\r\nContent-Length: 3, 4",
        HEAD + b"\r\nContent-Length: 0x3",
        HEAD + b"\r\nContent-Length : 3",
    ],
)
def test_a_head_that_could_be_read_in_two_ways_is_refused_before_anything_is_done(
    port: int, head: bytes
) -> None:
    """Parsers differ in these. What follows such a head is no request of its own either."""
    with _connect(port) as connection:
        connection.sendall(head + b"\r\n\r\nGET /version HTTP/1.1\r\nHost: localhost\r\n\r\n")
        status, headers, problem = _read(connection)
    assert (status, problem["code"], headers["connection"]) == (400, "http_invalid", "close")


def test_unused_connections_are_kept_longer_than_by_our_own_client() -> None:
    """Else it sends on one that the app is closing: of 480 requests after 5 s, 7 were lost."""
    expiry_s = httpx2.Limits().keepalive_expiry
    assert expiry_s is not None
    assert AppSettings().keep_alive_s > expiry_s


def _read_answers(connection: socket.socket) -> list[int]:
    """The statuses of all answers until the server closes."""
    data = b""
    while received := connection.recv(65536):
        data += received
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d+) ", data)]


LAST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("upgrade", [b"", b"\r\nConnection: Upgrade\r\nUpgrade: h2c"])
def test_the_next_request_begins_where_the_body_ends(port: int, upgrade: bytes) -> None:
    """Also where the first asks for another protocol, which it does not get."""
    body = b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with _connect(port) as connection:
        connection.sendall(HEAD + upgrade + b"\r\nContent-Length: %d\r\n\r\n" % len(body))
        connection.sendall(body + LAST)
        assert _read_answers(connection) == [400, 200]


def test_requests_sent_at_once_are_answered_in_their_order(port: int) -> None:
    asked = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    missing = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with _connect(port) as connection:
        connection.sendall((asked + missing) * 50 + LAST)
        assert _read_answers(connection) == [200, 404] * 50 + [200]


def test_a_request_of_http_1_0_is_the_last_of_its_connection(port: int) -> None:
    first = b"GET /healthz HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n"
    with _connect(port) as connection:
        connection.sendall(first + LAST)
        assert _read_answers(connection) == [200]


def test_a_head_that_grows_without_end_is_refused(port: int) -> None:
    with _connect(port) as connection:
        connection.sendall(b"GET /version HTTP/1.1\r\nHost: localhost\r\nX: ")
        sent, most = 0, 64 * 2**20  # far more than lies between two sockets
        with suppress(ConnectionError):
            while sent < most and _is_silent(connection):
                sent += connection.send(b"a" * 1024)
    assert sent < most


def test_every_line_of_the_log_is_json_and_repeats_nothing_that_was_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request id of a problem leads to its line, and the line says what it was."""
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{find_free_port()}/0")
    with serve_app(tmp_path, "app") as port:
        with _connect(port) as connection:
            connection.sendall(b"DOE JANE\r\n\r\n")
            _read(connection)
        with _connect(port) as connection:
            body = b"\r\nConnection: close\r\nContent-Length: 8\r\n\r\n--DOE^JA"
            connection.sendall(HEAD + body)
            assert _read(connection)[2]["code"] == "form_unreadable"
        _, _, problem = _ask(port, "127.0.0.1", "Host: localhost", path="/prompts")
        assert problem["code"] == "queue_unavailable"
    lines = [json.loads(line) for line in (tmp_path / "server.log").read_text().splitlines()]
    (away_line,) = [line for line in lines if line["event"] == "queue_unavailable"]
    assert away_line["request_id"] == problem["request_id"]
    assert away_line["error"] == "ConnectionError"
    assert not any("boundary" in line["event"] or "DOE" in line["event"] for line in lines)


def test_an_answer_says_nothing_of_the_server(port: int) -> None:
    _, headers, _ = _ask(port, "127.0.0.1", "Host: localhost")
    assert not headers.keys() & {"server", "x-powered-by"}


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "127.0.0.1:80", "LOCALHOST", "[::1]:9"])
def test_names_of_this_machine_are_known(port: int, name: str) -> None:
    assert _ask(port, "127.0.0.1", f"Host: {name}")[0] == 200


@pytest.mark.parametrize("name", ["evil.example", "localhost.evil.example", "10.0.0.1", ""])
def test_another_name_that_points_here_is_refused(port: int, name: str) -> None:
    """A page elsewhere whose name was made to mean 127.0.0.1 in a browser of this machine."""
    status, _, problem = _ask(port, "127.0.0.1", f"Host: {name}")
    assert (status, problem["code"]) == (421, "host_unknown")
    assert _ask(port, "127.0.0.1", f"Host: {name}", path="/healthz")[0] == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])
def test_addresses_of_others_are_not_this_machine_alone(host: str) -> None:
    with pytest.raises(NotLoopback, match="promptsmooth keys add"):
        require_loopback(host)


def test_a_name_that_nobody_knows_is_not_this_machine_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some networks answer every name, and without one a resolver is slow to give up."""

    def know_nobody(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", know_nobody)
    with pytest.raises(NotLoopback, match="promptsmooth keys add"):
        require_loopback("no.such.host.invalid")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_loopback_addresses_are_this_machine_alone(host: str) -> None:
    require_loopback(host)


def test_without_keys_it_does_not_listen_to_others() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "app", "--host", "0.0.0.0", "--port", str(find_free_port())],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert run.returncode == 2
    assert "promptsmooth keys add" in run.stderr
    assert "PROMPTSMOOTH_OPEN" in run.stderr


def test_a_server_that_listens_to_others_all_the_same_answers_none(
    tmp_path: Path, make_key: Callable[..., object], keys_file: Path
) -> None:
    """Somebody else's command line: only the address of the connection tells."""
    others = _own_address()
    plain = "uvicorn", "--factory", "app.main:create_app", "--host", "0.0.0.0"
    with serve_app(tmp_path, *plain, keys_file=str(keys_file)) as port:
        status, _, problem = _ask(port, others, f"Host: {others}")
        assert (status, problem["code"]) == (403, "keys_required")
        assert _ask(port, others, f"Host: {others}", path="/healthz")[0] == 200
        assert _ask(port, "127.0.0.1", "Host: localhost")[0] == 200
        make_key("read")
        assert _ask(port, others, f"Host: {others}")[0] == 200
        assert _ask(port, others, f"Host: {others}", path="/models")[0] == 401


def _own_address() -> str:
    """An address of this machine that others could use; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("no address but the loopback (connect this machine to a network)")
        address: str = probe.getsockname()[0]
        return address


def test_every_line_of_the_log_is_json_and_names_the_request(tmp_path: Path) -> None:
    """The server's own lines too; what was asked for is not in them."""
    away = {"REDIS_URL": f"unix://{tmp_path}/none.sock"}
    with (
        serve_app(tmp_path, "app", environment=away) as port,
        closing(HTTPConnection("127.0.0.1", port, timeout=HANG_S)) as connection,
    ):
        connection.request("GET", "/certifications?model=Doe-Jane")
        answer = connection.getresponse()
        assert answer.status == 503
    text = (tmp_path / "server.log").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    (said,) = [line for line in lines if line["event"] == "queue_unavailable"]
    assert said["request_id"] == answer.headers["X-Request-ID"]
    assert said["error"] == "ConnectionError"
    assert "Doe" not in text


@pytest.mark.parametrize("target", ["*", "/models/bundled-2"])
def test_a_server_answers_options_and_head_on_one_connection(port: int, target: str) -> None:
    """The content that HEAD leaves out would be read as the next answer."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=HANG_S)) as connection:
        connection.request("OPTIONS", target)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (204, b"")
        assert "HEAD" in answer.headers["Allow"]
        for path in ("/version", "/nowhere"):
            connection.request("HEAD", path)
            answer = connection.getresponse()
            assert (answer.read(), int(answer.headers["Content-Length"]) > 0) == (b"", True)
        connection.request("GET", "/version")
        assert json.loads(connection.getresponse().read())["service"] == "promptsmooth-service"
