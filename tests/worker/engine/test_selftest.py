"""Known answers at start-up, and the words of a batch that are recomputed."""

import numpy as np
import pytest

from worker.engine.runner.selftest import (
    NoiseMismatch,
    _defined,
    _require_frozen,
    _spots,
    check_noise,
    spot_check,
)
from worker.sampling import NoiseKey, create_noise_table
from worker.sampling.kernel import sample_noisy_images

KEY = NoiseKey(0x243F6A8885A308D3, 0x93198A2E03707344)
IMAGE = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
START, SAMPLES, BLOCKS = 2**40, 4, 12


def sample_batch(sigma: str = "0.5") -> np.ndarray:
    out = np.empty((SAMPLES, IMAGE.size), dtype=np.int16)
    assert not sample_noisy_images(
        IMAGE, KEY, create_noise_table(sigma), start=START, out=out
    ).any()
    return out


def turns_that_refuse(out, *, key=KEY, start=START, sigma="0.5", turns=200) -> int:
    refused = 0
    for turn in range(turns):
        try:
            spot_check(IMAGE, key, create_noise_table(sigma), start=start, out=out, turn=turn)
        except NoiseMismatch:
            refused += 1
    return refused


def test_known_answers_hold_on_this_machine():
    check_noise()


def test_known_answers_refuse_one_wrong_integer():
    answers = _defined(create_noise_table("0.5"))
    _require_frozen(answers, "0.5", "noise")
    answers[1, 2] += 1
    with pytest.raises(NoiseMismatch, match=r"sigma 0\.5"):
        _require_frozen(answers, "0.5", "noise")


@pytest.mark.parametrize("sigma", ["0.001", "0.25", "4"])
def test_spot_check_passes_the_noise_defined(sigma):
    assert turns_that_refuse(sample_batch(sigma), sigma=sigma) == 0


def test_spot_check_refuses_noise_of_another_key_sample_or_sigma():
    out = sample_batch()
    assert turns_that_refuse(out, key=NoiseKey(KEY.low + 1, KEY.high), turns=20) == 20
    assert turns_that_refuse(out, start=START + 1, turns=20) == 20
    assert turns_that_refuse(out, sigma="0.25", turns=20) == 20


@pytest.mark.parametrize("place", [0, 17, 44])
def test_spot_check_comes_to_every_integer_in_time(place):
    """One integer off by one: a turn in BLOCKS * SAMPLES / 3 sees it, on average."""
    out = sample_batch()
    out[place % SAMPLES, place] += 1
    assert turns_that_refuse(out) >= 200 * 3 / (BLOCKS * SAMPLES) / 2


def test_spots_are_spread_evenly():
    spots = [spot for turn in range(800) for spot in _spots(turn, SAMPLES, BLOCKS)]
    _, visits = np.unique(np.array(spots), axis=0, return_counts=True)
    assert len(visits) == SAMPLES * BLOCKS
    assert visits.min() >= 40  # 50 on average


def test_spot_check_passes_over_words_that_decide_nothing(create_table):
    out = np.zeros((SAMPLES, IMAGE.size), dtype=np.int16)
    spot_check(IMAGE, KEY, create_table([5, 6]), start=START, out=out, turn=0)
