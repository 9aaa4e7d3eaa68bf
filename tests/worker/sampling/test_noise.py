"""Certification noise: the words, the table and the loop that fuses them."""

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chisquare, norm

from worker.sampling import NoiseKey, create_noise_table, parse_sigma, sample_words, threshold
from worker.sampling.kernel import _philox, _place, sample_noisy_images
from worker.sampling.table import NoiseTable

REFERENCE = json.loads(
    (Path(__file__).parent.parent / "certification" / "certificates.json").read_text()
)
GREY_255 = [row for row in REFERENCE["rounded_gaussian"] if row["M"] == 255]
FROZEN_WORDS = ["02f4ba6408e4d89b", "3dd62b0b9ca8c5b2", "1c8667a55d902e79", "907d7a052fd5b4dc"]
PHILOX_OF_ZERO = ["16554d9eca36314c", "db20fe9d672d0fdc", "d7e772cee186176b", "7e68b68aec7ba23b"]
KEY = NoiseKey(0x243F6A8885A308D3, 0x13198A2E03707344)


@pytest.mark.parametrize("row", GREY_255)
def test_threshold_is_the_reference_s(row):
    assert threshold(row["j"], row["sigma"]) == int(row["threshold_floor_2_64"])


def test_sigma_is_read_as_the_decimal_that_was_written():
    assert parse_sigma(0.1) == Decimal("0.1")
    assert threshold(3, 0.1) == threshold(3, "0.10") == threshold(3, Decimal("0.1"))


@pytest.mark.parametrize("sigma", ["0", "-1", "nan", "inf", "0.0009", "11", "x", ""])
def test_sigma_out_of_range_is_refused(sigma):
    with pytest.raises(ValueError, match="sigma"):
        create_noise_table(sigma)


@pytest.mark.parametrize("sigma", ["0.004", "0.25", "0.5"])
def test_table_holds_every_threshold_in_order(sigma):
    table = create_noise_table(sigma)
    assert (np.diff(table.thresholds.astype(object)) >= 0).all()  # equal ones only in the tails
    for i in {0, 1, 7 % len(table.thresholds), len(table.thresholds) // 2, -1}:
        j = table.first_index + (i % len(table.thresholds))
        assert int(table.thresholds[i]) == threshold(j, sigma)


def test_table_of_half_has_the_size_the_design_computed():
    assert len(create_noise_table("0.5").thresholds) == 2296


def test_table_digest_names_sigma_and_thresholds():
    assert create_noise_table("0.5").sha256 == create_noise_table(0.50).sha256
    assert create_noise_table("0.5").sha256 != create_noise_table("0.25").sha256


def test_no_outcome_is_likelier_than_it_should_be():
    """The words that mean j are at most 2**64 times its exact probability."""
    table = create_noise_table("0.25")
    words = [int(b) - int(a) - 1 for a, b in zip(table.thresholds, table.thresholds[1:])]  # noqa: B905
    for i, count in enumerate(words):
        j = table.first_index + 1 + i
        exact = norm.cdf((j + 0.5) / 63.75) - norm.cdf((j - 0.5) / 63.75)
        assert count <= exact * 2**64 * (1 + 1e-9) + 1e6  # scipy's own rounding in the centre


def test_words_are_frozen():
    """A change of these numbers changes every certificate ever issued."""
    assert sample_words(KEY, 0, 5).tolist() == sample_words(KEY, 0, 9)[:5].tolist()
    assert [f"{w:016x}" for w in sample_words(NoiseKey(0, 0), 0, 4)] == FROZEN_WORDS
    assert sample_words(KEY, 1, 4).tolist() != sample_words(KEY, 0, 4).tolist()


def test_compiled_philox_gives_its_authors_known_answer():
    """Random123's kat_vectors: philox4x64, 10 rounds, counter and key zero."""
    zero = np.uint64(0)
    assert [f"{int(w):016x}" for w in _philox(zero, zero, zero, zero)] == PHILOX_OF_ZERO


def noisy(image: np.ndarray, table: NoiseTable, start: int, samples: int) -> np.ndarray:
    out = np.empty((samples, image.size), dtype=np.int16)
    assert not sample_noisy_images(image, KEY, table, start=start, out=out).any()
    return out


@pytest.mark.parametrize("size", [1, 3, 4, 5, 8, 12_288])
@pytest.mark.parametrize("sigma", ["0.001", "0.02", "0.25", "1", "10"])
def test_compiled_noise_is_the_definition_s(size, sigma):
    table = create_noise_table(sigma)
    image = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)
    out = np.empty((4, size), dtype=np.int16)
    undecided = sample_noisy_images(image, KEY, table, start=2**40, out=out)
    for row in range(4):
        words = sample_words(KEY, 2**40 + row, size)
        below = np.searchsorted(table.thresholds, words)
        beyond = (below == 0) | (below == len(table.thresholds))
        assert undecided[row] == beyond.any()
        if not undecided[row]:
            assert np.array_equal(out[row], image.astype(int) + table.first_index + below)


def list_edges(table: NoiseTable) -> np.ndarray:
    """Every threshold with both neighbours, and the first and last word of every cell."""
    cells = np.arange(2**16, dtype=np.uint64) << np.uint64(48)
    at = table.thresholds
    one = np.uint64(1)
    return np.concatenate([at - one, at, at + one, cells, cells + np.uint64(2**48 - 1)])


@pytest.mark.parametrize("sigma", ["0.001", "0.25", "10"])
def test_the_short_cut_finds_what_a_search_finds_at_every_edge(sigma):
    table = create_noise_table(sigma)
    words = list_edges(table)
    below = np.searchsorted(table.thresholds, words)
    lost = (below == 0) | (below == len(table.thresholds)) | np.isin(words, table.thresholds)
    tables = (table.thresholds, table.guide, table.decided)
    found = np.array([_place(word, *tables) for word in words])
    assert np.array_equal(found, np.where(lost, -1, below))


def test_the_short_cut_knows_thresholds_at_the_edges_of_cells(create_table):
    edges = [5 << 48, (9 << 48) - 1, 9 << 48, 12 << 48, (12 << 48) + 1]
    table = create_table(edges)
    tables = (table.thresholds, table.guide, table.decided)
    for word in list_edges(table):
        below = int(np.searchsorted(table.thresholds, word))
        lost = below in (0, len(edges)) or int(word) in edges
        assert _place(word, *tables) == (-1 if lost else below)


def test_noise_does_not_depend_on_batches():
    image = np.zeros((3, 8, 8), dtype=np.uint8)
    table = create_noise_table("0.25")
    whole = noisy(image, table, 0, 64)
    assert np.array_equal(whole, np.concatenate([noisy(image, table, i, 1) for i in range(64)]))
    assert np.array_equal(whole[7:21], noisy(image, table, 7, 14))


def test_channels_and_samples_have_words_of_their_own():
    """A word shared by channels would make the covariance singular."""
    out = noisy(np.zeros((3, 16, 16), np.uint8), create_noise_table("0.5"), 0, 400)
    channels = out.reshape(400, 3, -1).transpose(1, 0, 2).reshape(3, -1)
    correlation = np.corrcoef(channels)
    assert np.abs(correlation - np.eye(3)).max() < 4 / np.sqrt(channels.shape[1])
    rows = np.corrcoef(out[:50])
    assert np.abs(rows - np.eye(50)).max() < 6 / np.sqrt(out.shape[1])


@pytest.mark.parametrize("sigma", ["0.01", "0.25"])
def test_j_follows_its_exact_probabilities(sigma):
    """Chi-square at a fixed key; a false alarm of 1e-4 would have been seen when it was frozen."""
    table = create_noise_table(sigma)
    out = noisy(np.zeros(20_000, np.uint8), table, 0, 20).ravel()
    scale = 255 * float(sigma)
    edge = round(3 * scale)
    cells = np.clip(out, -edge, edge)
    values, observed = np.unique(cells, return_counts=True)
    upper = np.where(values == edge, np.inf, values + 0.5)
    lower = np.where(values == -edge, -np.inf, values - 0.5)
    expected = (norm.cdf(upper / scale) - norm.cdf(lower / scale)) * out.size
    assert chisquare(observed, expected).pvalue > 1e-4


def test_a_word_equal_to_a_threshold_decides_nothing(create_table):
    words = sample_words(KEY, 0, 3)
    out = np.empty((1, 3), dtype=np.int16)
    image = np.zeros(3, np.uint8)
    for word in words.tolist():
        table = create_table([5, word, 2**64 - 5])
        assert sample_noisy_images(image, KEY, table, start=0, out=out).all()
        near = create_table([5, word - 1, word + 1, 2**64 - 5])
        assert not sample_noisy_images(image, KEY, near, start=0, out=out).any()


def test_a_word_beyond_the_table_decides_nothing(create_table):
    word = int(sample_words(KEY, 0, 1)[0])
    image, out = np.zeros(1, np.uint8), np.empty((1, 1), dtype=np.int16)
    for thresholds in ([word + 1, 2**64 - 5], [5, word - 1]):
        table = create_table(thresholds)
        assert sample_noisy_images(image, KEY, table, start=0, out=out).all()
