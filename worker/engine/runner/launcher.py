"""The C module that Triton launches its kernels with, compiled when an image is built.

Triton 3.7 has one such module for every kernel, the same source everywhere, and compiles it on the
machine with the GPU when the first kernel is launched; kernels themselves need no C compiler. An
image whose build ran `python -m worker.engine.runner.launcher` holds the module and needs no
compiler. Needs triton.
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
    """Has Triton take the module that `compile_launcher` left in the folder, if it is there.

    It is found by the digest of its source, so another release's is never taken.
    """
    if find_launcher(folder, NVIDIA / _SOURCE).exists():
        triton.knobs.build.impl = lambda _name, source, *_: str(_get(folder, Path(source)))


def compile_launcher(folder: Path = NVIDIA, compiler: str = "gcc") -> Path:
    """Compiles the module into the folder and returns its path; no GPU and no driver is needed."""
    target = find_launcher(folder, NVIDIA / _SOURCE)
    headers = [f"-I{NVIDIA / 'include'}", f"-I{sysconfig.get_paths()['include']}"]
    with TemporaryDirectory() as scratch:
        # It shall ask the loader for the driver's library, which only a machine with a GPU has.
        driver = Path(scratch, "libcuda.so.1")
        _link(compiler, driver, "-x", "c", "/dev/null", f"-Wl,-soname,{driver.name}")
        needs = [f"-L{scratch}", "-Wl,--no-as-needed", f"-l:{driver.name}"]
        _link(compiler, target, "-Wno-psabi", str(NVIDIA / _SOURCE), *headers, *needs)
    return target


def find_launcher(folder: Path, source: Path) -> Path:
    """Where the module compiled from this source lies in the folder, whether it is there or not."""
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    return folder / f"launcher-{digest}{sysconfig.get_config_var('EXT_SUFFIX')}"


def _link(compiler: str, target: Path, *arguments: str) -> None:
    options = ["-shared", "-fPIC", "-O3", "-o", str(target)]
    subprocess.run([compiler, *options, *arguments], check=True)  # noqa: S603  # at an image's build


def _get(folder: Path, source: Path) -> Path:
    launcher = find_launcher(folder, source)
    if not launcher.exists():
        raise RuntimeError(f"Triton asks for {source.name}, which was not compiled with this image")
    return launcher


if __name__ == "__main__":
    compile_launcher()
