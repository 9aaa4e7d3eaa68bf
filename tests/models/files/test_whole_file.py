"""A file is put in place whole, by however many writers."""

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from models.files.whole_file import replace_whole, write_whole


def test_threads_that_write_the_same_file_at_a_time_both_succeed(tmp_path: Path):
    path = tmp_path / "card.toml"
    with ThreadPoolExecutor(1) as other:
        with replace_whole(path) as begun:
            begun.write_bytes(b"first")
            other.submit(write_whole, path, b"second").result()
            assert path.read_bytes() == b"second"
        assert path.read_bytes() == b"first"
    assert [file.name for file in tmp_path.iterdir()] == ["card.toml"]


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path: Path):
    path = tmp_path / "model.tar"
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from models.files.whole_file import replace_whole\n"
        "with replace_whole(Path(sys.argv[1])) as begun:\n"
        "    begun.write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, path], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.read_bytes() == b"half"
    other = tmp_path / ".other.tar.1-1.tmp"
    other.touch()
    write_whole(path, b"whole")
    assert {file.name for file in tmp_path.iterdir()} == {path.name, other.name}
    assert path.read_bytes() == b"whole"
