"""POST /reach: what a request could prove, said before there is an image."""

from collections.abc import Callable

from fastapi.testclient import TestClient
from httpx2 import Response

Post = Callable[..., Response]
ASKED = {"sigma": ["0.1", "0.5"], "n_max": "1000", "target_radius": "0.25"}


def ask(client: TestClient, **fields: object) -> Response:
    """A form without files, as multipart."""
    pairs = [(n, v) for n, vs in fields.items() for v in (vs if isinstance(vs, list) else [vs])]
    return client.post("/reach", files=[(name, (None, str(value))) for name, value in pairs])


def test_the_note_before_sending_is_that_of_the_certification(
    client: TestClient, post: Post
) -> None:
    found = ask(client, **ASKED).json()
    assert found["note"] == post(**ASKED).json()["note"]
    first, second = found["levels"]
    assert (first["sigma"], second["sigma"]) == (0.1, 0.5)
    assert f"at most {first['largest_radius']} at sigma 0.1" in found["note"]
    assert second["largest_radius"] > 0.25


def test_nothing_is_queued(client: TestClient, queued_ids: Callable[[], list[str]]) -> None:
    assert ask(client, **ASKED).status_code == 200
    assert queued_ids() == []
    assert client.get("/certifications").json()["certifications"] == []


def test_images_sent_together_share_alpha_where_all_are_to_hold(
    client: TestClient, png: bytes, post: Post
) -> None:
    asked = {**ASKED, "joint": "true"}
    three = ask(client, **asked, images=3).json()
    assert three["levels"] != ask(client, **asked).json()["levels"]
    assert three["note"] == post(png, png, png, **asked).json()["certifications"][0]["note"]
    assert ask(client, **ASKED, images=3).json() == ask(client, **ASKED).json()


def test_a_question_that_can_be_answered_has_no_note(client: TestClient) -> None:
    assert ask(client, sigma="0.5", target_radius="0.25").json()["note"] is None
    assert ask(client, sigma="0.5").json()["note"] is None
    cohen = ask(client, sigma="0.5", procedure="cohen").json()
    assert cohen == {"levels": [], "note": None}


def test_what_certify_refuses_is_refused_here_too(client: TestClient) -> None:
    for wrong in ({"sigma": "-1"}, {"sigma": "0.5", "n_max": "999999999"}, {"sgima": "0.5"}):
        answer = ask(client, **wrong)
        assert answer.status_code == 422, answer.text
    assert ask(client, sigma="0.5", model="nobodys").json()["code"] == "model_unknown"
    assert ask(client, sigma="0.5", images="none").json()["errors"][0]["field"] == "images"
