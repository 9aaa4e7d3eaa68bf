"""Triton's launcher compiled with an image: a kernel is launched without a compiler."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("triton") is None, reason="triton is for Linux alone: run it there"
    ),
    pytest.mark.skipif(
        shutil.which("gcc") is None, reason="no gcc on the PATH (apt-get install gcc)"
    ),
    pytest.mark.skipif(
        not Path(sysconfig.get_paths()["include"], "Python.h").exists(),
        reason="no Python.h (apt-get install python3-dev)",
    ),
]

# What Triton does before its first launch on a GPU. Names of the driver are looked up when they
# are called, so that it can be done without one.
FIRST_LAUNCH = """
import os, sys
from pathlib import Path
from worker.engine.runner.launcher import use_compiled_launcher
use_compiled_launcher(Path(sys.argv[1]))
from triton.backends.nvidia.driver import CudaUtils
sys.setdlopenflags(os.RTLD_LAZY)
print(CudaUtils().launch)
"""


@pytest.fixture(scope="module")
def launcher(tmp_path_factory):
    from worker.engine.runner.launcher import compile_launcher

    return compile_launcher(tmp_path_factory.mktemp("launcher"))


@pytest.fixture
def launch(tmp_path):
    """Asks for Triton's launcher on a machine without a compiler, whose driver does nothing."""
    driver = tmp_path / "libcuda.so.1"
    empty = ["gcc", "-shared", "-x", "c", os.devnull, f"-Wl,-soname,{driver.name}", "-o", driver]
    subprocess.run(empty, check=True)

    def run(folder):
        places = {"TRITON_LIBCUDA_PATH": tmp_path, "LD_LIBRARY_PATH": tmp_path}
        return subprocess.run(
            [sys.executable, "-c", FIRST_LAUNCH, folder],
            env={**places, "TRITON_CACHE_DIR": tmp_path / "cache", "PATH": "/nowhere"},
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_triton_takes_the_launcher_that_was_compiled_before(launcher, launch):
    found = launch(launcher.parent)
    assert "launch" in found.stdout, found.stderr


def test_triton_asks_for_a_compiler_where_no_launcher_was_compiled(launcher, launch, tmp_path):
    assert "C compiler" in launch(tmp_path).stderr
    other = tmp_path / launcher.name.replace("launcher-", "launcher-0")  # of another source
    other.write_bytes(launcher.read_bytes())
    assert "C compiler" in launch(tmp_path).stderr


def test_the_launcher_asks_the_loader_for_the_driver(launcher):
    assert b"libcuda.so.1" in launcher.read_bytes()
