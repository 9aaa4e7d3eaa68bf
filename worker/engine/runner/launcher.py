"""Compiles the C module that Triton launches kernels with, when a container image is built.

Triton 3.7 uses one such module for all kernels, always from the same source. Unless it is already
compiled, Triton compiles it on the GPU machine when it launches the first kernel. Kernels
themselves need no C compiler, so an image built with `python -m worker.engine.runner.launcher`
needs none at run time. The module needs triton.
"""

import hashlib
import subprocess
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory

import triton

NVIDIA = Path(triton.__file__).parent / "backends" / "nvidia"
_SOURCE = "driver.c"


def use_compiled_launcher(folder: Path = NVIDIA) -> None:
    """Makes Triton use the module that `compile_launcher` left in the folder, if there is one.

    The module is found by the digest of its source, so that of another release is never used.
    """
    if find_launcher(folder, NVIDIA / _SOURCE).exists():
        triton.knobs.build.impl = lambda _name, source, *_: str(_get(folder, Path(source)))


def compile_launcher(folder: Path = NVIDIA, compiler: str = "gcc") -> Path:
    """Compiles the module into the folder and returns its path. Needs neither GPU nor driver."""
    target = find_launcher(folder, NVIDIA / _SOURCE)
    headers = [f"-I{NVIDIA / 'include'}", f"-I{sysconfig.get_paths()['include']}"]
    with TemporaryDirectory() as scratch:
        # Link against a stub: only a machine with a GPU has the driver's library.
        driver = Path(scratch, "libcuda.so.1")
        _link(compiler, driver, "-x", "c", "/dev/null", f"-Wl,-soname,{driver.name}")
        needs = [f"-L{scratch}", "-Wl,--no-as-needed", f"-l:{driver.name}"]
        _link(compiler, target, "-Wno-psabi", str(NVIDIA / _SOURCE), *headers, *needs)
    return target


def find_launcher(folder: Path, source: Path) -> Path:
    """The path for the module compiled from this source, whether the file exists or not."""
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    return folder / f"launcher-{digest}{sysconfig.get_config_var('EXT_SUFFIX')}"


def _link(compiler: str, target: Path, *arguments: str) -> None:
    options = ["-shared", "-fPIC", "-O3", "-o", str(target)]
    subprocess.run([compiler, *options, *arguments], check=True)  # noqa: S603  # image build only


def _get(folder: Path, source: Path) -> Path:
    launcher = find_launcher(folder, source)
    if not launcher.exists():
        raise RuntimeError(
            f"Triton asks for {source.name}, which was not compiled when this image was built"
        )
    return launcher


if __name__ == "__main__":
    compile_launcher()
