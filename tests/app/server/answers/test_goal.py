"""Yes or no: what a finished certification answers to a question with a goal."""

from collections.abc import Callable
from decimal import Decimal

import pypdfium2
import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from redis import Redis
from rich.console import Console

from app.cli.certificate_table import print_certificates
from app.request.goal import Goal, find_goal
from worker.contract import CertificationJob
from worker.contract.certificate.document import CertificateDocument, FinishedResult
from worker.store.jobs import records, results

Post = Callable[..., Response]
Finish = Callable[..., FinishedResult]
Certify = Callable[..., FinishedResult]


@pytest.fixture
def certified(redis: Redis, post: Post, finish: Finish) -> Certify:
    """The stored result of a request, all of whose votes are alike or divided."""

    def store(*, certain: bool = True, **asked: object) -> FinishedResult:
        job = records.find_job(redis, post(**asked).json()["id"])
        assert isinstance(job, CertificationJob)
        result = finish(job, certain=certain)
        results.put_result(redis, job.id, result, ttl_s=100)
        return result

    return store


def answer(*certificates: CertificateDocument) -> Goal:
    goal = find_goal(certificates)
    assert goal is not None
    return goal


def test_yes_where_a_radius_is_at_least_the_goal(certified: Certify, client: TestClient) -> None:
    certified(sigma=["0.1", "0.25"], n_max="1000", target_radius="0.25")
    (item,) = client.get("/certifications").json()["certifications"]
    goal = client.get(item["links"]["self"]).json()["goal"]
    assert item["goal"] == {"radius": 0.25, "shown": True}
    assert (goal["headline"], goal["reached"]) == ("Yes, holds up to 0.25", [False, True])
    assert goal["wordings"][0]["reason"].endswith("at sigma 0.25.")


def test_the_radius_decides_to_its_last_digit(certified: Certify) -> None:
    (one,) = certified(sigma="0.25", n_max="1000", target_radius="0.25").certificates
    radius, step = one.radius, Decimal("0.000001")
    for goal, shown in ((radius, True), (radius + step, False), (radius - step, True)):
        found = answer(one.model_copy(update={"target_radius": goal}))
        assert (found.shown, found.reached) == (shown, (shown,))


def test_not_shown_says_what_to_ask_for_instead(certified: Certify) -> None:
    result = certified(sigma="0.1", n_max="1000", target_radius="0.25")
    goal = answer(*result.certificates)
    assert (goal.shown, goal.headline) == (False, "Not shown up to 0.25")
    assert goal.wordings[0].reason.startswith("1,000 samples prove a radius of at most 0.2")
    assert goal.wordings[0].reason.endswith("or for sigma 0.105 or more.")


def test_of_a_joint_request_the_reason_says_what_its_note_said(
    certified: Certify, client: TestClient
) -> None:
    """Each of two noise levels has half of alpha, so it proves less than one alone."""
    asked = {"sigma": ["0.1", "0.12"], "n_max": "1000", "target_radius": "5"}
    notes = []
    for joint in ("true", "false"):
        result = certified(joint=joint, **asked)
        (item, *_) = client.get("/certifications").json()["certifications"]
        notes.append(client.get(item["links"]["self"]).json()["note"])
        assert answer(*result.certificates).wordings[0].reason == notes[-1]
    assert notes[0] != notes[1]


def test_divided_votes_are_named_where_samples_would_have_sufficed(certified: Certify) -> None:
    asked = {"sigma": ["0.1", "0.5"], "n_max": "1000", "target_radius": "0.25"}
    goal = answer(*certified(certain=False, **asked).certificates)
    assert not goal.shown
    assert goal.wordings[0].reason.startswith("At sigma 0.5 the votes were too divided. 1,000 ")
    assert "at sigma 0.1, and" in goal.wordings[0].reason


def test_no_class_is_the_answer_where_certificates_contradict_one_another(
    certified: Certify,
) -> None:
    """Within a wording as between two, however large the radii are."""
    asked = {"sigma": ["0.25", "0.5"], "n_max": "1000", "target_radius": "0.1"}
    first, second = certified(**asked).certificates
    other = second.model_copy(update={"prediction": second.class_names[1], "class_index": 1})
    assert answer(first, second).shown
    assert not answer(first, other).shown
    elsewhere = other.model_copy(update={"template": "Another {}."})
    goal = answer(first, elsewhere)
    assert "contradict" in goal.headline
    assert (goal.shown, [each.shown for each in goal.wordings]) == (False, [True, True])


def test_classes_of_different_label_sets_do_not_contradict_one_another(certified: Certify) -> None:
    (one,) = certified(sigma="0.25", n_max="1000", target_radius="0.1").certificates
    names = ("a cat", "a dog")
    other = one.model_copy(update={"class_names": names, "prediction": names[0], "class_index": 0})
    goal = answer(one, other)
    assert (goal.shown, goal.headline) == (True, "Yes, holds up to 0.1")
    turned = tuple(reversed(one.class_names))
    same_set = one.model_copy(update={"class_names": turned, "prediction": turned[0]})
    assert one.prediction != turned[0]
    assert "contradict" in answer(one, same_set, other).headline


def test_of_several_wordings_the_headline_says_how_many(certified: Certify) -> None:
    (one,) = certified(sigma="0.25", n_max="1000", target_radius="0.25").certificates
    less = one.model_copy(update={"template": "Another {}.", "radius": Decimal("0.2")})
    assert answer(one, less).headline == "Yes with 1 of 2 wordings, holds up to 0.25"


def test_whoever_asks_how_far_gets_no_yes_or_no(certified: Certify, client: TestClient) -> None:
    certified(sigma="0.25", n_max="1000", minimum_radius="0.1")
    (item,) = client.get("/certifications").json()["certifications"]
    assert "goal" not in item
    assert "goal" not in client.get(item["links"]["self"]).json()
    cohen = certified(sigma="0.25", procedure="cohen", n="100")
    assert find_goal(cohen.certificates) is None


@pytest.mark.parametrize("sigma", ["0.1", "0.5"])
def test_report_and_command_line_say_the_same_words(
    certified: Certify, client: TestClient, sigma: str
) -> None:
    result = certified(sigma=sigma, n_max="1000", target_radius="0.25")
    (item,) = client.get("/certifications").json()["certifications"]
    goal = client.get(item["links"]["self"]).json()["goal"]
    pdf = pypdfium2.PdfDocument(client.get(f"{item['links']['self']}/report.pdf").content)
    text = " ".join(" ".join(page.get_textpage().get_text_range() for page in pdf).split())
    console = Console(record=True, width=200)
    print_certificates(result, console)
    printed = " ".join(console.export_text().split())
    for words in (goal["headline"], goal["wordings"][0]["reason"]):
        assert words in text
        assert words in printed
    assert "goal 0.25" in text
