"""POST /preview shows what would be certified, and keeps nothing."""

from base64 import b64decode
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from PIL import Image
from redis import Redis

from models.catalogue import load_catalogue
from models.imaging import parse_image, preprocess

Encode = Callable[..., bytes]
Look = Callable[..., Response]


@pytest.fixture
def look(client: TestClient) -> Look:
    def send(image: bytes, **fields: str) -> Response:
        return client.post("/preview", files={"image": ("scan", image)}, data=fields)

    return send


def pixels(png_base64: str) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(b64decode(png_base64))))


def pages(*values: int) -> bytes:
    """A TIFF file with a page of each of these greys."""
    file = BytesIO()
    first, *rest = [Image.new("L", (20, 24), value) for value in values]
    first.save(file, "TIFF", save_all=True, append_images=rest)
    return file.getvalue()


def test_preview_shows_the_picture_and_the_input_that_would_be_certified(
    look: Look, client: TestClient, png: bytes, redis: Redis
) -> None:
    shown = look(png).json()
    decoded = parse_image(png).pixels
    assert (pixels(shown["picture_png"]) == decoded).all()
    expected = preprocess(decoded, load_catalogue().get("bundled-2").preprocessing)
    assert (pixels(shown["input_png"]).transpose(2, 0, 1) == expected).all()
    assert (shown["height"], shown["width"], shown["source"]) == (80, 72, "png")
    assert redis.dbsize() == 0
    sent = client.post("/certify", files={"image": png}, data={"sigma": "0.25"}).json()
    assert client.get(sent["links"]["input_image"]).content == b64decode(shown["input_png"])


def test_preview_takes_window_and_model(look: Look, encode: Encode) -> None:
    values = np.arange(0, 6400, dtype=np.uint16).reshape(80, 80)
    shown = look(encode(values), window="1000.5,1001", model="linear").json()
    assert (shown["window"], shown["window_origin"]) == ([1000.5, 1001.0], "request")
    expected = np.floor(np.clip((values.astype(float) - 500) / 1000, 0, 1) * 255 + 0.5)
    assert (pixels(shown["picture_png"])[:, :, 0] == expected).all()
    size = pixels(shown["input_png"]).shape[0]
    assert size != load_catalogue().get("bundled-2").preprocessing.size
    assert look(encode(values)).json()["window_origin"] == "percentile"


def test_preview_of_several_frames_asks_for_one_and_says_how_many_there_are(look: Look) -> None:
    refused = look(pages(10, 20, 30))
    assert (refused.status_code, refused.json()["code"]) == (422, "frame_required")
    assert refused.json()["frames"] == 3
    shown = look(pages(10, 20, 30), frame="1").json()
    assert (shown["frame"], shown["frames"]) == (1, 3)
    assert (pixels(shown["picture_png"]) == 20).all()


def test_large_picture_is_shown_with_no_side_beyond_512(look: Look, encode: Encode) -> None:
    shown = look(encode(np.full((300, 1200), 77, np.uint8))).json()
    assert (shown["height"], shown["width"]) == (300, 1200)
    assert pixels(shown["picture_png"]).shape == (128, 512, 3)
    assert (pixels(shown["picture_png"]) == 77).all()


def test_preview_refuses_as_certify_does(look: Look, client: TestClient, png: bytes) -> None:
    for send in (
        lambda **fields: look(fields.pop("image", png), **fields),
        lambda **fields: client.post(
            "/certify",
            files={"image": fields.pop("image", png)},
            data={"sigma": "0.25", **fields},
        ),
    ):
        assert send(image=png[:99]).json()["code"] == "image_broken"
        assert send(image=b"<html>").status_code == 415
        assert send(window="40,400").json()["code"] == "window_invalid"
        assert send(window="wide").json()["errors"][0]["field"] == "window"
        assert send(frame="-1").json()["errors"][0]["field"] == "frame"
        assert send(model="none").json()["code"] == "model_unknown"
        assert send(zoom="2").json()["code"] == "field_unknown"
