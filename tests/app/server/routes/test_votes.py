"""GET /certifications/{id}/votes: single votes with their proofs, and nothing that has none."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from redis import Redis

from worker.certification.merkle import NO_VOTE, VoteTree, path_leads_to
from worker.contract import CertificationJob
from worker.contract.certificate.document import FinishedResult
from worker.contract.request import request_sha256
from worker.contract.votes import Votes, votes_stream
from worker.store import keyspace
from worker.store.jobs import records, results
from worker.store.votes import VotesOf, put_votes

Post = Callable[..., Response]
Finish = Callable[..., FinishedResult]
VOTES = [0, 1, NO_VOTE, 0, 3]


@pytest.fixture
def voted(post: Post, redis: Redis, finish: Finish) -> CertificationJob:
    """A finished job at two noise levels, of which the second one's votes are stored."""
    shown = post(sigma=["0.25", "0.5"], procedure="cohen", n0="20", n="200").json()
    job = records.find_job(redis, shown["id"])
    assert job is not None
    made = finish(job)
    votes = [VOTES[i % len(VOTES)] for i in range(200)]
    first, second = made.certificates
    roots = second.votes_root | {"estimation": VoteTree().appended(votes).root}
    made = made.model_copy(
        update={"certificates": (first, second.model_copy(update={"votes_root": roots}))}
    )
    results.put_result(redis, job.id, made, ttl_s=60)
    sha256 = request_sha256(job.request, made.provenance.key_commitment)
    stream = votes_stream(second.sigma, "estimation", 0)
    stored = Votes(stream=stream, start=0, votes=tuple(votes))
    put_votes(redis, VotesOf(sha256, made.provenance), stored, ttl_s=60)
    return job


def ask(client: TestClient, job: CertificationJob, **query: object) -> Response:
    asked = {"certificate": 1, "sample": [0, 2, 199], **query}
    return client.get(f"/certifications/{job.id}/votes", params=asked)


def test_each_vote_comes_with_a_path_that_leads_to_the_certificate_s_root(
    client: TestClient, voted: CertificationJob
) -> None:
    answer = ask(client, voted).json()
    (_, entry) = client.get(f"/certifications/{voted.id}").json()["certificates"]
    assert answer["root"] == entry["votes_root"]["estimation"]
    assert [(one["sample"], one["vote"]) for one in answer["votes"]] == [(0, 0), (2, -1), (199, 3)]
    for one in answer["votes"]:
        path = tuple(map(bytes.fromhex, one["path"]))
        index, n = one["sample"], answer["n"]
        assert path_leads_to(answer["root"], n=n, index=index, vote=one["vote"], path=path)
        other = one["vote"] + 1
        assert not path_leads_to(answer["root"], n=n, index=index, vote=other, path=path)


@pytest.mark.parametrize(
    "query",
    [
        {"certificate": 0},  # whose votes are not stored
        {"certificate": 2},
        {"sample": [200]},
        {"phase": "selection"},
        {"ballot": "selector"},
    ],
    ids=str,
)
def test_votes_that_are_not_there_are_a_problem(
    client: TestClient, voted: CertificationJob, query: dict[str, object]
) -> None:
    answer = ask(client, voted, **query)
    assert (answer.status_code, answer.json()["code"]) == (404, "votes_unknown")


def test_votes_of_another_count_are_not_shown(
    client: TestClient, redis: Redis, voted: CertificationJob
) -> None:
    """They would not lead to the root."""
    (key,) = redis.scan_iter(keyspace.votes("*", "*"))
    redis.setrange(key, 0, b"\x00\x07")
    assert ask(client, voted, sample=[0]).json()["code"] == "votes_unknown"
    redis.setrange(key, 0, b"\x00\x00")
    assert ask(client, voted, sample=[0]).status_code == 200
    redis.delete(key)
    assert ask(client, voted, sample=[0]).json()["code"] == "votes_unknown"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"sample": []}, "sample"),
        ({"sample": ["-1"]}, "sample"),
        ({"sample": ["1_0"]}, "sample"),
        ({"sample": list(range(65))}, "sample"),
        ({"certificate": "x"}, "certificate"),
        ({"phase": "both"}, "phase"),
    ],
)
def test_a_query_that_makes_no_sense_names_its_field(
    client: TestClient, voted: CertificationJob, query: dict[str, object], field: str
) -> None:
    answer = ask(client, voted, **query)
    assert answer.status_code == 422
    assert field in {error["field"] for error in answer.json()["errors"]}


def test_what_has_not_finished_has_no_votes_to_show(client: TestClient, post: Post) -> None:
    running = post().json()["id"]
    for certification_id, code in ((running, "votes_unknown"), ("0" * 32, "certification_unknown")):
        answer = client.get(f"/certifications/{certification_id}/votes", params={"sample": 0})
        assert (answer.status_code, answer.json()["code"]) == (404, code)
