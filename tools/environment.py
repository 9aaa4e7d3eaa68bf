"""Creates the environment .venv with everything that the service, its tests and its tools need.

`make setup` runs it, and so does every target that needs the environment. It uses only the standard
library, because nothing else is installed yet. pip installs `uv`, and `uv` installs the packages.
uv does not read pip's configuration (index, constraints, find-links, certificates, proxy), so this
program passes it on.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
STAMP = VENV / "installed"
CONSTRAINTS = ROOT / "constraints.txt"
INPUTS = (ROOT / "pyproject.toml", CONSTRAINTS, Path(__file__).resolve())
EXTRAS = "worker,local,oidc,dicom,quantize,dev"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
SIZES_GB = {"cpu": 3.0, "cuda": 6.3}  # of .venv, measured on Linux x86-64 with Python 3.11
FREE_GB = 1.0  # free disk space to leave afterwards


def main(arguments: list[str] | None = None) -> None:
    """Installs what is missing. Returns at once if nothing is."""
    if sys.version_info < (3, 11):  # noqa: UP036 - this line is for old interpreters
        _end("Python 3.11 or newer is needed; name one with make PYTHON=...")
    wish = _parse(arguments)
    kept = is_usable(wish)
    if kept and is_current():
        return
    build = wish.torch or choose_build()
    _announce(build, chosen=wish.torch is None)
    STAMP.unlink(missing_ok=True)
    if not kept:
        _create_venv()
    installer = create_installer()
    installer.install_torch(build, required=wish.torch is not None)
    installer.install_project()
    installed = _find_torch()
    STAMP.write_text(_digest())
    print(f"setup: done, with torch {installed}, {_size_gb(VENV):.1f} GB in {VENV}")


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make setup", description=__doc__)
    parser.add_argument(
        "--torch",
        choices=["cpu", "cuda"],
        help="the build of torch; default: cuda if nvidia-smi answers, otherwise cpu",
    )
    parser.add_argument(
        "--this-python",
        action="store_true",
        help="replace an environment that belongs to another interpreter",
    )
    return parser.parse_args(arguments)


def is_usable(wish: argparse.Namespace) -> bool:
    """Whether .venv exists and has the requested interpreter and build of torch."""
    base = _find_base_python()
    if base is None or (wish.this_python and base != Path(sys.executable).resolve()):
        return False
    installed = _find_torch()
    return wish.torch is None or not installed or _build_of(installed) == wish.torch


def is_current() -> bool:
    """Whether .venv was made from the current input files."""
    return STAMP.is_file() and STAMP.read_text() == _digest()


def choose_build() -> str:
    """`cuda` if an NVIDIA driver answers, otherwise `cpu`."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return "cpu"
    try:
        found = subprocess.run([program, "-L"], capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "cpu"
    return "cuda" if found.returncode == 0 and found.stdout.strip() else "cpu"


def _announce(build: str, *, chosen: bool) -> None:
    why = "no NVIDIA GPU answers" if build == "cpu" else "an NVIDIA GPU answers"
    note = f" ({why}; make TORCH=cpu or TORCH=cuda overrides)" if chosen else ""
    print(f"setup: installing promptsmooth-service with the extras {EXTRAS} into {VENV}")
    print(f"setup: torch's {build.upper()} build{note}: about {SIZES_GB[build]} GB in all")
    free_gb = shutil.disk_usage(ROOT).free / 1e9
    if not VENV.exists() and free_gb < SIZES_GB[build] + FREE_GB:
        _end(
            f"{SIZES_GB[build] + FREE_GB:.1f} GB of free disk are needed, {free_gb:.1f} GB are free"
        )


def _create_venv() -> None:
    """Creates a virtual environment with the running interpreter."""
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=False)
    if made.returncode:
        _end("Python could not create .venv; on Debian and Ubuntu, install python3-venv first")


def _find_base_python() -> Path | None:
    """The interpreter that .venv belongs to; None if .venv is absent, was moved or is broken."""
    python = VENV / "bin" / "python"
    try:
        here = (VENV / "bin" / "pip").read_bytes().startswith(f"#!{VENV}/".encode())
    except OSError:
        return None
    return python.resolve() if here and python.exists() else None


@dataclass(frozen=True, kw_only=True)
class Installer:
    """uv, with the options that correspond to pip's configuration."""

    python: Path
    options: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    def install_torch(self, build: str, *, required: bool) -> None:
        """Installs torch and torchvision first, because their index serves nothing else.

        The CPU build comes from PyTorch's public index, or from TORCH_INDEX_URL. If that cannot be
        reached, pip's own index is used and a message says so. Its build may be the CUDA one; if
        the CPU build is `required`, the set-up then ends.
        """
        pins = _find_pins("torch", "torchvision")
        index = os.environ.get("TORCH_INDEX_URL") or (CPU_INDEX if build == "cpu" else None)
        if index is not None:
            reason = self._find_reason_against(index, pins)
            if reason is None:
                return
            print(f"setup: {index} cannot be used ({reason}); using pip's own index for torch")
        if build == "cuda":  # no local label, so a +cpu wheel on the disk does not match
            pins[0] = pins[0].replace("==", "===")
        elif required and sys.platform == "linux":
            pins[0] += "+cpu"
        elif sys.platform == "linux":
            print(f"setup: that may be the CUDA build, {SIZES_GB['cuda']} GB in all")
        self._run(*self.options, "--no-deps", *pins)

    def _find_reason_against(self, index: str, pins: list[str]) -> str | None:
        """Installs from that index only: one retry, 15 s without an answer. None if it worked."""
        patience = {
            "UV_HTTP_RETRIES": "1",
            "UV_HTTP_TIMEOUT": "15",
            "UV_HTTP_CONNECT_TIMEOUT": "10",
        }
        command = ["--no-deps", "--default-index", index, *pins]
        found = self._call(command, patience, capture_output=True, text=True)
        return _last_cause(found.stderr) if found.returncode else None

    def install_project(self) -> None:
        """Installs the service itself, editable and with its extras, as in constraints.txt."""
        self._run(
            *self.options, "--constraints", str(CONSTRAINTS), "--editable", f"{ROOT}[{EXTRAS}]"
        )

    def _run(self, *arguments: str) -> None:
        if self._call(list(arguments)).returncode:
            _end("the packages could not be installed; the reason is above")

    def _call(
        self, arguments: list[str], environment: dict[str, str] | None = None, **how: bool
    ) -> subprocess.CompletedProcess[str]:
        quiet = [] if sys.stderr.isatty() else ["--quiet"]
        command = [str(self.python.with_name("uv")), "pip", "install", *quiet, "--system-certs"]
        command += ["--python", str(self.python), *arguments]
        set_here = {**os.environ, **self.environment, **(environment or {})}
        set_here.pop("VIRTUAL_ENV", None)
        return subprocess.run(command, env=set_here, check=False, **how)  # type: ignore[call-overload, no-any-return]


def create_installer() -> Installer:
    """uv in .venv, at the version in constraints.txt, with pip's configuration."""
    python = VENV / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    if not python.with_name("uv").is_file():
        wanted = ["install", "--quiet", "--constraint", str(CONSTRAINTS), "uv"]
        if subprocess.run([*pip, *wanted], check=False).returncode:
            _end("pip could not install uv, which installs the rest; the reason is above")
    config = subprocess.run([*pip, "config", "list"], capture_output=True, text=True, check=True)
    options, environment = translate(parse_pip_config(config.stdout))
    return Installer(python=python, options=options, environment=environment)


def parse_pip_config(text: str) -> dict[str, str]:
    """The settings of `pip install`, from `pip config list`. The environment takes precedence."""
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        section, dot, key = name.rpartition(".")
        if equals and dot and section in found:
            found[section][key] = str(ast.literal_eval(value))
    return {**found["global"], **found["install"], **found[":env:"]}


def translate(config: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """pip's settings as options and variables of uv.

    uv is told to search every index for every package, as pip does.
    """
    options = ["--index-strategy", "unsafe-best-match"]
    names = {
        "index-url": "--default-index",
        "extra-index-url": "--index",
        "find-links": "--find-links",
        "constraint": "--constraints",
        "trusted-host": "--allow-insecure-host",
    }
    for key, option in names.items():
        for value in config.get(key, "").split():
            options += [option, value]
    if config.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        options.append("--no-index")
    variables = {
        "cert": ["SSL_CERT_FILE"],
        "client-cert": ["SSL_CLIENT_CERT"],
        "proxy": ["HTTPS_PROXY", "HTTP_PROXY"],
        "timeout": ["UV_HTTP_TIMEOUT"],
        "default-timeout": ["UV_HTTP_TIMEOUT"],
    }
    return options, {v: config[key] for key, vs in variables.items() if key in config for v in vs}


def _find_pins(*names: str) -> list[str]:
    lines = CONSTRAINTS.read_text().splitlines()
    return [line for line in lines if line.partition("==")[0] in names]


def _last_cause(stderr: str) -> str:
    """uv's own reason in one line. The innermost cause comes last."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    causes = [line for line in lines if line.lower().startswith(("caused by", "cause"))]
    return (causes or lines or ["uv gave no reason"])[-1].rpartition("cause: ")[2]


def _find_torch() -> str:
    """The installed version with its build label: `2.13.0+cpu`, `2.13.0+cu130`; "" if absent."""
    found = list(VENV.glob("lib/python3.*/site-packages/torch/version.py"))
    lines = found[0].read_text().splitlines() if found else []
    versions = [line for line in lines if line.startswith("__version__")]
    return str(ast.literal_eval(versions[0].partition("=")[2].strip())) if versions else ""


def _build_of(version: str) -> str:
    return "cuda" if "+cu" in version else "cpu"


def _digest() -> str:
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in INPUTS)).hexdigest()


def _size_gb(folder: Path) -> float:
    """The disk space that the files take. A file with several names counts once."""
    sizes = {
        (found.st_dev, found.st_ino): found.st_blocks * 512
        for path in folder.rglob("*")
        for found in [path.lstat()]
    }
    return sum(sizes.values()) / 1e9


def _end(reason: str) -> str:
    sys.exit(f"setup: {reason}.")


if __name__ == "__main__":
    main()
