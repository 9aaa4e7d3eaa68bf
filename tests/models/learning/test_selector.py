"""A selector chooses the prompt of least entropy, and knows how far entropies can move."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.learning.selector import PromptSelector
from models.loading.loading import load_vlm
from models.vlm.base_classifier import BaseClassifier


@pytest.fixture
def vlm(tiny_clip, tmp_path):
    return load_vlm(tiny_clip.write(tmp_path), tmp_path, torch.device("cpu"))


def create_classifier(vlm, seed: int, classes: int = 3) -> BaseClassifier:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(classes, vlm.embed_dim, generator=generator)
    features = torch.nn.functional.normalize(features, dim=-1)
    return BaseClassifier(vlm=vlm, text_features=features)


def test_entropies_are_the_formula(vlm, sample_pixels):
    classifiers = tuple(create_classifier(vlm, seed) for seed in (1, 2))
    features = vlm.encode_images(sample_pixels(5, 32))
    found = PromptSelector(classifiers=classifiers).entropies(features)
    for column, classifier in enumerate(classifiers):
        p = torch.softmax(classifier.logits(features).double(), dim=1).numpy()
        by_hand = -(p * np.log(p)).sum(axis=1)
        np.testing.assert_allclose(found[:, column], by_hand, rtol=1e-5, atol=1e-6)


def test_a_row_s_entropy_depends_on_nothing_but_the_row(vlm, sample_pixels):
    selector = PromptSelector(classifiers=tuple(create_classifier(vlm, seed) for seed in (1, 2, 3)))
    features = vlm.encode_images(sample_pixels(64, 32))
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(selector.entropies(features[order]), selector.entropies(features)[order])


@given(
    st.integers(2, 9), st.floats(1e-6, 2.0), st.integers(0, 2**31), st.sampled_from([0.1, 1, 10])
)
def test_entropies_move_no_further_than_the_tolerance_allows(classes, eta, seed, scale):
    """The bound that `PromptSelector.tolerance` rests on: |dH| <= 2 eta log C for each."""
    rng = np.random.default_rng(seed)
    logits = scale * rng.normal(size=classes)
    moved = logits + rng.choice([-eta, eta], size=classes)
    assert abs(entropy(logits) - entropy(moved)) <= 2 * eta * math.log(classes) + 1e-12


def entropy(logits: np.ndarray) -> float:
    p = np.exp(logits - logits.max())
    p /= p.sum()
    return float(-(p * np.log(np.maximum(p, 1e-300))).sum())


def test_bit_equal_logits_need_no_tolerance(vlm):
    selector = PromptSelector(classifiers=tuple(create_classifier(vlm, seed) for seed in (1, 2)))
    assert selector.tolerance(0.0) == 0
    assert selector.tolerance(0.1) >= 2 * 0.1 * math.log(3)


def test_a_bank_of_one_or_of_several_label_sets_is_refused(vlm):
    with pytest.raises(ValueError, match="at least two"):
        PromptSelector(classifiers=(create_classifier(vlm, 1),))
    with pytest.raises(ValueError, match="same classes"):
        PromptSelector(
            classifiers=(create_classifier(vlm, 1), create_classifier(vlm, 2, classes=4))
        )
