"""The note where samples cannot prove the radius asked for: before any is counted."""

import json
import re
from collections.abc import Callable
from decimal import Decimal

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from redis import Redis

from app.request.reach import find_note
from worker.certification import Certified, certify_staged, plan_looks, rounded_down
from worker.contract import CohenParameters, StagedParameters
from worker.store.jobs import records

Post = Callable[..., Response]
NAMES = ["a hand", "a chest", "a head"]


def alike(classes: int, n_max: int, *, sigma: float, alpha: float) -> Decimal:
    """The radius of a certificate all of whose samples vote alike."""
    looks = [[look.n] + [0] * (classes - 1) for look in plan_looks(alpha, n_max)]
    outcome = certify_staged(looks, sigma=sigma, alpha=alpha, n_max=n_max)
    assert isinstance(outcome, Certified)
    return rounded_down(outcome.radius)


def test_a_radius_out_of_reach_is_said_with_the_largest_that_can_be_proved(post: Post) -> None:
    answer = post(sigma=["0.1", "0.5"], n_max="1000", target_radius="0.25", class_name=NAMES).json()
    largest = alike(3, 1000, sigma=0.1, alpha=0.001)
    assert answer["note"] == (
        f"1,000 samples prove a radius of at most {largest} at sigma 0.1, and the goal is 0.25. "
        "Ask for at least 1,400 samples, or for sigma 0.105 or more."
    )


def test_the_sigma_that_the_note_names_would_do_and_no_smaller_one(
    post: Post, redis: Redis
) -> None:
    said = post(sigma="0.1", n_max="1000", target_radius="0.25", class_name=NAMES).json()
    (least,) = re.findall(r"for sigma (\S+) or more\.$", said["note"])
    below = Decimal(least) - Decimal("0.001")
    asked = {"n_max": "1000", "target_radius": "0.25", "class_name": NAMES}
    assert "note" not in post(sigma=least, **asked).json()
    assert "note" in post(sigma=str(below), **asked).json()


def test_the_samples_that_the_note_names_would_do_and_a_tenth_fewer_would_not(post: Post) -> None:
    asked = {"sigma": ["0.1", "0.2"], "target_radius": "0.28", "class_name": NAMES}
    said = post(n_max="1000", **asked).json()["note"]
    (enough,) = re.findall(r"at least ([\d,]+) samples", said)
    n = int(enough.replace(",", ""))
    assert "note" not in post(n_max=str(n), **asked).json()
    assert "note" in post(n_max=str(n * 9 // 10), **asked).json()


def test_samples_are_not_named_where_no_usual_number_would_do(post: Post) -> None:
    note = post(sigma="0.1", n_max="1000", target_radius="5", class_name=NAMES).json()["note"]
    assert re.search(r"the goal is 5\. Ask for sigma \S+ or more\.$", note)


def test_the_share_of_alpha_and_the_number_of_classes_decide_what_can_be_proved(
    post: Post,
) -> None:
    asked = {"sigma": "0.25", "n_max": "1000", "target_radius": "5"}
    both = {"class_name": NAMES[:2], "joint": "true", "sigma": ["0.25", "0.5"]}
    assert (
        f"{alike(2, 1000, sigma=0.25, alpha=0.0005)} at sigma 0.25"
        in post(**(asked | both)).json()["note"]
    )
    assert (
        f"{alike(3, 1000, sigma=0.25, alpha=0.01)} at sigma 0.25"
        in post(**asked, class_name=NAMES, alpha="0.01").json()["note"]
    )


def test_a_goal_is_said_as_it_was_written(post: Post) -> None:
    for goal in ("0.25", "0.250", "0.25"):
        note = post(sigma="0.1", n_max="1000", target_radius=goal, class_name=NAMES).json()["note"]
        assert f"the goal is {goal}. Ask" in note


def test_a_minimum_radius_out_of_reach_is_said_too(post: Post) -> None:
    note = post(sigma="0.1", n_max="1000", minimum_radius="1").json()["note"]
    assert "the goal is 1." in note


def test_so_few_samples_that_nothing_can_be_proved_are_said(post: Post) -> None:
    note = post(sigma="0.1", n_max="5", target_radius="0.01").json()["note"]
    assert "at most 0.000000 at sigma 0.1, and the goal is 0.01." in note
    (enough,) = re.findall(r"Ask for at least (\d+) samples\.$", note)
    assert "note" not in post(sigma="0.1", n_max=enough, target_radius="0.01").json()


@pytest.mark.parametrize(
    "asked",
    [
        {"target_radius": "0.1"},
        {},
        {"tolerance": "0.01"},
        {"procedure": "cohen", "n": "100"},
    ],
)
def test_there_is_no_note_where_the_question_can_be_answered(post: Post, asked: dict) -> None:
    assert "note" not in post(sigma="0.5", **asked).json()


def test_the_note_stays_with_the_certification_and_each_of_a_batch_has_its_own(
    post: Post, client: TestClient, png: bytes
) -> None:
    asked = {"sigma": "0.1", "n_max": "1000", "target_radius": "0.25"}
    batch = post(png, png, **asked).json()
    notes = {one["note"] for one in batch["certifications"]}
    assert len(notes) == 1
    one = batch["certifications"][0]
    assert client.get(one["links"]["self"]).json()["note"] == one["note"]


def test_a_routed_certificate_proves_no_more_than_its_selector(post: Post, redis: Redis) -> None:
    """Over two prompts and three classes, each of two claims at half of alpha."""
    bank = [{"template": "A {}"}, {"template": "B {}"}]
    targets = json.dumps([{"prompting": "routed", "bank": bank, "class_names": NAMES}])
    note = post(sigma="0.25", n_max="1000", target_radius="5", targets=targets).json()["note"]
    assert f"{alike(3, 1000, sigma=0.25, alpha=0.0005)} at sigma 0.25" in note


@pytest.mark.parametrize(("target", "reached"), [("0.28", True), ("5", False)])
def test_samples_up_to_the_cap_are_advised_before_another_request(
    post: Post, target: str, reached: bool
) -> None:
    """At most 0.25 at 1000 samples, and 0.3 at 16000: another request would be another attempt."""
    asked = {"sigma": "0.1", "n_max": "1000", "n_cap": "16000", "class_name": NAMES}
    note = post(target_radius=target, **asked).json()["note"]
    assert note.startswith("1,000 samples prove a radius of at most")
    if reached:
        assert note.endswith("Up to 16,000 samples can prove it: continue this request.")
        return
    assert "Nor can 16,000, up to which it may go on. Ask for sigma" in note
    (least,) = re.findall(r"for sigma (\S+) or more\.$", note)
    again = {"n_max": "1000", "n_cap": "16000", "class_name": NAMES, "target_radius": target}
    assert "continue this request" in post(sigma=least, **again).json()["note"]


def test_the_part_that_is_asked_for_decides(post: Post, redis: Redis) -> None:
    asked = {"sigma": "0.1", "n_max": "1000", "target_radius": "5"}
    job = records.find_job(redis, post(**asked).json()["id"])
    assert job is not None
    capped = StagedParameters(n_max=1000, n_cap=8000, target_radius=Decimal(5))
    request = job.request.model_copy(update={"procedure": capped})
    following = request.find_continued()
    assert following is not None
    assert (find_note(request) or "").startswith("1,000 samples")
    assert (find_note(following) or "").startswith("2,000 samples")
    assert find_note(request.model_copy(update={"procedure": CohenParameters()})) is None
