"""Class names and templates as they are asked for: cleaned, visible, told apart, not too long."""

import json
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from redis import Redis

from app.main import create_app
from app.settings import AppSettings
from worker.store.jobs import records

Post = Callable[..., Response]


def test_names_and_templates_are_composed_and_trimmed(post: Post, redis: Redis) -> None:
    """As the same words from another keyboard or system; folders of a Mac are decomposed."""
    answer = post(class_name=[" cafe\u0301", "tea "], template=" Of cafe\u0301: {} ")
    job = records.find_job(redis, answer.json()["id"])
    (target,) = job.request.targets
    assert target.class_names == ("caf\u00e9", "tea")
    assert target.template == "Of caf\u00e9: {}"


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("class_name", {"class_name": ["normal", "n\u043ermal"]}),
        ("class_name", {"class_name": ["grade 1", "grade l"]}),
        ("class_name", {"class_name": ["a", "b\u202e"]}),
        ("class_name", {"class_name": ["a", "b" * 201]}),
        ("template", {"template": "An image\u200b of {}"}),
        ("template", {"template": "An image\nof {}"}),
        ("targets", {"targets": json.dumps([{"class_names": ["a", "\u0430"]}])}),
        ("targets", {"targets": json.dumps([{"class_names": ["a", "b" * 201]}])}),
        (
            "targets",
            {"targets": json.dumps([{"template": "Ill: {}"}, {"template": "lll: {}"}])},
        ),
    ],
)
def test_names_that_people_cannot_tell_apart_are_refused(
    post: Post, redis: Redis, field: str, fields: dict[str, object]
) -> None:
    answer = post(**fields)
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert [each["field"] for each in answer.json()["errors"]] == [field]
    assert redis.dbsize() == 0


def test_the_operator_bounds_the_length_of_a_name(
    settings: AppSettings, redis: Redis, png: bytes
) -> None:
    tight = settings.model_copy(update={"max_class_name_chars": 8})
    with TestClient(create_app(tight)) as client:
        for name, status in (("b" * 8, 202), ("b" * 9, 422)):
            answer = client.post(
                "/certify", files={"image": png}, data={"sigma": "0.25", "class_name": ["a", name]}
            )
            assert answer.status_code == status, answer.text
    assert "at most 8 characters" in answer.json()["detail"]
