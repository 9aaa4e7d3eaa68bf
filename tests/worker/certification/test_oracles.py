"""Classifiers whose true radius is known by geometry (CERTIFICATE 7.2 and 7.3)."""

import json
from pathlib import Path

import numpy as np
import pytest

from worker.certification import Certified, certify_cohen

REFERENCE = json.loads(Path(__file__).with_name("certificates.json").read_text())


@pytest.mark.parametrize("row", REFERENCE["linear_oracle"])
def test_radius_of_a_linear_classifier_stays_below_its_margin(row):
    """p_A = Phi(margin / sigma), so the margin is the true radius, whatever sigma."""
    margin, p_a, n = float(row["margin_over_sigma"]), float(row["pA"]), 20_000
    rng = np.random.default_rng(7)
    for _ in range(50):
        k = int(rng.binomial(n, p_a))
        outcome = certify_cohen([1, 0], [k, n - k], sigma=1.0, alpha=1e-6)
        if isinstance(outcome, Certified):
            assert outcome.radius < margin


@pytest.mark.parametrize("row", REFERENCE["slab_oracle_1d"])
def test_radius_in_a_slab_of_three_classes_stays_below_the_true_distance(row):
    p = np.array([float(row[name]) for name in ("pA", "pB", "pC")])
    rng = np.random.default_rng(11)
    for _ in range(50):
        counts = rng.multinomial(20_000, p / p.sum())
        outcome = certify_cohen([1, 0, 0], counts, sigma=float(row["sigma"]), alpha=1e-6)
        assert isinstance(outcome, Certified)
        assert outcome.radius < float(row["true_distance_to_boundary"])


def test_false_claims_at_the_boundary_are_rarer_than_alpha():
    """p_A = Phi(r / sigma): every claim of more than r is false. Fixed seed, 4 standard errors."""
    from scipy.stats import norm

    alpha, n, repetitions, r = 0.01, 400, 200_000, 0.3
    ks, times = np.unique(
        np.random.default_rng(3).binomial(n, norm.cdf(r), size=repetitions), return_counts=True
    )
    false = sum(
        t
        for k, t in zip(ks.tolist(), times.tolist(), strict=True)
        if isinstance(o := certify_cohen([1, 0], [k, n - k], sigma=1.0, alpha=alpha), Certified)
        and o.radius > r
    )
    assert 0 < false / repetitions <= alpha + 4 * (alpha * (1 - alpha) / repetitions) ** 0.5
