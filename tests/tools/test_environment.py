"""`make setup`: which build of torch is installed, from where, and what is said about it.

The program runs as it does for a user, in a folder of its own, with the real uv. The indexes are
served here, and their torch is a few lines long.
"""

import os
import shutil
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest

from tools.environment import parse_pip_config, translate

REPOSITORY = Path(__file__).parents[2]
TORCH, TORCHVISION = "2.13.0", "0.28.0"
BACKEND = """
import zipfile
def build_editable(folder, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(f"{folder}/tiny-1-py3-none-any.whl", "w") as wheel:
        for name, text in {
            "METADATA": "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1\\n",
            "WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
            "RECORD": "",
        }.items():
            wheel.writestr(f"tiny-1.dist-info/{name}", text)
    return "tiny-1-py3-none-any.whl"
"""
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "tiny"
version = "1"
dependencies = ["torch==2.13.0"]
optional-dependencies = {worker = [], local = [], dev = []}
"""


@dataclass
class Indexes:
    """Package indexes on this machine, and the paths that were asked of them."""

    url: str
    folder: Path
    asked: list[str] = field(default_factory=list)

    def offer(self, index: str, name: str, version: str) -> None:
        folder = self.folder / index / name
        folder.mkdir(parents=True, exist_ok=True)
        file = f"{name}-{version}-py3-none-any.whl"
        write_wheel(folder / file, name, version)
        with (folder / "index.html").open("a") as page:
            page.write(f'<a href="{file.replace("+", "%2B")}">{file}</a>\n')


def write_wheel(path: Path, name: str, version: str) -> None:
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    wheel_text = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", "")
        wheel.writestr(f"{name}/version.py", f"__version__ = {version!r}\n")
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(f"{info}/WHEEL", wheel_text)
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def indexes(tmp_path: Path) -> Iterator[Indexes]:
    """`pip` offers the builds that everybody gets; `pytorch` offers the CPU builds."""
    found = Indexes(url="", folder=tmp_path / "indexes")

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_arguments: object) -> None:
            found.asked.append(self.path)

    handler = partial(Handler, directory=str(found.folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found.url = f"http://127.0.0.1:{server.server_address[1]}"
        found.offer("pip", "torch", TORCH)
        found.offer("pip", "torchvision", TORCHVISION)
        found.offer("pytorch", "torch", f"{TORCH}+cpu")
        found.offer("pytorch", "torchvision", f"{TORCHVISION}+cpu")
        yield found
        server.shutdown()


@pytest.fixture(scope="module")
def empty_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a new .venv that has pip and uv."""
    folder = tmp_path_factory.mktemp("empty")
    subprocess.run([sys.executable, "-m", "venv", folder / ".venv"], check=True)
    shutil.copy(Path(sys.executable).with_name("uv"), folder / ".venv" / "bin" / "uv")
    return folder


@pytest.fixture
def checkout(empty_environment: Path) -> Iterator[Path]:
    """A small project with the program in it; the environment is empty again afterwards."""
    folder = empty_environment
    (folder / "tools").mkdir(exist_ok=True)
    shutil.copy(REPOSITORY / "tools" / "environment.py", folder / "tools")
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "backend.py").write_text(BACKEND)
    (folder / "constraints.txt").write_text(f"torch=={TORCH}\ntorchvision=={TORCHVISION}\n")
    yield folder
    uv, python = folder / ".venv" / "bin" / "uv", folder / ".venv" / "bin" / "python"
    command = [uv, "pip", "uninstall", "-q", "--python", python, "torch", "torchvision", "tiny"]
    subprocess.run(command, check=True)
    (folder / ".venv" / "installed").unlink(missing_ok=True)


def set_up(
    checkout: Path, indexes: Indexes, *options: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs the program as a user without any setting but those named."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(checkout),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": f"{indexes.url}/pip",
        **variables,
    }
    command = [sys.executable, str(checkout / "tools" / "environment.py"), *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def get_torch(checkout: Path) -> str:
    (file,) = (checkout / ".venv").glob("lib/python3.*/site-packages/torch/version.py")
    return file.read_text().split("'")[1]


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address that refuses every connection: bound, and never listened on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{probe.getsockname()[1]}/cpu"


def test_the_cpu_build_comes_from_its_own_index(checkout: Path, indexes: Indexes) -> None:
    done = set_up(checkout, indexes, "--torch=cpu", TORCH_INDEX_URL=f"{indexes.url}/pytorch")
    assert done.returncode == 0, done.stderr
    assert get_torch(checkout) == f"{TORCH}+cpu"
    assert "installing" in done.stdout
    assert "3.0 GB" in done.stdout  # before it starts: what, how much, where
    assert str(checkout / ".venv") in done.stdout
    assert "/pip/torch/" not in indexes.asked[: indexes.asked.index("/pytorch/torch/")]


def test_an_index_that_cannot_be_reached_is_named_with_what_was_taken_instead(
    checkout: Path, indexes: Indexes, nobody: str
) -> None:
    done = set_up(checkout, indexes, TORCH_INDEX_URL=nobody, PATH=str(checkout))
    assert done.returncode == 0, done.stderr
    assert f"{nobody} cannot be used (" in done.stdout
    assert "using pip's own index for torch" in done.stdout
    assert "may be the CUDA build" in done.stdout
    assert f"done, with torch {TORCH}," in done.stdout


def test_a_cpu_build_that_was_asked_for_and_cannot_be_had_ends_set_up(
    checkout: Path, indexes: Indexes, nobody: str
) -> None:
    done = set_up(checkout, indexes, "--torch=cpu", TORCH_INDEX_URL=nobody)
    assert done.returncode == 1
    assert "could not be installed" in done.stderr
    assert not (checkout / ".venv" / "installed").exists()


def test_the_cuda_build_is_not_replaced_by_a_cpu_wheel_that_lies_on_the_disk(
    checkout: Path, indexes: Indexes
) -> None:
    wheels = indexes.folder / "pytorch" / "torch"
    done = set_up(checkout, indexes, "--torch=cuda", PIP_FIND_LINKS=str(wheels))
    assert done.returncode == 0, done.stderr
    assert get_torch(checkout) == TORCH


def test_pip_find_links_are_honoured(checkout: Path, indexes: Indexes, nobody: str) -> None:
    wheels = indexes.folder / "pytorch" / "torch"
    done = set_up(
        checkout, indexes, "--torch=cpu", TORCH_INDEX_URL=nobody, PIP_FIND_LINKS=str(wheels)
    )
    assert done.returncode == 0, done.stderr
    assert get_torch(checkout) == f"{TORCH}+cpu"


def test_a_complete_environment_is_left_alone_until_its_inputs_change(
    checkout: Path, indexes: Indexes
) -> None:
    index = {"TORCH_INDEX_URL": f"{indexes.url}/pytorch"}
    assert set_up(checkout, indexes, **index).returncode == 0
    asked = len(indexes.asked)
    again = set_up(checkout, indexes, **index)
    assert (again.returncode, again.stdout, len(indexes.asked)) == (0, "", asked)
    with (checkout / "constraints.txt").open("a") as file:
        file.write("# another day\n")
    assert "setup: done" in set_up(checkout, indexes, **index).stdout


def test_a_gpu_that_answers_asks_for_the_cuda_build(
    checkout: Path, indexes: Indexes, tmp_path: Path
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: A GPU (UUID: GPU-0)'\n")
    program.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = set_up(checkout, indexes, PATH=path)
    assert "CUDA build (an NVIDIA GPU answers" in done.stdout
    assert get_torch(checkout) == TORCH
    program.write_text("#!/bin/sh\necho 'no driver' >&2; exit 9\n")
    (checkout / ".venv" / "installed").unlink()
    done = set_up(checkout, indexes, PATH=path, TORCH_INDEX_URL=f"{indexes.url}/pytorch")
    assert "CPU build (no NVIDIA GPU answers" in done.stdout


def test_pip_settings_are_read_with_the_environment_first() -> None:
    listed = (
        ":env:.index-url='https://two/simple'\nglobal.index-url='https://one/simple'\n"
        "global.find-links='/a\\n/b'\ninstall.constraint='/c.txt'\nfreeze.all='true'\n"
    )
    assert parse_pip_config(listed) == {
        "index-url": "https://two/simple",
        "find-links": "/a\n/b",
        "constraint": "/c.txt",
    }


def test_every_setting_of_pip_that_decides_where_packages_come_from_reaches_uv() -> None:
    options, variables = translate(
        {
            "index-url": "https://one/simple",
            "extra-index-url": "https://two/simple\nhttps://three/simple",
            "find-links": "/a /b",
            "constraint": "/c.txt",
            "trusted-host": "one",
            "no-index": "true",
            "cert": "/ca.pem",
            "proxy": "http://proxy:3128",
            "timeout": "60",
        }
    )
    pairs = list(pairwise(options))
    for pair in [
        ("--default-index", "https://one/simple"),
        ("--index", "https://two/simple"),
        ("--index", "https://three/simple"),
        ("--find-links", "/a"),
        ("--find-links", "/b"),
        ("--constraints", "/c.txt"),
        ("--allow-insecure-host", "one"),
    ]:
        assert pair in pairs
    assert "--no-index" in options
    assert variables == {
        "SSL_CERT_FILE": "/ca.pem",
        "HTTPS_PROXY": "http://proxy:3128",
        "HTTP_PROXY": "http://proxy:3128",
        "UV_HTTP_TIMEOUT": "60",
    }
