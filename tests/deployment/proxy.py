"""What the proxy promises, against a running deployment: python3 proxy.py URL HTTP_URL CRT KEY.

TLS, the way from HTTP to it, limits, request ids, and that whoever sends drop by drop is cut off
while others are served. Only the standard library.
"""

import contextlib
import http.client
import json
import socket
import ssl
import sys
import time
from urllib.parse import urlsplit

BODY_SILENCE_S = 15
NGINX_S = 60  # how patient it is when it is not told otherwise
PROBLEM = "application/problem+json"


class Service:
    """The service as its users reach it."""

    def __init__(self, url: str, http_url: str, certificate: str, key: str) -> None:
        self.host, self.port = urlsplit(url).hostname or "", urlsplit(url).port or 443
        self.http_port = urlsplit(http_url).port or 80
        self.context = ssl.create_default_context(cafile=certificate)
        self.headers = {"Authorization": f"Bearer {key}"}

    def ask(self, method, path, *, body=None, headers=None, plain_to=None):
        if plain_to is not None:
            connection = http.client.HTTPConnection(self.host, plain_to, timeout=10 * NGINX_S)
        else:
            connection = http.client.HTTPSConnection(
                self.host, self.port, context=self.context, timeout=10 * NGINX_S
            )
        connection.request(method, path, body, {**self.headers, **(headers or {})})
        answer = connection.getresponse()
        return answer, answer.read()

    def open(self):
        """A TLS connection without a request."""
        plain = socket.create_connection((self.host, self.port), timeout=10 * NGINX_S)
        return self.context.wrap_socket(plain, server_hostname=self.host)


def problem(answer, body, status, code):
    assert (answer.status, answer.headers["content-type"]) == (status, PROBLEM), (
        answer.status,
        body,
    )
    document = json.loads(body)
    assert (document["status"], document["code"]) == (status, code), document
    assert document["request_id"] == answer.headers["x-request-id"], document
    return document


def check_tls(service):
    certificate = ssl.get_server_certificate((service.host, service.port))
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl.create_default_context(cadata=certificate)
        context.minimum_version = context.maximum_version = version
        with (
            socket.create_connection((service.host, service.port)) as plain,
            context.wrap_socket(plain, server_hostname=service.host) as secured,
        ):
            assert "GCM" in secured.cipher()[0] or "CHACHA20" in secured.cipher()[0]
    try:
        with socket.create_connection((service.host, service.port)) as plain:
            ssl.create_default_context().wrap_socket(plain, server_hostname=service.host)
    except ssl.SSLCertVerificationError:
        return
    raise AssertionError("a client that does not trust the self-signed certificate took it")


def check_plain_http(service):
    answer, _ = service.ask("GET", "/docs?a=b", plain_to=service.http_port)
    assert answer.status == 308, answer.status
    assert answer.headers["location"] == f"https://{service.host}:{service.port}/docs?a=b"
    problem(
        *service.ask("POST", "/certify", body=b"x", plain_to=service.http_port), 403, "plain_http"
    )
    problem(*service.ask("GET", "/", plain_to=service.port), 403, "plain_http")


def check_limits(service):
    limit = 64 * 2**20
    problem(*service.ask("POST", "/certify", body=bytes(limit + 1)), 413, "body_too_large")
    answer, body = service.ask(
        "POST", "/certify", body=bytes(limit), headers={"Content-Type": "text/x-nothing"}
    )
    problem(answer, body, 415, "media_type_unsupported")  # the app was asked
    problem(*service.ask("GET", "/metrics"), 404, "not_found")
    problem(*service.ask("GET", "/", headers={"X-Long": "x" * 40_000}), 400, "request_malformed")


def check_headers(service):
    answer, _ = service.ask("GET", "/healthz", headers={"X-Request-ID": "0" * 32})
    assert answer.status == 200
    assert answer.headers["x-request-id"] != "0" * 32, "a client chose the id of its request"
    assert answer.headers["strict-transport-security"] is None
    assert answer.headers["content-security-policy"]
    assert answer.headers["server"] == "nginx", "the proxy says its version"


def is_open(connection):
    """Whether the other side has neither answered nor closed a connection."""
    connection.settimeout(0.1)
    try:
        return connection.recv(4096) != b""
    except TimeoutError:
        return True


def cut_off_after(connection, drops, every_s):
    """Seconds until the other side closes a connection that gets a drop now and then."""
    began = time.monotonic()
    connection.settimeout(every_s)
    while time.monotonic() - began < 10 * NGINX_S:
        try:
            connection.sendall(drops)
            if connection.recv(4096) == b"":
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - began


def check_slow(service):
    slow = service.open()
    slow.sendall(b"POST /certify HTTP/1.1\r\nHost: localhost\r\n")
    others = [service.open() for _ in range(50)]
    for other in others:
        other.sendall(b"GET / HTTP/1.1\r\nHost: ")
    assert service.ask("GET", "/healthz")[0].status == 200
    assert is_open(others[-1]), "slow headers of others keep a request waiting"
    took = cut_off_after(slow, b"X-Drop: 1\r\n", 2)
    assert took < NGINX_S, took
    print(f"  headers drop by drop: cut off after {took:.0f} s, others were served")
    slow = service.open()
    slow.sendall(b"POST /certify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nx")
    slow.settimeout(10 * NGINX_S)
    began = time.monotonic()
    with contextlib.suppress(OSError):
        slow.recv(4096)
    took = time.monotonic() - began
    assert BODY_SILENCE_S - 2 < took < NGINX_S, took
    print(f"  a body that falls silent: cut off after {took:.0f} s")


def main():
    service = Service(*sys.argv[1:])
    check_tls(service)
    check_plain_http(service)
    check_limits(service)
    check_headers(service)
    print("  TLS 1.2 and 1.3, HTTP leads to HTTPS, limits and request ids")
    check_slow(service)


if __name__ == "__main__":
    main()
