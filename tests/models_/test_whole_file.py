"""A file is put in place whole, by however many writers."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from models.whole_file import replace_whole, write_whole


def test_threads_that_write_the_same_file_at_a_time_both_succeed(tmp_path: Path):
    path = tmp_path / "card.toml"
    with ThreadPoolExecutor(1) as other:
        with replace_whole(path) as begun:
            begun.write_bytes(b"first")
            other.submit(write_whole, path, b"second").result()
            assert path.read_bytes() == b"second"
        assert path.read_bytes() == b"first"
    assert [file.name for file in tmp_path.iterdir()] == ["card.toml"]
