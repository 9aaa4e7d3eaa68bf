"""A lab's own classifier, a SigLIP and a CONCH, certified over HTTP by the whole service."""

import json

import conch_recipe
import numpy as np
import onnx_networks
import published_conch
import published_siglip
import pytest
import torch

from models.installation.add import add_model

CLASSIFIER = {"model": "my-net", "sigma": "0.1", "n_max": "400"}


@pytest.fixture(scope="module")
def lab(start, stop, tmp_path_factory):
    """A service with the three models, and no learning."""
    from ports import find_free_port

    place = tmp_path_factory.mktemp("lab")
    folder = place / "models"
    add_model(onnx_networks.describe(), onnx_networks.write_network(place), folder)
    published_siglip.write_siglip(place / "siglip")
    add_model(published_siglip.describe(), place / "siglip", folder)
    conch = published_conch.write_published(place / "conch")
    add_model(published_conch.describe(), conch, folder)
    stack = start(
        place,
        find_free_port(),
        models=folder,
        serve_models='["my-net"]',
        rq_workers="2",
        learning_workers="0",
    )
    yield stack
    assert stop(stack) == 0


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (3, 16, 16), dtype=np.uint8)


def find_class(image: np.ndarray) -> int:
    """The class that most noisy copies have, by torch."""
    noise = np.random.default_rng(6).normal(0, 0.1 * 255, (400, *image.shape)).round()
    copies = torch.from_numpy((image + noise).astype(np.int16))
    logits = onnx_networks.compute_logits(onnx_networks.create_weights(), copies)
    return int(logits.argmax(dim=1).bincount(minlength=3).argmax())


def test_a_classifier_is_certified_under_its_own_classes(lab, image, to_png):
    answer = lab.certify(to_png(image), **CLASSIFIER)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    (entry,) = found["certificates"]
    assert entry["outcome"] == "certified"
    assert entry["class_index"] == find_class(image)
    assert entry["class_names"] == list(onnx_networks.CLASSES)
    provenance = found["provenance"]
    assert provenance["precision"] == "fp32"
    assert provenance["versions"]["kernels"].startswith("openvino ")
    assert provenance["fingerprint"]
    assert found["model"]["sha256"] == lab.http.get("/models/my-net").json()["sha256"]


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"prompting": "zero-shot"}, "prompting", "image classifier without a text tower"),
        ({"prompting": "few-shot", "prompt": "any"}, "prompting", "no prompt can be learned"),
        ({"prompting": "routed", "prompt": ["a", "b"]}, "prompting", "tuned or chosen for it"),
        ({"template": "An X-ray of {}."}, "template", "reads no text"),
        ({"class_name": ["opacity", "effusion"]}, "class_name", "GET /models/my-net"),
        (
            {"targets": json.dumps([{"prompting": "zero-shot"}])},
            "targets",
            "image classifier without a text tower",
        ),
    ],
)
def test_what_needs_a_text_tower_is_refused_before_it_is_queued(
    lab, image, to_png, fields, field, said
):
    answer = lab.certify(to_png(image), **CLASSIFIER, **fields)
    assert answer.status_code == 422, answer.text
    assert said in answer.text
    assert f'"{field}"' in answer.text


def test_some_of_its_classes_may_be_asked_for(lab, image, to_png):
    names = ["nodule", "no finding"]
    answer = lab.certify(to_png(image), **CLASSIFIER, class_name=names)
    assert answer.status_code == 200, answer.text
    (entry,) = answer.json()["certificates"]
    assert entry["class_names"] == names


def test_no_prompt_is_learned_or_imported_for_it_and_a_witness_says_why_there_is_none(
    lab, image, to_png
):
    files = [("image", (f"{name}/{at}.png", to_png(image))) for name in "ab" for at in range(2)]
    learned = lab.http.post(
        "/prompts/learn", files=files, data={"id": "mine", "model": "my-net", "shots": "2"}
    )
    assert learned.status_code == 422, learned.text
    assert "image classifier without a text tower" in learned.text
    answer = lab.certify(to_png(image), **CLASSIFIER).json()
    place = f"/certifications/{answer['id']}/witness"
    assert lab.http.post(place).status_code == 202
    witness = lab.wait_for(
        place,
        lambda found: found["status"] in ("finished", "failed"),
    )
    (one,) = witness["witnesses"]
    assert one["smoothed"] == {"outcome": "not_asked", "reason": "gives_no_gradient"}
    assert "whose runtime gives no gradient" in one["statement"]


@pytest.mark.parametrize(("model", "size"), [("small-siglip", 28), ("conch", 64)])
def test_a_vlm_with_a_pooled_tower_is_certified_and_tuned(lab, to_png, model, size):
    assert conch_recipe.VISION["image_size"] == 64
    picture = np.random.default_rng(8).integers(0, 256, (3, size, size), dtype=np.uint8)
    answer = lab.certify(
        to_png(picture), model=model, sigma="0.25", n_max="200", prompting=["template", "zero-shot"]
    )
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert [one["prompting"] for one in found["certificates"]] == ["template", "zero-shot"]
    assert found["status"] == "finished"
