"""A receiver on this machine, which checks signatures with the package that receivers use."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import pytest
from fastapi.testclient import TestClient
from redis import Redis
from standardwebhooks import Webhook
from waiting import wait_until

from app.main import create_app
from app.server.access.operator_file import now_utc
from app.server.jobs.webhooks.addresses import create_receivers
from app.server.jobs.webhooks.delivery import Deliverer
from app.server.jobs.webhooks.key_webhooks import (
    KeyWebhooks,
    WebhookBook,
    change_webhooks,
    create_secret,
)
from app.server.jobs.webhooks.sending import Sender
from app.settings import AppSettings
from models.files.audit_log import AuditLog, list_files
from models.imaging import Decoder
from worker.store.jobs import callbacks


class Receiver(ThreadingHTTPServer):
    """Answers with its `statuses`, then with 204, and keeps what came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.came: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def read(self, secret: str) -> list[dict[str, Any]]:
        """The messages so far; WebhookVerificationError for one that the secret did not sign."""
        return [json.loads(body) for headers, body in self.came if check(secret, headers, body)]


def check(secret: str, headers: dict[str, str], body: bytes) -> bool:
    Webhook(secret).verify(body, headers)
    return True


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.came.append((dict(self.headers), body))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def webhooks_file(tmp_path: Path) -> Path:
    return tmp_path / "webhooks.toml"


@pytest.fixture
def give_secret(webhooks_file: Path) -> Callable[..., str]:
    """Gives a key webhooks; the secret."""

    def give(key_id: str = "anonymous", url: str | None = None) -> str:
        secret = create_secret(now_utc())
        with change_webhooks(webhooks_file) as found:
            found[key_id] = KeyWebhooks(key_id=key_id, url=url, secrets=(secret,))
        return secret.secret

    return give


@pytest.fixture
def telling(settings: AppSettings, receiver: Receiver, webhooks_file: Path) -> AppSettings:
    """Settings of an app that may call the receiver."""
    changes = {
        "webhook_receivers": (receiver.origin,),
        "webhook_networks": ("127.0.0.0/8",),
        "webhooks_file": webhooks_file,
    }
    return settings.model_copy(update=changes)


@pytest.fixture
def client(telling: AppSettings, redis: Redis, decoder: Decoder) -> Iterator[TestClient]:
    """An app that tells the receiver."""
    with TestClient(create_app(telling, decoder=decoder)) as client:
        yield client


@pytest.fixture
def deliver(
    redis: Redis, telling: AppSettings, webhooks_file: Path
) -> Callable[[Callable[[], object]], None]:
    """Delivers until something holds, with short pauses between attempts."""

    def run(
        holds: Callable[[], object],
        pauses_s: tuple[float, ...] = (0.01, 0.01, 0.01),
        log: AuditLog | None = None,
        settings: AppSettings = telling,
    ) -> None:
        sender = Sender(create_receivers(settings), ca=None)
        book = WebhookBook(webhooks_file)
        deliverer = Deliverer(redis, book, sender, log, pauses_s=pauses_s)

        async def work() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(deliverer.keep_delivering)
                await anyio.to_thread.run_sync(wait_until, holds)
                group.cancel_scope.cancel()

        anyio.run(work)

    return run


def is_settled(redis: Redis) -> bool:
    return callbacks.count_due(redis) == 0 and not list(redis.scan_iter("*:callback"))


def read_entries(folder: Path, action: str) -> list[dict[str, object]]:
    lines = b"".join(path.read_bytes() for path in list_files(folder)).splitlines()
    return [entry for entry in map(json.loads, lines) if entry["action"] == action]
