"""Webhooks, priorities and capacity of the running service: command line and client."""

import json
import re
import subprocess
import sys
from pathlib import Path

import httpx2
import numpy as np
import psutil
import pytest
from command import run
from ports import find_free_port
from waiting import HANG_S, running, wait_until

from app.client import Client, ServiceRefused

EXAMPLE = Path(__file__).parents[2] / "examples" / "webhook_receiver.py"


def grey(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 200, (3, 16, 16)).astype(np.uint8)


def count_attempts(stack, outcome: str) -> float:
    text = stack.http.get("/metrics").text
    found = re.search(rf'promptsmooth_webhooks_total\{{outcome="{outcome}"\}} (\S+)', text)
    return float(found[1]) if found else 0.0


@pytest.mark.long
def test_a_webhook_is_delivered_across_a_restart_of_app_and_redis(
    tmp_path, free_port, models_folder, to_png, start, stop
):
    """Everything is killed between the first attempt and the next. The receiver of the guide
    checks the signature with the package `standardwebhooks`, and prints what is genuine."""
    (tmp_path / "data").mkdir()
    own = {"PROMPTSMOOTH_DATA_DIR": str(tmp_path / "data")}
    secret = tmp_path / "ris.secret"
    secret.write_text(run("webhooks", "set", "anonymous", **own).stdout)
    port = find_free_port()
    settings = {
        "webhook_receivers": json.dumps([f"http://127.0.0.1:{port}"]),
        "webhook_networks": json.dumps(["127.0.0.0/8"]),
        "rq_workers": "1",
    }
    first = start(tmp_path, free_port, models=models_folder, **settings)
    url = f"http://127.0.0.1:{port}/hooks"
    fields = {"model": "linear", "sigma": "0.25", "n": "200", "callback_url": url}
    done = first.certify(to_png(grey(1)), **fields).json()
    assert done["status"] == "finished"
    wait_until(lambda: count_attempts(first, "failed") >= 1)
    family = psutil.Process(first.process.pid).children(recursive=True)
    first.http.close()
    first.process.kill()
    first.process.wait()
    psutil.wait_procs(family, timeout=HANG_S)

    command = [sys.executable, EXAMPLE, "--port", str(port), "--secret-file", secret]
    with running(command, stdout=subprocess.PIPE, text=True) as receiver:
        second = start(tmp_path, free_port, models=models_folder, **settings)
        said = receiver.stdout.readline().split(" ", 2)
        wait_until(lambda: count_attempts(second, "delivered") == 1)
        server = str(second.http.base_url)
        tested = run("webhooks", "test", "--server", server, "--callback-url", url)
        also = receiver.stdout.readline().split(" ", 2)
        forged = httpx2.post(url, json={"type": "certification.finished"}, trust_env=False)
        stop(second)
        receiver.terminate()
    assert said[:2] == [f"msg_{done['id']}", "certification.finished"]
    assert json.loads(said[2]) == {"id": done["id"], "status": "finished"}
    assert tested.returncode == 0, tested.stderr
    assert also[1] == "webhook.test"
    assert forged.status_code == 401


def test_the_command_line_names_a_priority_and_says_why_it_may_not_name_an_address(
    stack, tmp_path, to_png
):
    image = tmp_path / "image.png"
    image.write_bytes(to_png(grey(2)))
    asked = ("certify", image, "--sigma", "0.25", "--model", "linear", "--n-max", "200")
    server = ("--server", stack.http.base_url)
    done = run(*asked, *server, "--priority", "urgent")
    assert done.returncode == 0, done.stderr
    for more, words in (
        ((*server, "--callback-url", "https://ris.example/"), "PROMPTSMOOTH_WEBHOOK_RECEIVERS"),
        (("--priority", "urgent"), "belong to --server"),
        ((*server, "--priority", "at once"), "priority: expected"),
    ):
        refused = run(*asked, *more)
        assert refused.returncode == 2
        assert words in refused.stderr
        assert "Traceback" not in refused.stderr
    tested = run("webhooks", "test", *server)
    assert (tested.returncode, tested.stderr.count("\n")) == (2, 1)


def test_the_client_asks_for_capacity_and_for_a_test_delivery(stack):
    with Client(str(stack.http.base_url), timeout_s=HANG_S, patience_s=HANG_S) as client:
        models = {one["model"]: one for one in client.capacity()["models"]}
        assert models["linear"]["hosts"] == 1
        assert models["linear"]["room"][0]["priority"] == "urgent"
        with pytest.raises(ServiceRefused) as refused:
            client.test_webhook(callback_url="https://ris.example/")
        assert refused.value.code == "request_invalid"
