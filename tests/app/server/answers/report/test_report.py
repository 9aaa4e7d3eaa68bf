"""GET /certifications/{id}/report.pdf, read back as a reader of PDF reads it."""

from collections.abc import Callable

import pypdfium2
import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from pypdfium2.raw import FPDF_PAGEOBJ_IMAGE
from redis import Redis

from worker.contract import CertificationJob
from worker.contract.certificate.document import FinishedResult
from worker.store import keyspace
from worker.store.jobs import records, results

Post = Callable[..., Response]
Finish = Callable[..., FinishedResult]


def _store(redis: Redis, posted: Response, finish: Finish, *, certain: bool) -> CertificationJob:
    job = records.find_job(redis, posted.json()["id"])
    assert job is not None
    results.put_result(redis, job.id, finish(job, certain=certain), ttl_s=100)
    return job


def _read(client: TestClient, job: CertificationJob) -> tuple[int, str, bytes]:
    """How many pages, their text on one line, and the bytes."""
    answer = client.get(f"/certifications/{job.id}/report.pdf")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/pdf"
    document = pypdfium2.PdfDocument(answer.content)
    text = " ".join(page.get_textpage().get_text_range() for page in document)
    return len(document), " ".join(text.split()), answer.content


def _bottom(client: TestClient, job: CertificationJob, words: str) -> float:
    """How high above the last page's edge some words stand, in points."""
    content = client.get(f"/certifications/{job.id}/report.pdf").content
    *_, last = pypdfium2.PdfDocument(content)
    page = last.get_textpage()
    place, _ = page.search(words).get_next()
    return page.get_charbox(place)[1]


@pytest.mark.parametrize("procedure", [{"n_max": "1000"}, {"procedure": "cohen", "n": "1000"}])
def test_report_says_class_radius_limits_and_digests_on_one_page(
    client: TestClient, redis: Redis, post: Post, finish: Finish, procedure: dict[str, str]
) -> None:
    job = _store(redis, post(sigma=["0.25", "0.5"], **procedure), finish, certain=True)
    pages, text, _ = _read(client, job)
    shown = client.get(f"/certifications/{job.id}").json()
    largest = max(shown["certificates"], key=lambda c: c["radius"])
    assert pages == 1
    assert largest["prediction"] in text
    assert f"{largest['radius']:.6f}" in text
    assert largest["statement"] in text
    assert "RESEARCH USE ONLY" in text
    assert "It does not say that the class is the right diagnosis" in text
    assert job.request.input.sha256 in text
    assert job.request.model.sha256 in text
    assert shown["provenance"]["key_commitment"] in text


def test_report_of_abstentions_names_no_class_as_the_answer(
    client: TestClient, redis: Redis, post: Post, finish: Finish
) -> None:
    job = _store(redis, post(sigma=["0.25", "0.5"]), finish, certain=False)
    pages, text, _ = _read(client, job)
    assert pages == 1
    assert "Abstained At no noise level was the answer constant enough" in text
    assert "0.25 template abstained – –" in text
    assert "The smoothed answer is the same" not in text
    assert "largest radius" not in text


def test_report_is_the_same_bytes_every_time(
    client: TestClient, redis: Redis, post: Post, finish: Finish
) -> None:
    job = _store(redis, post(), finish, certain=True)
    assert _read(client, job)[2] == _read(client, job)[2]


def test_report_is_plain_text_on_as_many_pages_as_it_takes(
    client: TestClient, redis: Redis, post: Post, finish: Finish
) -> None:
    names = ["<b>Größe</b> & <img src='x'/>", "肺炎", *(f"{i} {'long ' * 38}" for i in range(45))]
    sigmas = [f"0.{i}" for i in range(11, 28) if i % 10]
    job = _store(redis, post(sigma=sigmas, class_name=names), finish, certain=True)
    pages, text, _ = _read(client, job)
    assert pages == 2
    assert text.count("RESEARCH USE ONLY") == pages
    assert text.count("This page proves nothing by itself") == pages
    assert "<b>Größe</b> & <img src='x'/>" in text  # what reads like markup is text
    assert "[U+80BA][U+708E]" in text  # what the font lacks is spelled, not left out
    assert [sigma for sigma in sigmas if f"{sigma} template certified <b>" not in text] == []
    assert (
        _bottom(client, job, "signature (Ed25519)") > _bottom(client, job, "This page proves") + 10
    )


@pytest.mark.parametrize("character", ["W", "肺"])
def test_report_of_names_that_fill_a_page_is_made(
    client: TestClient, redis: Redis, post: Post, finish: Finish, character: str
) -> None:
    names = [character * 200, *(f"{i}{character * 199}" for i in range(6))]
    job = _store(redis, post(sigma=["0.25", "0.5"], class_name=names), finish, certain=True)
    pages, text, _ = _read(client, job)
    assert pages > 1
    assert "Research use only." in text


def test_report_outlives_the_image_and_says_so(
    client: TestClient, redis: Redis, post: Post, finish: Finish
) -> None:
    job = _store(redis, post(), finish, certain=True)
    redis.delete(keyspace.image(job.request.input.sha256))
    assert "The certified image is no longer stored" in _read(client, job)[1]


def test_report_shows_no_image_where_none_is_wanted(
    client: TestClient, redis: Redis, post: Post, finish: Finish
) -> None:
    job = _store(redis, post(), finish, certain=True)
    path = f"/certifications/{job.id}/report.pdf"
    full, wanted, without = (
        client.get(path + query).content for query in ("", "?picture=true", "?picture=false")
    )
    assert full == wanted
    assert (_count_pictures(full), _count_pictures(without)) == (1, 0)
    text = pypdfium2.PdfDocument(without)[0].get_textpage().get_text_range()
    assert "The certified image is not shown" in " ".join(text.split())
    assert job.request.input.sha256 in text
    assert client.get(path + "?picture=perhaps").status_code == 422


def _count_pictures(content: bytes) -> int:
    document = pypdfium2.PdfDocument(content)
    image = FPDF_PAGEOBJ_IMAGE
    return sum(len(list(page.get_objects(filter=[image]))) for page in document)


def test_report_of_an_unfinished_certification_is_refused(client: TestClient, post: Post) -> None:
    answer = client.get(f"/certifications/{post().json()['id']}/report.pdf")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_finished")
