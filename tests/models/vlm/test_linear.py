import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.catalogue import load_catalogue
from models.loading.loading import load_vlm
from models.testing import LinearModel, create_linear_model, write_linear_model
from models.vlm.base_classifier import create_base_classifier

CPU = torch.device("cpu")


def load(folder, model):
    write_linear_model(folder, model)
    catalogue = load_catalogue(folder)
    card = catalogue.get("linear")
    vlm = load_vlm(card, catalogue.folder("linear"), CPU)
    return create_base_classifier(vlm, card.template, card.class_names)


def test_distance_is_that_of_a_plane_worked_out_by_hand():
    weight = np.zeros((3, 2, 2), dtype=np.int64)
    weight[0, 0, 0], weight[2, 1, 1] = 3, -4  # length 5
    model = LinearModel(weight=weight, threshold=10.5)
    pixels = np.zeros((3, 2, 2), dtype=np.int16)
    pixels[0, 0, 0], pixels[2, 1, 1] = 100, 20
    assert model.margin(pixels) == 3 * 100 - 4 * 20 - 10.5
    assert model.class_index(pixels) == 1
    assert model.distance(pixels) == pytest.approx(209.5 / (5 * 255), rel=1e-15)


def test_no_image_of_the_other_class_is_nearer_than_the_distance():
    model = create_linear_model(size=4)
    pixels = np.random.default_rng(1).integers(0, 256, (3, 4, 4))
    unit = model.weight / np.linalg.norm(model.weight)
    toward = -math.copysign(1, model.margin(pixels)) * unit
    for factor, crosses in ((0.999999, False), (1.000001, True)):
        moved = pixels / 255 + factor * model.distance(pixels) * toward
        above = (model.weight * moved).sum() * 255 > model.threshold
        assert (above != (model.class_index(pixels) == 1)) == crosses


def test_class_is_exact_one_grey_level_from_the_plane(tmp_path):
    """A float32 sum of these terms would be wrong by far more than the 0.5 that decides."""
    generator = np.random.default_rng(2)
    weight = generator.integers(-(2**20), 2**20, (3, 16, 16))
    pixels = generator.integers(-400, 700, (64, 3, 16, 16)).astype(np.int16)
    pixels[1] = pixels[0]
    weight[0, 0, 0], pixels[1, 0, 0, 0] = 1, pixels[0, 0, 0, 0] + 1
    threshold = float((weight * pixels[0].astype(np.int64)).sum()) + 0.5
    model = LinearModel(weight=weight, threshold=threshold)
    logits = load(tmp_path, model)(torch.from_numpy(pixels))
    assert model.margin(pixels[0]) == -0.5
    assert logits.argmax(dim=1)[:2].tolist() == [0, 1]
    assert logits.argmax(dim=1).tolist() == [model.class_index(image) for image in pixels]


@pytest.mark.parametrize("sides", [("below", "above"), ("above", "below")])
def test_classes_follow_their_names_whatever_their_order(tmp_path, sides):
    model = replace(create_linear_model(), class_names=sides)
    vlm = load(tmp_path, model).vlm
    pixels = torch.full((1, 3, 8, 8), 10, dtype=torch.int16)
    index = model.class_index(pixels[0].numpy())
    for names in (["below", "above"], ["above", "below"], ["above", "cat", "below"]):
        logits = create_base_classifier(vlm, "It is {}.", names)(pixels)
        assert names[int(logits.argmax())] == sides[index]
        assert sorted(logits[0].tolist())[-2:] == [0.0, 100.0]


def test_names_without_an_image_may_share_a_feature(tmp_path):
    vlm = load(tmp_path, create_linear_model()).vlm
    features = create_base_classifier(vlm, "It is {}.", ["cat", "dog", "above"]).text_features
    assert torch.equal(features[0], features[1])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"threshold": 3.0}, "half an odd integer; got 3.0"),
        ({"weight": np.zeros((3, 2, 2), dtype=np.int64)}, "not all zero"),
        ({"weight": np.ones((3, 2, 2))}, "integers"),
        ({"weight": np.ones((1, 2, 2), dtype=np.int64)}, r"shape \(3, size, size\)"),
        ({"class_names": ("low", "lower")}, "Neither class name may contain the other"),
    ],
)
def test_linear_model_that_is_not_exact_is_refused(change, sentence):
    fields = {"weight": np.ones((3, 2, 2), dtype=np.int64), "threshold": 0.5}
    with pytest.raises(ValueError, match=sentence):
        LinearModel(**(fields | change))
