"""ETag and If-None-Match, and what may be kept by whom."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from redis import Redis

from models.imaging import parse_image
from worker.contract.certificate.document import FinishedResult
from worker.store import images
from worker.store.jobs import records, results

Post = Callable[..., Response]
Finish = Callable[..., FinishedResult]


@pytest.fixture
def path(post: Post, redis: Redis, finish: Finish) -> str:
    """A certification that has finished."""
    path: str = post().headers["location"]
    job = records.find_job(redis, path.rpartition("/")[2])
    assert job is not None
    results.put_result(redis, job.id, finish(job), ttl_s=60)
    return path


@pytest.mark.parametrize(
    ("suffix", "cache"),
    [("", "private, no-cache"), ("/input.png", "no-store"), ("/noisy.png?sigma=0.5", "no-store")],
)
def test_what_the_client_has_is_not_sent_again(
    client: TestClient, path: str, suffix: str, cache: str
) -> None:
    first = client.get(path + suffix)
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == cache
    for given in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = client.get(path + suffix, headers={"If-None-Match": given})
        assert (again.status_code, again.content) == (304, b"")
        assert (again.headers["etag"], again.headers["cache-control"]) == (tag, cache)
    for given in ('"other"', tag.strip('"'), ""):
        again = client.get(path + suffix, headers={"If-None-Match": given})
        assert again.status_code == 200
        assert again.content == first.content
    client.delete(path)
    assert client.get(path + suffix, headers={"If-None-Match": tag}).status_code == 404


@pytest.mark.parametrize("path_", ["/models", "/models/bundled-2", "/prompts"])
def test_models_and_prompts_have_tags(client: TestClient, path_: str) -> None:
    tag = client.get(path_).headers["etag"]
    assert client.get(path_, headers={"If-None-Match": tag}).status_code == 304


def test_what_changes_has_no_tag(client: TestClient, post: Post) -> None:
    answer = client.get(post().headers["location"])
    assert "etag" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"


def test_an_illustration_has_the_noise_that_was_asked_for(
    client: TestClient, redis: Redis, path: str
) -> None:
    """Where the range of a picture is far away, the difference has that standard deviation."""
    job = records.find_job(redis, path.rpartition("/")[2])
    assert job is not None
    size = job.request.input.height
    shown = client.get(f"{path}/noisy.png?sigma=0.1")
    assert shown.content == client.get(f"{path}/noisy.png?sigma=0.10").content
    clean = images.get_image(redis, job.request.input.sha256, height=size, width=size)
    noisy = parse_image(shown.content).pixels.transpose(2, 0, 1)
    inside = (clean > 102) & (clean < 153)  # 4 standard deviations from both ends
    difference = noisy[inside].astype(float) - clean[inside]
    assert inside.sum() > 1000
    assert difference.std() == pytest.approx(25.5, rel=0.1)
    assert abs(difference.mean()) < 4


@pytest.mark.parametrize("sigma", ["", "?sigma=0", "?sigma=nan", "?sigma=11", "?sigma=x"])
def test_an_illustration_of_no_noise_level_is_refused(
    client: TestClient, path: str, sigma: str
) -> None:
    answer = client.get(f"{path}/noisy.png{sigma}")
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
