"""What Prometheus reads, and that the dashboard and the alerts name nothing else."""

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from app.main import create_app
from app.settings import AppSettings
from models.imaging import Decoder
from worker.contract import EngineFigures, WorkerReport
from worker.store import hosts
from worker.store.counters import count_event
from worker.store.jobs import records, results

DOCKER = Path(__file__).parents[4] / "docker"
DASHBOARD = DOCKER / "grafana" / "promptsmooth.json"
ALERTS = DOCKER / "prometheus" / "alerts.yml"


def scrape(client: TestClient) -> dict[tuple[str, ...], float]:
    """Every sample, by its name and the values of its labels in the order of their names."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


@pytest.fixture
def busy(client: TestClient, redis: Redis, post, finish) -> TestClient:
    """Two jobs wait, one has ended, a host works, and something went wrong before."""
    ids = [post().json()["id"] for _ in range(3)]
    job = records.find_job(redis, ids[0])
    assert job is not None
    results.put_result(redis, job.id, finish(job), ttl_s=60)
    count_event(redis, "retried", 2)
    report = WorkerReport(
        name="host-1",
        started_at=datetime.now(UTC),
        ready=True,
        state="ready",
        key_commitment="0" * 64,
        samples_per_s={"bundled-2": 400.0},
        restarts={"engine": 3},
        figures=EngineFigures(
            batches=10, rows=640, samples=480, batch_s=1.5, device_memory_bytes=7 * 10**8
        ),
    )
    hosts.announce(redis, report)
    return client


def test_figures_are_those_of_the_queue_and_the_hosts(busy: TestClient, redis: Redis) -> None:
    found = scrape(busy)
    assert found["promptsmooth_redis_up",] == 1
    assert found["promptsmooth_redis_writable",] == 1
    assert found["promptsmooth_redis_memory_bytes",] > 0
    assert found["promptsmooth_jobs", "certify", "queued"] == 3  # RQ knows nothing of our result
    assert 0 <= found["promptsmooth_oldest_job_age_seconds", "certify"] < 60
    assert found["promptsmooth_jobs_ended_total", "finished"] == 1
    assert found["promptsmooth_certificates_total", "certified"] == 1
    assert found["promptsmooth_job_events_total", "retried"] == 2
    assert found["promptsmooth_job_events_total", "parked"] == 0
    assert found["promptsmooth_worker_hosts", "ready"] == 1
    assert found["promptsmooth_worker_restarts_total", "engine", "host-1"] == 3
    assert found["promptsmooth_worker_model_samples_per_second", "host-1", "bundled-2"] == 400
    assert found["promptsmooth_worker_samples_total", "host-1"] == 480
    assert found["promptsmooth_worker_rows_total", "host-1"] == 640
    assert found["promptsmooth_worker_batch_seconds_total", "host-1"] == 1.5
    assert found["promptsmooth_worker_device_memory_bytes", "host-1"] == 7e8


def test_the_release_and_the_process_are_described(client: TestClient) -> None:
    found = scrape(client)
    (build,) = [key for key in found if key[0] == "promptsmooth_build_info"]
    assert set(build[1:]) == {version("promptsmooth-service"), python_version()}
    assert found["process_resident_memory_bytes",] > 10**6
    assert found["process_open_fds",] > 0
    assert found["process_cpu_seconds_total",] > 0


def test_times_are_by_route_template_and_never_by_address(busy: TestClient) -> None:
    for address in ("a" * 32, "b" * 32):
        busy.get(f"/certifications/{address}")
    busy.get("/nowhere/Doe-Jane")
    text = busy.get("/metrics").text
    assert "Doe" not in text
    assert "aaaa" not in text
    found = scrape(busy)
    count = "promptsmooth_http_request_duration_seconds_count"
    assert found[count, "GET", "/certifications/{certification_id}", "404"] == 2
    assert found[count, "POST", "/certify", "202"] == 3
    assert found[count, "GET", "none", "404"] == 1


def test_without_redis_metrics_say_so_and_answer(free_port: int, decoder: Decoder) -> None:
    away = AppSettings(redis_url=f"redis://127.0.0.1:{free_port}/0")
    with TestClient(create_app(away, decoder=decoder)) as client:
        found = scrape(client)
    assert found["promptsmooth_redis_up",] == 0
    assert not [key for key in found if key[0] == "promptsmooth_jobs"]


@pytest.mark.parametrize("path", [DASHBOARD, ALERTS], ids=lambda path: path.name)
def test_every_metric_that_is_looked_at_exists(busy: TestClient, path: Path) -> None:
    busy.get("/metrics")  # so that the histogram has an entry
    there = {key[0] for key in scrape(busy)}
    named = set(re.findall(r"(?:promptsmooth|process)_[a-z_]+", path.read_text()))
    named -= {"process_"}
    assert named
    assert named <= there


@pytest.mark.parametrize("path", [DASHBOARD, ALERTS], ids=lambda path: path.name)
def test_every_label_that_is_chosen_by_exists_with_that_value(busy: TestClient, path: Path) -> None:
    """A state or an event that was renamed would silence its alert."""
    busy.get("/metrics")
    samples = [
        sample
        for family in text_string_to_metric_families(busy.get("/metrics").text)
        for sample in family.samples
    ]
    chosen = re.findall(r'(promptsmooth_\w+)\{(\w+)(=~?)\\?"([^"\\]+)', path.read_text())
    by_variable = [(name, label) for name, label, _, value in chosen if value == "$host"]
    assert bool(by_variable) == (path == DASHBOARD)
    for name, label in by_variable:
        assert [sample for sample in samples if sample.name == name and label in sample.labels]
    chosen = [one for one in chosen if one[3] != "$host"]
    assert chosen or path == DASHBOARD
    for name, label, how, value in chosen:
        values = {sample.labels[label] for sample in samples if sample.name == name}
        if how == "=":
            assert value in values, (name, label, value)
        else:
            assert any(re.fullmatch(value, one) for one in ("500", "503")), value
    grouped = re.findall(r"(promptsmooth_\w+)[^\n]*? by \(([\w, ]+)\)", path.read_text())
    for name, labels in grouped:
        there = {label for sample in samples if sample.name == name for label in sample.labels}
        assert set(labels.split(", ")) <= there, (name, labels)


def test_every_alert_says_what_to_do() -> None:
    rules = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
    page = (DOCKER.parent / "docs" / "operations.md").read_text()
    for rule in rules:
        assert {"summary", "action"} == set(rule["annotations"]), rule["alert"]
        assert f"`{rule['alert']}`" in page, rule["alert"]


@pytest.fixture
def dashboard() -> dict[str, Any]:
    return json.loads(DASHBOARD.read_text())


def test_dashboard_places_no_panel_over_another(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (place["x"] + right, place["y"] + down)
            for right in range(place["w"])
            for down in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    assert max(x for x, _ in taken) == 23
    assert len(panels) == len({panel["id"] for panel in panels})


def test_dashboard_says_what_each_panel_shows(dashboard: dict[str, Any]) -> None:
    for panel in dashboard["panels"]:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["description"] != panel["title"]


def test_dashboard_begins_with_what_is_up_and_how_long_jobs_wait(
    dashboard: dict[str, Any],
) -> None:
    """In colours: each has thresholds, in order, the first without a value."""
    stats = [panel for panel in dashboard["panels"] if panel["type"] == "stat"]
    assert [panel["title"] for panel in stats][:2] == ["App", "Redis"]
    assert {"Jobs that wait", "Oldest job"} <= {panel["title"] for panel in stats}
    assert {panel["gridPos"]["y"] for panel in stats} == {0}
    for panel in stats:
        first, *rest = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert first["value"] is None
        assert [step["value"] for step in rest] == sorted(step["value"] for step in rest)
        assert rest


def test_figures_of_hosts_are_chosen_by_host(dashboard: dict[str, Any]) -> None:
    names = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert names == {"datasource", "host"}
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            of_hosts = "promptsmooth_worker_" in target["expr"].replace("worker_hosts", "")
            assert of_hosts == ("$host" in target["expr"]), panel["title"]


def test_an_alert_fires_when_there_are_no_figures_at_all() -> None:
    """All others are about figures of the app, and say nothing when it is gone."""
    job = re.search(r"job_name: (\w+)", (ALERTS.parent / "prometheus.yml").read_text())
    assert job is not None
    assert f'up{{job="{job[1]}"}} == 0' in ALERTS.read_text()


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool on the PATH (apt-get install prometheus)"
)
def test_promtool_takes_the_alerts_and_the_configuration() -> None:
    for command in (
        ["check", "rules", ALERTS],
        # the syntax: the file with the key is made by whoever runs it
        ["check", "config", "--syntax-only", ALERTS.parent / "prometheus.yml"],
    ):
        done = subprocess.run(["promtool", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
