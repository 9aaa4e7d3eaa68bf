"""How many images are under way, before a service whose hosts come and go."""

import asyncio
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from app.cli.remote.window import Window
from app.client import AsyncClient


class Hosts:
    """The hosts of a service that answers GET /capacity, and nothing else."""

    def __init__(self) -> None:
        self.at_a_time, self.url = 0, ""

    def describe(self) -> bytes:
        model = {"model": "linear", "at_a_time": self.at_a_time}
        return json.dumps({"models": [model]}).encode()


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    service = Hosts()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = service.describe()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever).start()
        service.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield service
        finally:
            server.shutdown()


async def hold(window: Window, inside: list[int], number: int) -> None:
    async with window.under_way():
        inside.append(number)
        await asyncio.Event().wait()


async def follow(hosts: Hosts, steps: list[tuple[int, int]], *, most: int | None) -> list[int]:
    """Lets a hundred images in, while hosts join; those that came in, in order."""
    inside: list[int] = []
    async with (
        AsyncClient(hosts.url) as client,
        Window(client, "linear", most=most, look_s=0.02) as window,
    ):
        tasks = [asyncio.create_task(hold(window, inside, number)) for number in range(100)]
        for at_a_time, expected in steps:
            hosts.at_a_time = at_a_time
            while len(inside) < expected:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
    return inside


def test_twice_as_many_as_the_hosts_run_are_under_way_and_a_host_that_joins_helps(hosts: Hosts):
    hosts.at_a_time = 5
    assert asyncio.run(follow(hosts, [(5, 10), (12, 24)], most=None)) == list(range(24))


def test_no_more_than_the_user_allows_are_under_way(hosts: Hosts):
    hosts.at_a_time = 50
    assert asyncio.run(follow(hosts, [(50, 3)], most=3)) == [0, 1, 2]
