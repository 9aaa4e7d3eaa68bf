"""A reference of the user's own: kept with the job, found again, and nowhere else."""

from collections.abc import Callable
from pathlib import Path

import pypdfium2
import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from redis import Redis

from app.main import create_app
from app.server.access.api_keys import ApiKey
from app.settings import AppSettings
from models.imaging import Decoder
from worker.contract.certificate.document import FinishedResult
from worker.contract.request import request_sha256
from worker.store.jobs import records, results

Post = Callable[..., Response]
Finish = Callable[..., FinishedResult]
NAME = "Müller, order 4711"


def test_it_is_shown_with_the_job_and_in_the_report(
    client: TestClient, post: Post, redis: Redis, finish: Finish
) -> None:
    job = records.find_job(redis, post(reference=NAME).json()["id"])
    assert job is not None
    results.put_result(redis, job.id, finish(job), ttl_s=100)
    assert client.get(f"/certifications/{job.id}").json()["reference"] == NAME
    (item,) = client.get("/certifications").json()["certifications"]
    assert item["reference"] == NAME
    pdf = pypdfium2.PdfDocument(client.get(f"/certifications/{job.id}/report.pdf").content)
    assert NAME in " ".join(" ".join(p.get_textpage().get_text_range() for p in pdf).split())


def test_it_changes_no_request(post: Post, redis: Redis) -> None:
    """Equal names are equal noise: whoever renames an image gets no other roll."""
    jobs = [
        records.find_job(redis, answer.json()["id"])
        for answer in (post(), post(reference=NAME), post(reference="another"))
    ]
    names = {request_sha256(job.request, "0" * 64) for job in jobs if job is not None}
    assert (len(jobs), len(names)) == (3, 1)


def test_one_is_for_all_images_or_each_has_its_own(post: Post, png: bytes) -> None:
    for given in (["a"], ["a", "b", "c"]):
        batch = post(png, png, png, reference=given).json()
        assert [each["reference"] for each in batch["certifications"]] == (given * 3)[:3]
    refused = post(png, png, png, reference=["a", "b"])
    assert refused.json()["errors"][0]["field"] == "reference"
    assert "reference" not in post().json()


@pytest.mark.parametrize("wrong", ["x" * 101, "a\nb", "\u202eabc", " \u3164 ", ""])
def test_what_cannot_be_read_is_refused_and_not_repeated(post: Post, wrong: str) -> None:
    answer = post(reference=wrong)
    assert answer.status_code == 422
    assert not wrong.strip() or wrong not in answer.text


def test_jobs_are_found_by_it(client: TestClient, post: Post) -> None:
    ids = [post(reference=name).json()["id"] for name in ("a", "b", "a")]
    found = client.get("/certifications", params={"reference": "a"}).json()["certifications"]
    assert [each["id"] for each in found] == [ids[2], ids[0]]
    assert client.get("/certifications", params={"reference": "ab"}).json()["certifications"] == []


def test_it_is_in_no_log(
    settings: AppSettings,
    png: bytes,
    tmp_path: Path,
    keys_file: Path,
    make_key: Callable[..., tuple[ApiKey, dict[str, str]]],
    capfd: pytest.CaptureFixture[str],
    decoder: Decoder,
) -> None:
    """Not in the service's, and not in the audit log, which has every request."""
    _, headers = make_key("submit", "read")
    log = tmp_path / "audit"
    update = {"keys_file": keys_file, "audit_log": log}
    with TestClient(create_app(settings.model_copy(update=update), decoder=decoder)) as client:
        sent = client.post(
            "/certify",
            files=[("image", ("x.png", png, "image/png"))],
            data={"sigma": "0.25", "reference": NAME},
            headers=headers,
        )
        assert sent.json()["reference"] == NAME
        client.get("/certifications", params={"reference": NAME}, headers=headers)
        client.post("/certify", data={"reference": NAME, "sigma": "?"}, headers=headers)
    kept = "".join(path.read_text() for path in log.iterdir())
    written = kept + "".join(capfd.readouterr())
    assert sent.json()["id"] in written
    assert "4711" not in written
