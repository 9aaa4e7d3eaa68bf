"""The files of a deployment say the same: compose files, settings, lock files, images."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.client import UnsafeAddress
from app.deployment.settings import DeploymentSettings
from app.deployment.variables import name_variable
from app.dicom.rules import load_rules
from app.dicom.service import create_client
from app.dicom.settings import DicomSettings
from app.publish import COMPOSED
from app.settings import AppSettings
from worker.settings import WorkerSettings

REPOSITORY = Path(__file__).parents[2]
COMPOSE_FILES = sorted(path.name for path in REPOSITORY.glob("*compose*.yml"))
LOCKS = sorted(path.name for path in (REPOSITORY / "docker").glob("*.lock"))
HEAVY = {
    *("torch", "torchvision", "open-clip-torch", "openvino", "transformers"),
    *("numba", "mpmath"),
}


def read(name: str) -> str:
    return (REPOSITORY / name).read_text()


def load_services(name: str = "docker-compose.yml") -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = yaml.safe_load(read(name))["services"]
    return services


def locked(name: str) -> dict[str, str]:
    """Versions by normalised name."""
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", read(f"docker/{name}"), re.MULTILINE))


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_variables_of_a_compose_file_are_settings_with_the_same_default(name: str) -> None:
    fields = {
        str(f.validation_alias or f"PROMPTSMOOTH_{n.upper()}"): str(f.default)
        for n, f in DeploymentSettings.model_fields.items()
    }
    for variable, default in re.findall(r"\$\{(\w+):-([^}]*)\}", read(name)):
        assert fields[variable] == default, variable
    for service in yaml.safe_load(read(name))["services"].values():
        args = service.get("build", {}).get("args", [])
        assert {a for a in args if a.startswith("PROMPTSMOOTH_")} <= {"PROMPTSMOOTH_REVISION"}


def test_what_compose_says_itself_is_not_offered_as_a_setting() -> None:
    services = load_services()
    said = {n for s in ("app", "worker", "node") for n in services[s]["environment"]}
    known = {
        str(f.validation_alias or f"PROMPTSMOOTH_{n.upper()}")
        for settings in (AppSettings, WorkerSettings)
        for n, f in settings.model_fields.items()
    } | {name_variable(DicomSettings, name) for name in DicomSettings.model_fields}
    assert said & known == COMPOSED & known
    assert not COMPOSED & set(re.findall(r"^#(\w+)=", read(".env.example"), re.MULTILINE))


@pytest.mark.parametrize("file", ["docker-compose.yml", "compose.worker-host.yml"])
def test_every_service_is_hardened(file: str) -> None:
    for name, service in load_services(file).items():
        assert service["read_only"], name
        assert service["init"], name
        assert service["cap_drop"] == ["ALL"], name
        assert "cap_add" not in service, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["pids_limit"] > 0, name
        assert service["mem_limit"], name
        assert service["logging"]["options"]["max-size"], name
        assert service["tmpfs"], name
        assert service["restart"] == ("no" if name == "prepare" else "unless-stopped")
        assert name == "prepare" or "healthcheck" in service, name
        if "ports" in service:
            assert name in {"proxy", "node", "orthanc"}
            assert name == "proxy" or service["profiles"], name


def test_the_example_of_a_node_has_rules_that_can_be_used() -> None:
    rules = load_rules(REPOSITORY / "docker" / "pacs" / "rules.toml")
    assert {rule.source for rule in rules.rules} == {"orthanc"}


def test_the_settings_of_the_composed_node_reach_the_service(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its key goes over http to another container, which no client does unless it is told to."""
    for name, value in load_services("docker-compose.yml")["node"]["environment"].items():
        monkeypatch.setenv(name, value)
    (tmp_path / "node.key").write_text("psk_0123456789")
    monkeypatch.setenv("PROMPTSMOOTH_DICOM_API_KEY_FILE", str(tmp_path / "node.key"))
    create_client(DicomSettings()).close()
    monkeypatch.delenv("PROMPTSMOOTH_DICOM_ALLOW_PLAIN_HTTP")
    with pytest.raises(UnsafeAddress, match="unencrypted"):
        create_client(DicomSettings())


def test_lock_files_hold_the_tested_versions() -> None:
    tested = {
        re.sub(r"[-_.]+", "-", name).lower(): version
        for name, version in re.findall(r"^(\S+)==(\S+)$", read("constraints.txt"), re.MULTILINE)
    }
    for name in set(LOCKS) - {"sbom.lock"}:
        differing = {
            package: version
            for package, version in locked(name).items()
            if tested.get(package, version) != version
        }
        assert not differing, name


def test_lock_files_hold_what_the_project_asks_for() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[<>=\[ ]", r)[0].lower().replace("_", "-") for r in requirements}

    core, worker = project["dependencies"], project["optional-dependencies"]["worker"]
    assert names(core) <= set(locked("app.lock"))
    extras = project["optional-dependencies"]
    assert names(extras["oidc"] + extras["dicom"]) <= set(locked("app.lock"))
    cpu = set(re.findall(r"^(\w+)==", read("docker/torch-cpu.txt"), re.MULTILINE))
    assert cpu == {"torch", "torchvision"}
    assert names(core + worker) <= set(locked("worker.lock")) | cpu
    assert names(core + worker) <= set(locked("worker.lock")) | set(locked("torch-cuda.lock"))


def test_no_image_has_the_package_that_reports_the_use_of_openvino() -> None:
    assert "openvino" in locked("worker.lock")
    assert not {name for lock in LOCKS for name in locked(lock) if "openvino-telemetry" in name}


def test_the_app_is_locked_to_nothing_heavy() -> None:
    assert not set(locked("app.lock")) & HEAVY


@pytest.mark.parametrize("name", LOCKS)
def test_everything_locked_has_hashes(name: str) -> None:
    blocks = re.split(r"^(?=[a-z])", read(f"docker/{name}"), flags=re.MULTILINE)[1:]
    assert blocks
    assert all("--hash=sha256:" in block for block in blocks)


@pytest.mark.parametrize("name", ["app", "worker"])
def test_an_image_is_labelled_with_the_version_of_the_project(name: str) -> None:
    version = tomllib.loads(read("pyproject.toml"))["project"]["version"]
    assert f'image.version="{version}"' in read(f"docker/{name}.Dockerfile")


@pytest.mark.parametrize("name", ["app", "worker"])
def test_nothing_is_installed_in_the_stage_that_ships(name: str) -> None:
    """Compilers and pip's work stay in the stage before: what ships is copied from there."""
    built, shipped = re.split(r"^FROM .*$", read(f"docker/{name}.Dockerfile"), flags=re.MULTILINE)[
        1:
    ]
    assert "pip" in built
    assert not re.search(r"apt-get|pip|gcc", shipped)
    assert "COPY --from=build /opt/venv /opt/venv" in shipped


def test_the_cuda_image_launches_kernels_without_a_compiler() -> None:
    built = read("docker/worker.Dockerfile").split("\nFROM ")[1]
    (step,) = (each for each in built.split("\nRUN ") if "worker.engine.runner.launcher" in each)
    assert step.startswith('if [ "${TORCH}" = cuda ]')
    assert "gcc" in step
