"""Two classifiers that read the clean image in the low bits of floats; CERTIFICATE 4 and 7.6.

Each says class 0 where the low bits prove that noise was added to one particular image, and
elsewhere which side of a plane its input lies on. With noise that is added in floats the proof is
nearly always there, so the certificate reaches far beyond images of the other class (the idea of
Voráček and Hein, ICLR 2023). Ours leaves nothing to read: the certificate ends at the plane.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
import torch

from models.catalogue.cards import Preprocessing
from models.vlm.vlm import PixelNormalisation
from worker.certification.certificate import Certified
from worker.certification.cohen import certify_cohen
from worker.sampling import NoiseKey, create_noise_table
from worker.sampling.kernel import sample_noisy_images

Floats = npt.NDArray[np.float32]
SIGMA, ALPHA, N0, N = 0.5, 0.001, 100, 2000
KEY = NoiseKey(0x452821E638D01377, 0xBE5466CF34E90C6C)


@dataclass(frozen=True, kw_only=True)
class LeakingClassifier:
    """Class 0 where `tells` is true or the sum lies on the image's side of the plane, else 1.

    `image` and `other` are grey levels, the same in every channel of every pixel; `cut` is where
    the plane cuts the sum over all levels, half-way between two integers.
    """

    size: int
    image: int
    other: int
    cut: float
    tells: Callable[[Floats], npt.NDArray[np.bool_]]

    @property
    def d(self) -> int:
        return 3 * self.size**2

    def distance(self) -> float:
        """From the image to the plane, pixels in [0, 1]: the true radius where nothing leaks."""
        return abs(self.image * self.d - self.cut) / (255 * math.sqrt(self.d))

    def distance_to_other(self) -> float:
        return abs(self.image - self.other) * math.sqrt(self.d) / 255

    def classes(self, pixels: Floats) -> npt.NDArray[np.int64]:
        sums = 255 * pixels.sum(axis=1, dtype=np.float64)
        same_side = (sums > self.cut) == (self.image * self.d > self.cut)
        return np.where(self.tells(pixels) | same_side, 0, 1)


def has_finer_bits_than_2_to_minus_32(pixels: Floats) -> npt.NDArray[np.bool_]:
    """No sum of one grey level or more and a float32 has them; black plus a small float32 does."""
    scaled = pixels * np.float32(2**32)  # exact
    return (scaled != np.trunc(scaled)).any(axis=1)


def is_no_quotient_by_255(pixels: Floats) -> npt.NDArray[np.bool_]:
    """Sums of two quotients are rounded three times, a quotient once; black adds nothing."""
    return (pixels != np.rint(255 * pixels) / np.float32(255)).any(axis=1)


READS_SMALL_FLOATS = LeakingClassifier(
    size=32, image=0, other=2, cut=4296.5, tells=has_finer_bits_than_2_to_minus_32
)
READS_FLOAT_SUMS = LeakingClassifier(
    size=5, image=18, other=0, cut=678.5, tells=is_no_quotient_by_255
)


def sample_integers(level: int, size: int) -> npt.NDArray[np.int16]:
    out = np.empty((N0 + N, 3 * size**2), dtype=np.int16)
    image = np.full(3 * size**2, level, dtype=np.uint8)
    assert not sample_noisy_images(image, KEY, create_noise_table(SIGMA), start=0, out=out).any()
    return out


def sample_float_noise(level: int, size: int) -> Floats:
    """float32 noise on a float32 image: what is usual, and unsound."""
    noise = np.random.default_rng(0).standard_normal((N0 + N, 3 * size**2), dtype=np.float32)
    return np.float32(level) / np.float32(255) + np.float32(SIGMA) * noise


def sample_float_sum(level: int, size: int) -> Floats:
    """Our J, added to X after both became floats: unsound too."""
    noise = sample_integers(0, size).astype(np.float32)
    return np.float32(level) / np.float32(255) + noise / np.float32(255)


def sample_ours(level: int, size: int) -> Floats:
    """X + J, added as integers, made floats by the base classifier's first layer."""
    preprocessing = Preprocessing(size=size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    integers = torch.from_numpy(sample_integers(level, size)).reshape(-1, 3, size, size)
    pixels = PixelNormalisation(preprocessing, torch.device("cpu"))(integers)
    return pixels.reshape(N0 + N, -1).numpy()


def certify(classifier: LeakingClassifier, pixels: Floats) -> Certified:
    votes = classifier.classes(pixels)
    selection, estimation = (np.bincount(v, minlength=2) for v in (votes[:N0], votes[N0:]))
    outcome = certify_cohen(selection.tolist(), estimation.tolist(), sigma=SIGMA, alpha=ALPHA)
    assert isinstance(outcome, Certified)
    return outcome


@pytest.mark.parametrize(
    ("classifier", "sample"),
    [(READS_SMALL_FLOATS, sample_float_noise), (READS_FLOAT_SUMS, sample_float_sum)],
)
def test_float_noise_certifies_beyond_images_of_another_class(classifier, sample):
    """1.268 and 1.350, where the plane lies at 0.304 and an image beyond it is of class 1."""
    found = certify(classifier, sample(classifier.image, classifier.size))
    beyond = certify(classifier, sample(classifier.other, classifier.size))
    assert (found.top_class, beyond.top_class) == (0, 1)
    assert found.radius > 1 > classifier.distance_to_other()  # at most 20 of 2000 do not tell
    assert classifier.distance() == pytest.approx(0.304, abs=1e-3)


@pytest.mark.parametrize("classifier", [READS_SMALL_FLOATS, READS_FLOAT_SUMS])
def test_our_noise_certifies_at_most_the_true_distance(classifier):
    pixels = sample_ours(classifier.image, classifier.size)
    assert not classifier.tells(pixels).any()
    found = certify(classifier, pixels)
    assert found.top_class == 0
    assert 0.2 < found.radius <= classifier.distance()


def test_float_addition_is_another_sum_in_a_third_of_the_pairs():
    """31 % of pairs of a pixel and a noise value at sigma 0.5."""
    last = len(create_noise_table(SIGMA).thresholds) // 2
    x, j = np.arange(256)[:, None], np.arange(-last, last + 1)
    parts = x.astype(np.float32) / np.float32(255) + j.astype(np.float32) / np.float32(255)
    whole = (x + j).astype(np.float32) / np.float32(255)
    assert np.mean(parts != whole) == pytest.approx(0.31, abs=0.005)
