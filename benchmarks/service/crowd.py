"""A crowd before one service: clients that submit again and again, listeners, and slow readers."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

import httpx2

CLIENTS, LISTENERS, SLOW_READERS = 200, 50, 20
PAUSE_S = 1.0  # of a client between an answer and its next submission
BODY_HEADERS = {"Content-Type": "multipart/form-data; boundary=part"}


@dataclass
class Seen:
    """What the clients of a crowd were answered."""

    taken_ms: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    refused_without_a_time: int = 0
    ids: list[str] = field(default_factory=list)


async def submit_as_a_crowd(
    url: str, images: list[bytes], *, seconds: float, attempts: "count[int]"
) -> Seen:
    """Lets all clients submit for so many seconds. Each does what Retry-After asks of it."""
    seen, until = Seen(), time.monotonic() + seconds
    limits = httpx2.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
    async with (
        httpx2.AsyncClient(base_url=url, limits=limits, timeout=60, trust_env=False) as http,
        _listeners(url, seen.ids),
        asyncio.TaskGroup() as group,
    ):
        for number in range(CLIENTS):
            image = images[number % len(images)]
            group.create_task(_be_a_client(http, image, seen, until, attempts))
            await asyncio.sleep(PAUSE_S / CLIENTS)
    return seen


async def _be_a_client(
    http: httpx2.AsyncClient, image: bytes, seen: Seen, until: float, attempts: "count[int]"
) -> None:
    while time.monotonic() < until:
        body = create_body(image, attempt=next(attempts) % 10_000)
        started, pause_s = time.monotonic(), PAUSE_S
        try:
            answer = await http.post("/certify", content=body, headers=BODY_HEADERS)
        except httpx2.TransportError as error:
            seen.statuses[type(error).__name__] += 1
        else:
            seen.statuses[str(answer.status_code)] += 1
            if answer.status_code == 202:
                seen.ids.append(answer.json()["id"])
            elif wait_s := answer.headers.get("Retry-After"):
                pause_s = float(wait_s)
            else:
                seen.refused_without_a_time += 1
        seen.taken_ms.append((time.monotonic() - started) * 1000)
        await asyncio.sleep(min(pause_s, max(0.0, until - time.monotonic())))


def create_body(image: bytes, *, attempt: int) -> bytes:
    """A form, joined here: the client library's own way takes more time than the service."""
    fields = {"sigma": "0.25", "n_max": "64", "attempt": str(attempt)}
    texts = "".join(
        f'--part\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    head = 'Content-Disposition: form-data; name="image"; filename="image.png"'
    kind = "Content-Type: image/png"
    opened = f"{texts}--part\r\n{head}\r\n{kind}\r\n\r\n".encode()
    return opened + image + b"\r\n--part--\r\n"


@asynccontextmanager
async def _listeners(url: str, ids: list[str]) -> AsyncIterator[None]:
    """Open event streams, each of the newest job, and connections whose answers are hardly read."""
    host, port = url.removeprefix("http://").split(":")
    tasks = [asyncio.create_task(_listen(url, ids)) for _ in range(LISTENERS)]
    tasks += [asyncio.create_task(_read_slowly(host, int(port))) for _ in range(SLOW_READERS)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _listen(url: str, ids: list[str]) -> None:
    async with httpx2.AsyncClient(base_url=url, timeout=None, trust_env=False) as http:
        while True:
            if not ids:
                await asyncio.sleep(PAUSE_S / 10)
                continue
            async with http.stream("GET", f"/certifications/{ids[-1]}/events") as answer:
                async for _ in answer.aiter_bytes():
                    pass


async def _read_slowly(host: str, port: int) -> None:
    """Asks for the largest document again and again, and reads a byte a second of it."""
    asked = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    while True:
        try:
            reader, writer = await asyncio.open_connection(host, port, limit=1024)
            writer.write(asked * 20)
            while await reader.read(1):
                await asyncio.sleep(1)
        except OSError:
            await asyncio.sleep(1)
