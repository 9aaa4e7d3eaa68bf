"""Clients that generators make of the interface's description certify an image: make test-clients.

Generators lie in an environment of their own, which the make target installs.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.clients

HERE = Path(__file__).with_name("generated")
TOOLS = Path(__file__).parents[2] / "build" / "clients"
PYTHON = TOOLS / "bin" / "python"
NPM = TOOLS / "node_modules"
# It takes no other type for bytes.
PICTURES = """\
content_type_overrides:
  image/png: application/octet-stream
  application/pdf: application/octet-stream
"""


@pytest.fixture(scope="module")
def description(stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The document that the running service answers."""
    path = tmp_path_factory.mktemp("clients") / "openapi.json"
    path.write_bytes(stack.http.get("/openapi.json").content)
    return path


@pytest.fixture
def image(linear, to_png, tmp_path: Path) -> str:
    """An image far from the plane of the linear model, so that it is certified."""
    path = tmp_path / "image.png"
    path.write_bytes(to_png(np.where(linear.weight > 0, 200, 60).astype(np.uint8)))
    return str(path)


def run(*command: object, **environment: str) -> str:
    surroundings = {**os.environ, "PATH": f"{TOOLS / 'bin'}:{os.environ['PATH']}", **environment}
    done = subprocess.run(
        list(map(str, command)), env=surroundings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def require(path: Path) -> None:
    if not path.exists():
        pytest.skip(f"{path.relative_to(TOOLS.parents[1])} is not installed (make test-clients)")


def check(stack, printed: str) -> None:
    """What the client read is what the service answers to whoever asks it."""
    read: dict[str, Any] = json.loads(printed.splitlines()[-1])
    (certificate,) = stack.http.get(f"/certifications/{read['id']}").json()["certificates"]
    assert (read["radius"], read["prediction"]) == (
        certificate["radius"],
        certificate["prediction"],
    )
    assert read["refusal"] == "request_invalid"


def test_the_client_of_openapi_python_client_certifies(stack, description, image, tmp_path):
    require(PYTHON)
    config = tmp_path / "config.yml"
    config.write_text(PICTURES)
    made = tmp_path / "made"
    generate = (TOOLS / "bin" / "openapi-python-client", "generate", "--path", description)
    said = run(*generate, "--output-path", made, "--config", config)
    assert "WARNING" not in said, said
    program = HERE / "with_openapi_python_client.py"
    check(stack, run(PYTHON, program, stack.http.base_url, image, "linear", PYTHONPATH=str(made)))


def test_the_client_of_openapi_generator_certifies(stack, description, image, tmp_path):
    require(PYTHON)
    generate = (TOOLS / "bin" / "openapi-generator-cli", "generate", "-g", "python")
    made = tmp_path / "made"
    said = run(*generate, "-i", description, "-o", made)
    assert "There were issues" not in said, said
    program = HERE / "with_openapi_generator.py"
    check(stack, run(PYTHON, program, stack.http.base_url, image, "linear", PYTHONPATH=str(made)))


def test_the_types_of_openapi_typescript_certify(stack, description, image, tmp_path):
    require(NPM / "typescript")
    (tmp_path / "node_modules").symlink_to(NPM)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    program = tmp_path / "client.ts"
    program.write_text((HERE / "with_openapi_typescript.ts").read_text())
    types = tmp_path / "api.d.ts"
    run(
        NPM / ".bin" / "openapi-typescript",
        description,
        "--default-non-nullable",
        "false",
        "-o",
        types,
    )
    options = (
        "--strict",
        "--target",
        "es2022",
        "--module",
        "nodenext",
        "--types",
        "node",
        "--typeRoots",
        NPM / "@types",
    )
    run(NPM / ".bin" / "tsc", *options, "--noUncheckedIndexedAccess", program, types)
    check(stack, run("node", program.with_suffix(".js"), stack.http.base_url, image, "linear"))
