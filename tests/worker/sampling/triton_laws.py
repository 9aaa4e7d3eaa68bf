"""Laws of the Triton kernel, on a GPU or in Triton's interpreter; test_triton_kernel.py runs them.

Not collected by name: TRITON_INTERPRET must be set or unset before anything imports triton.
"""

import os

import numpy as np
import pytest
import torch

from models.catalogue.cards import Preprocessing
from models.vlm.vlm import PixelNormalisation
from worker.engine.runner.selftest import check_device_noise, spot_check
from worker.sampling import NoiseKey, create_noise_table, sample_words
from worker.sampling.kernel import sample_noisy_images
from worker.sampling.triton_kernel import _launch, sample_noisy_batch, sample_noisy_integers

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
KEY = NoiseKey(0xF43F6A8885A308D3, 0x93198A2E03707344)
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def create_image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (3, height, width), dtype=np.uint8)


def on_device(image, key, table, *, start, samples):
    out = torch.empty((samples, *image.shape), dtype=torch.int16, device=DEVICE)
    there = torch.from_numpy(image).to(DEVICE)
    undecided = sample_noisy_integers(there, key, table, start=start, out=out)
    return out.cpu().numpy(), undecided.cpu().numpy()


def on_cpu(image, key, table, *, start, samples):
    out = np.empty((samples, image.size), dtype=np.int16)
    undecided = sample_noisy_images(image, key, table, start=start, out=out)
    return out.reshape(samples, *image.shape), undecided


@pytest.mark.parametrize(
    ("sigma", "size", "key", "start"),
    [
        ("0.001", (1, 1), KEY, 0),
        ("0.02", (5, 5), NoiseKey(1, 0), 2**31 + 5),
        ("0.25", (7, 3), NoiseKey(2**32 - 1, 2**63), 2**32 - 2),
        ("0.5", (33, 31), KEY, 2**40),
        ("1", (2, 2), NoiseKey(0, 2**64 - 1), 2**63 - 1),
        ("10", (17, 5), KEY, 2**64 - 3),
    ],
)
def test_integers_are_those_of_the_cpu(sigma, size, key, start):
    image, table = create_image(*size), create_noise_table(sigma)
    found, undecided = on_device(image, key, table, start=start, samples=3)
    expected, expected_undecided = on_cpu(image, key, table, start=start, samples=3)
    assert np.array_equal(found, expected)
    assert np.array_equal(undecided, expected_undecided)


def test_words_on_both_sides_of_2_63_are_compared_unsigned():
    """Signed comparison would put words from 2**63 on below every threshold."""
    image, table = np.zeros((3, 16, 16), np.uint8), create_noise_table("0.5")
    (found,), _ = on_device(image, KEY, table, start=9, samples=1)
    large = sample_words(KEY, 9, image.size) >= np.uint64(2**63)
    assert large.any()
    assert not large.all()
    assert (found.ravel()[large] >= 0).all()
    assert (found.ravel()[~large] <= 0).all()


@pytest.mark.parametrize("blocks", [16, 128, 512])
def test_integers_do_not_depend_on_the_launch_shape(blocks):
    image, table = create_image(9, 11), create_noise_table("0.25")
    out = torch.empty((2, *image.shape), dtype=torch.int16, device=DEVICE)
    _launch(torch.from_numpy(image).to(DEVICE), KEY, table, 5, out, blocks=blocks)
    assert np.array_equal(out.cpu().numpy(), on_cpu(image, KEY, table, start=5, samples=2)[0])


def test_integers_do_not_depend_on_batches():
    image, table = create_image(5, 5), create_noise_table("0.25")
    whole, _ = on_device(image, KEY, table, start=0, samples=5)
    parts = [on_device(image, KEY, table, start=i, samples=n)[0] for i, n in ((0, 1), (1, 4))]
    assert np.array_equal(whole, np.concatenate(parts))


def test_a_word_equal_to_a_threshold_decides_nothing(create_table):
    image = np.zeros((3, 1, 1), np.uint8)
    words = sample_words(KEY, 3, 3).tolist()
    assert min(words) < 2**63 <= max(words)
    for word in words:
        table = create_table([5, word, 2**64 - 5])
        assert on_device(image, KEY, table, start=3, samples=1)[1].all()
        near = create_table([5, word - 1, word + 1, 2**64 - 5])
        assert not on_device(image, KEY, near, start=3, samples=1)[1].any()


def test_a_word_beyond_the_table_makes_its_sample_alone_undecided(create_table):
    image = np.zeros((3, 1, 1), np.uint8)
    words = np.stack([sample_words(KEY, sample, 3) for sample in range(8)])
    for thresholds in ([int(words.min()) + 1, 2**64 - 5], [5, int(words.max()) - 1]):
        found, undecided = on_device(image, KEY, create_table(thresholds), start=0, samples=8)
        expected = on_cpu(image, KEY, create_table(thresholds), start=0, samples=8)
        assert undecided.sum() == 1
        assert np.array_equal(undecided, expected[1])
        assert np.array_equal(found, expected[0])


def test_words_past_the_image_decide_nothing_about_a_sample(create_table):
    """The last Philox block has a fourth word that an image of three channel-pixels never draws."""
    words = sample_words(KEY, 3, 4).tolist()
    table = create_table([5, words[3], 2**64 - 5])
    assert not on_device(np.zeros((3, 1, 1), np.uint8), KEY, table, start=3, samples=1)[1].any()


def normalised(integers: torch.Tensor) -> torch.Tensor:
    size = integers.shape[-1]
    preprocessing = Preprocessing(size=size, mean=MEAN, std=STD)
    return PixelNormalisation(preprocessing, torch.device("cpu"))(integers)


def pixels_and_integers(dtype, sigma, samples):
    image, table = create_image(17, 17), create_noise_table(sigma)
    out = torch.empty((samples, *image.shape), dtype=dtype, device=DEVICE)
    integers = torch.empty(out.shape, dtype=torch.int16, device=DEVICE)
    sample_noisy_batch(
        torch.from_numpy(image).to(DEVICE),
        KEY,
        table,
        start=1,
        out=out,
        mean=MEAN,
        std=STD,
        integers=integers,
    )
    expected, _ = on_cpu(image, KEY, table, start=1, samples=samples)
    assert np.array_equal(integers.cpu().numpy(), expected)
    return out.cpu(), torch.from_numpy(expected)


@pytest.mark.parametrize("sigma", ["0.02", "1", "10"])
def test_float32_pixels_are_those_of_the_normalisation_layer(sigma):
    pixels, integers = pixels_and_integers(torch.float32, sigma, 4)
    assert torch.equal(pixels, normalised(integers))


def test_bfloat16_pixels_are_the_float32_ones_rounded():
    """Triton 3.7's interpreter cuts bits off where a GPU rounds: one step there, exact on a GPU."""
    pixels, integers = pixels_and_integers(torch.bfloat16, "0.5", 4)
    exact = normalised(integers)
    if INTERPRETED:
        assert ((pixels.float() - exact).abs() <= exact.abs() * 2**-7).all()
    else:
        assert torch.equal(pixels, exact.to(torch.bfloat16))


def test_arguments_that_do_not_fit_are_refused():
    image, table = torch.zeros((3, 4, 4), dtype=torch.uint8), create_noise_table("0.5")
    integers = torch.empty((2, 3, 4, 4), dtype=torch.int16)
    for out in (integers.float(), integers[:0], integers[:, :, :2], integers.transpose(2, 3)):
        with pytest.raises(ValueError, match=r"expected|contiguous"):
            sample_noisy_integers(image, KEY, table, start=0, out=out)
    with pytest.raises(ValueError, match="uint8"):
        sample_noisy_integers(image.float(), KEY, table, start=0, out=integers)
    for start in (-1, 2**64 - 1):
        with pytest.raises(ValueError, match="start"):
            sample_noisy_integers(image, KEY, table, start=start, out=integers)
    with pytest.raises(ValueError, match="float32"):
        sample_noisy_batch(image, KEY, table, start=0, out=integers, mean=MEAN, std=STD)
    pixels = torch.empty((3, 3, 4, 4))
    with pytest.raises(ValueError, match="channels"):
        sample_noisy_batch(image, KEY, table, start=0, out=pixels, mean=MEAN[:2], std=STD)
    with pytest.raises(ValueError, match="shape of out"):
        sample_noisy_batch(
            image, KEY, table, start=0, out=pixels, mean=MEAN, std=STD, integers=integers
        )


def test_known_answers_hold_on_the_device():
    check_device_noise(DEVICE)


def test_spot_checks_read_tensors_of_the_device():
    image, table = create_image(5, 5), create_noise_table("0.25")
    out = torch.empty((4, *image.shape), dtype=torch.int16, device=DEVICE)
    sample_noisy_integers(torch.from_numpy(image).to(DEVICE), KEY, table, start=0, out=out)
    spot_check(image, KEY, table, start=0, out=out, turn=0)
