"""Models, health, pages, and what is promised about the interface as a whole."""

import hashlib
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from app.main import create_app
from app.server.answers.problems import MEDIA_TYPE, list_codes
from app.server.jobs.lookup import LOST
from app.server.routes.service.pages import WEB
from app.settings import AppSettings
from models.catalogue import load_catalogue
from models.imaging import Decoder
from worker.contract import Identity, ModelRef, WorkerReport
from worker.store import hosts

REPOSITORY = Path(__file__).parents[4]
VENDORED = (
    WEB / "vendor" / "swagger-ui",
    WEB / "vendor" / "redoc",
    WEB.parent / "vendor" / "dejavu-fonts",
    REPOSITORY / "tests" / "browser" / "vendor" / "axe-core",
)


def _report(name: str, *, model_id: str = "bundled-2", ready: bool = True) -> WorkerReport:
    digest = load_catalogue().get("bundled-2").sha256 if model_id == "bundled-2" else "1" * 64
    identity = Identity(
        model=ModelRef(id=model_id, sha256=digest),
        architecture="open_clip",
        precision="fp32",
        device_class="cpu",
        device="test",
        threads=1,
        batch_size=64,
        tau=0.0,
        versions={},
    )
    return WorkerReport(
        name=name,
        started_at=datetime.now(UTC),
        ready=ready,
        key_commitment="0" * 64,
        models=(identity,),
    )


def test_readiness_names_what_is_missing(client: TestClient, redis: Redis) -> None:
    def missing() -> str:
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
        text: str = answer.json()["missing"][0]
        return text

    assert "no worker host has announced itself" in missing()
    hosts.announce(redis, _report("starting", ready=False))
    assert "of the worker hosts, 1 starting" in missing()
    for state in ("draining", "drained", "broken"):
        report = _report("starting", ready=False)
        hosts.announce(redis, report.model_copy(update={"state": state, "detail": "why"}))
        assert f"of the worker hosts, 1 {state}" in missing()
        shown = client.get("/readyz").json()["hosts"]
        assert shown == [{"name": "starting", "state": state, "detail": "why"}]
    hosts.announce(redis, _report("other", model_id="other"))
    assert "the model bundled-2" in missing()
    hosts.announce(redis, _report("good"))
    answer = client.get("/readyz")
    assert answer.status_code == 200
    shown = answer.json()
    assert (shown["status"], shown["default_model"]) == ("ready", "bundled-2")
    assert shown["workers"] == ["good"]
    assert {host["name"]: host["state"] for host in shown["hosts"]} == {
        "good": "ready",
        "other": "ready",
        "starting": "broken",
    }


def test_readiness_names_what_takes_nothing(client: TestClient, redis: Redis) -> None:
    """A service that would refuse every request is not ready, however healthy its hosts are."""
    hosts.announce(redis, _report("good"))
    assert client.get("/readyz").status_code == 200
    redis.config_set("maxmemory", "1")
    try:
        assert client.get("/readyz").json()["missing"] == ["the queue: Redis is full"]
        assert "promptsmooth_redis_writable 0.0" in client.get("/metrics").text
    finally:
        redis.config_set("maxmemory", "0")


def test_readiness_names_an_audit_log_that_cannot_be_written(
    settings: AppSettings, redis: Redis, tmp_path: Path, decoder: Decoder
) -> None:
    hosts.announce(redis, _report("good"))
    place = tmp_path / "no-folder"
    place.touch()
    audited = settings.model_copy(update={"audit_log": place})
    with TestClient(create_app(audited, decoder=decoder)) as client:
        said = client.get("/readyz").json()["missing"]
        assert said == ["the audit log: its folder cannot be written to"]
        place.unlink()
        assert client.get("/readyz").status_code == 200
    going_on = audited.model_copy(update={"audit_log_on_failure": "continue"})
    place.touch()
    with TestClient(create_app(going_on, decoder=decoder)) as client:
        assert client.get("/readyz").status_code == 200


def test_models_show_their_card_and_who_is_ready(client: TestClient, redis: Redis) -> None:
    hosts.announce(redis, _report("a"))
    hosts.announce(redis, _report("b", ready=False))
    shown = {model["id"]: model for model in client.get("/models").json()["models"]}
    card = load_catalogue().get("bundled-2")
    assert list(shown) == ["bundled-2", "linear"]
    assert shown["bundled-2"]["sha256"] == card.sha256
    assert shown["bundled-2"]["class_names"] == list(card.class_names)
    assert shown["bundled-2"]["preprocessing"] == card.preprocessing.model_dump(mode="json")
    assert (shown["bundled-2"]["ready_on"], shown["linear"]["ready_on"]) == (["a"], [])
    assert [model["default"] for model in shown.values()] == [True, False]
    assert client.get("/models/bundled-2").json() == shown["bundled-2"]
    assert client.get("/models/none").json()["code"] == "model_not_found"


def test_version_is_the_distribution(client: TestClient) -> None:
    assert client.get("/version").json()["version"] == version("promptsmooth-service")


@pytest.mark.parametrize("page", ["/", "/docs", "/redoc"])
def test_pages_load_nothing_from_elsewhere_and_hold_no_script(
    client: TestClient, page: str
) -> None:
    html = client.get(page).text
    assert "://" not in html
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bon\w+=|\bstyle=", html)
    for path in re.findall(r'(?:src|href)="([^"]+)"', html):
        if not path.startswith("data:"):
            assert client.get(f"/{path}").status_code in (200, 503)


def test_the_page_allows_nothing_inline_and_no_markup_from_text(client: TestClient) -> None:
    policy = client.get("/").headers["content-security-policy"]
    allowed = dict(part.split(" ", 1) for part in policy.split("; "))
    assert allowed["default-src"] == "'none'"
    assert allowed["script-src"] == allowed["style-src"] == allowed["connect-src"] == "'self'"
    assert allowed["require-trusted-types-for"] == "'script'"
    assert allowed["trusted-types"] == "'none'"
    assert not {"'unsafe-inline'", "'unsafe-eval'", "*", "data:"} & set(policy.split())


def test_files_of_the_page_are_kept_by_browsers_and_asked_for_anew(client: TestClient) -> None:
    first = client.get("/static/page/main.js")
    assert first.headers["cache-control"] == "no-cache"
    again = client.get("/static/page/main.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["cache-control"] == "no-cache"


def test_only_our_own_sources_are_allowed(client: TestClient) -> None:
    for path in ("/", "/docs", "/redoc", "/healthz", "/nowhere", "/static/docs.js"):
        headers = client.get(path).headers
        policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
        assert policy["default-src"] in ("'self'", "'none'")
        assert policy.get("script-src", "'self'") == policy.get("connect-src", "'self'") == "'self'"
        assert "//" not in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("folder", VENDORED, ids=lambda folder: folder.name)
def test_vendored_files_are_the_release_they_are_said_to_be(folder: Path) -> None:
    digests = re.findall(r"`([^`]+)` \| `([0-9a-f]{64})`", (folder / "README.md").read_text())
    assert {name for name, _ in digests} | {"README.md"} == {p.name for p in folder.iterdir()}
    for name, digest in digests:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_every_code_is_in_the_documentation() -> None:
    table = (REPOSITORY / "docs" / "errors.md").read_text()
    documented = set(re.findall(r"^\| `(\w+)` \| (\d+) \|", table, re.MULTILINE))
    assert documented == {(code, str(status)) for code, status in list_codes()}
    assert f"| `{LOST.code}` |" in table


def test_openapi_describes_every_refusal_as_a_problem(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    examples = set()
    for path in document["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    (media_type,) = response["content"]
                    assert media_type == MEDIA_TYPE
                    found = response["content"][media_type]["examples"]
                    examples |= {(code, int(status)) for code in found}
    # answers of no one operation
    anywhere = {"not_found", "method_not_allowed", "http_invalid", "headers_too_slow"}
    anywhere |= {"origin_refused", "sign_on_refused"}  # the latter of an address of the page alone
    assert examples == {(code, status) for code, status in list_codes() if code not in anywhere}


def test_openapi_points_nowhere_outside_itself(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    names = set(document["components"]["schemas"])
    text = client.get("/openapi.json").text
    assert set(re.findall(r'"#/components/schemas/(\w+)"', text)) <= names


def test_interface_page_offers_files_and_exact_decimals(client: TestClient) -> None:
    """Swagger UI shows a file chooser for the format `binary` alone."""
    form = client.get("/openapi.json").json()["components"]["schemas"]["CertifyForm"]["properties"]
    assert form["image"]["items"] == {"type": "string", "format": "binary"}
    assert form["sigma"]["items"]["type"] == form["alpha"]["type"] == "string"
    assert all(field["description"] for field in form.values())


def test_every_setting_is_described() -> None:
    assert all(field.description for field in AppSettings.model_fields.values())


def test_app_never_imports_the_heavy_side() -> None:
    program = (
        "import sys; from app.main import create_app; create_app().openapi(); "
        "print(*{name.split('.')[0] for name in sys.modules}, "
        "*(name for name in sys.modules if name.startswith('worker')))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    heavy = {"torch", "torchvision", "open_clip", "transformers", "numba", "mpmath"}
    assert not heavy & set(run.stdout.split())
    assert not {"worker.engine", "worker.tasks", "worker.sampling"} & set(run.stdout.split())


@pytest.mark.parametrize("behind_proxy", [True, False])
def test_a_request_id_is_taken_from_a_proxy_alone(
    settings: AppSettings, behind_proxy: bool, decoder: Decoder
) -> None:
    own = settings.model_copy(update={"behind_proxy": behind_proxy})
    with TestClient(create_app(own, decoder=decoder)) as client:
        for given, is_one in (("0f" * 16, True), ("0f" * 16 + "\x20x", False), ("name", False)):
            said = client.get("/healthz", headers={"X-Request-ID": given}).headers["x-request-id"]
            assert (said == given) == (behind_proxy and is_one)


@pytest.mark.parametrize("path", ["/certify/", "/models/", "/docs/", "/static"])
def test_no_address_sends_on_to_another(client: TestClient, path: str) -> None:
    """Such an answer would repeat the Host header, and no page of errors knows it."""
    answer = client.get(path, follow_redirects=False)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "location" not in answer.headers
