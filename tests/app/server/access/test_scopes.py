"""What a scope says is what it allows, and strangers learn no names."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from fastapi.testclient import TestClient
from redis import Redis
from typer.testing import CliRunner

from app.cli.__main__ import cli
from app.cli.operator import keys as keys_command
from app.server.access.api_keys import ApiKey
from models.catalogue import load_catalogue
from worker.contract import ModelState, WorkerReport
from worker.contract.request import ModelRef
from worker.store import hosts

MakeKey = Callable[..., tuple[ApiKey, dict[str, str]]]


def test_the_operator_s_key_of_the_command_s_own_example_sees_and_ends_everyone_s(
    guarded: TestClient, make_key: MakeKey, keys_file: Path, png: bytes
) -> None:
    (example,) = re.findall(r"keys (add .*--scope admin.*)", keys_command.add.__doc__ or "")
    arguments = [word.strip('"') for word in example.split()]
    made = CliRunner().invoke(cli, ["keys", *arguments, "--file", str(keys_file)])
    operator = {"Authorization": f"Bearer {made.stdout.strip()}"}
    _, lab = make_key("submit", "read")
    sent = guarded.post(
        "/certify", files={"image": png}, data={"sigma": "0.25"}, headers=lab
    ).json()
    path = sent["links"]["self"]

    listed = guarded.get("/certifications", headers=operator).json()["certifications"]
    assert [one["id"] for one in listed] == [sent["id"]]
    assert guarded.get(path, headers=operator).status_code == 200
    assert guarded.delete(path, headers=operator).json()["status"] == "cancelled"
    assert guarded.delete(path, headers=operator).status_code == 204
    assert guarded.get(path, headers=lab).status_code == 404


def test_strangers_learn_no_host_names(
    guarded: TestClient, make_key: MakeKey, redis: Redis
) -> None:
    card = load_catalogue().get("bundled-2")
    state = ModelState(model=ModelRef(id=card.id, sha256=card.sha256), state="ready")
    report = WorkerReport(
        name="ward-7-server",
        started_at=datetime.now(UTC),
        ready=True,
        key_commitment="0" * 64,
        states=(state,),
    )
    _, reader = make_key("read")
    for ready, status in ((True, 200), (False, 503)):
        hosts.announce(redis, report.model_copy(update={"ready": ready}))
        for headers in ({}, {"X-API-Key": "psk_wrong"}):
            answer = guarded.get("/readyz", headers=headers)
            assert answer.status_code == status
            assert "ward-7-server" not in answer.text
        shown = guarded.get("/readyz", headers=reader).json()["hosts"]
        assert [host["name"] for host in shown] == ["ward-7-server"]
