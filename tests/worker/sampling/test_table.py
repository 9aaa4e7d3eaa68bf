"""Tables built by Taylor steps are the thresholds themselves, whoever builds them."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from worker.sampling.table import _create_noise_table, create_noise_table, threshold


@pytest.mark.parametrize("sigma", ["0.001", "0.0137", "0.12", "0.5", "2.75", "10"])
def test_taylor_steps_give_the_thresholds_of_mpmath(sigma):
    table = create_noise_table(sigma)
    count = len(table.thresholds)
    near_the_ends = [*range(min(count, 12)), *range(max(0, count - 12), count)]
    for i in sorted({*near_the_ends, *range(0, count, max(1, count // 40))}):
        assert int(table.thresholds[i]) == threshold(table.first_index + i, sigma)


def test_many_threads_build_the_same_tables():
    """mpmath's global precision is shared by threads; ours is not."""
    sigmas = [f"0.{i}" for i in range(11, 59, 7)]
    expected = {sigma: create_noise_table(sigma).sha256 for sigma in sigmas}
    _create_noise_table.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        tables = list(pool.map(create_noise_table, sigmas * 6))
    assert {f"{t.sigma:f}": t.sha256 for t in tables} == expected
