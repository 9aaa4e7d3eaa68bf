"""A witness over the whole service: the truth lies between what is proved and what was changed."""

import json
from io import BytesIO

import numpy as np
import pytest
from boundary_images import create_boundary_image
from command import run
from PIL import Image
from same_noise import with_secret
from waiting import HANG_S

from app.client import Client, ServiceRefused

ASKED = {"model": "linear", "sigma": ["0.25"], "n_max": "2000"}


@pytest.fixture
def client(stack):
    with Client(str(stack.http.base_url), timeout_s=HANG_S, patience_s=HANG_S) as client:
        yield client


@pytest.fixture
def image(linear) -> np.ndarray:
    """An image about 0.12 from the plane of the linear model."""
    return create_boundary_image(linear, distance=0.12)


def test_the_truth_lies_between_the_radius_and_the_change(client, linear, image, to_png):
    """From the image over HTTP, RQ and the engine to the pixels of the change, against geometry."""
    truth = linear.distance(image)
    job = client.certify(to_png(image), **ASKED, witness="true")
    found = client.witness(job.id)
    assert (found["status"], found["certification_id"]) == ("finished", job.id)
    (one,) = found["witnesses"]
    assert not one["alarm"]
    assert one["radius"] == float(job.certificates[0].radius)
    assert one["radius"] <= truth <= one["undefended"]["distance"]
    assert one["smoothed"]["outcome"] == "changed"
    assert truth <= one["smoothed"]["distance"]
    assert client.witness(job.id) == found
    assert json.loads(client.get(job.id).content) == json.loads(job.content)
    png = client.witness_image(job.id, certificate=0, which="undefended")
    with Image.open(BytesIO(png)) as picture:
        changed = np.asarray(picture).transpose(2, 0, 1)
    assert linear.class_index(changed) != linear.class_index(image)
    length = np.linalg.norm(changed.astype(float) - image.astype(float)) / 255
    assert one["undefended"]["distance"] == pytest.approx(length, abs=2e-6)


def test_the_command_line_says_it_and_keeps_the_pictures(stack, client, image, to_png, tmp_path):
    job = client.certify(to_png(image), **ASKED)
    with pytest.raises(ServiceRefused, match="There is no such witness"):
        client.witness_image(job.id, certificate=0, which="smoothed")
    done = run("witness", job.id, "--server", stack.http.base_url, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "witness, sigma 0.25: Proved:" in done.stdout
    assert "The truth lies between." in done.stdout
    kept = json.loads((tmp_path / "witness.json").read_text())
    assert kept["witnesses"][0]["undefended"]["outcome"] == "changed"
    assert (tmp_path / "0-undefended.png").read_bytes().startswith(b"\x89PNG")


def test_without_a_server_the_same_is_said(image, to_png, tmp_path, models_folder, monkeypatch):
    monkeypatch.delenv("PROMPTSMOOTH_SERVER", raising=False)
    file, certificate = tmp_path / "image.png", tmp_path / "certificate.json"
    file.write_bytes(to_png(image))
    asked = ["--model", "linear", "--n-max", "2000", "--witness", "--json"]
    folders = {"PROMPTSMOOTH_MODELS": str(models_folder)}
    done = run("certify", file, *asked, "--data-dir", with_secret(tmp_path / "data"), **folders)
    document = json.loads(done.stdout)
    assert document["witness"]["witnesses"][0]["undefended"]["outcome"] == "changed"
    certificate.write_text(done.stdout)
    assert "HOLDS" in run("audit", certificate).stdout  # the witness lies beside what is signed
