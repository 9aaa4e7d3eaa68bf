"""The scripts of docker/operate: each says what it does and refuses wrong use with a sentence."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml
from waiting import HANG_S

REPOSITORY = Path(__file__).parents[2]
SCRIPTS = sorted(
    path.name for path in (REPOSITORY / "docker/operate").glob("*.sh") if path.name != "lib.sh"
)
TAKE_A_FOLDER = ["airgap.sh", "backup.sh", "restore.sh", "upgrade.sh", "worker-host.sh"]


def call(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Without any engine: what is refused here is refused before one is asked."""
    return subprocess.run(
        ["bash", REPOSITORY / "docker/operate" / name, *arguments],
        env={**os.environ, "DOCKER_HOST": "unix:///nowhere"},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_says_how_a_script_is_called(name: str) -> None:
    done = call(name, "--help")
    assert done.returncode == 0, done.stderr
    assert name in done.stdout
    assert len(done.stdout.splitlines()) >= 3
    assert not done.stderr


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_unknown_option_is_refused(name: str) -> None:
    done = call(name, "--relpace")
    assert done.returncode == 2
    assert "--relpace is not an option" in done.stderr
    assert "--help" in done.stderr


@pytest.mark.parametrize("name", TAKE_A_FOLDER)
def test_another_number_of_folders_is_refused(name: str) -> None:
    for arguments in ([], ["a", "b"]):
        done = call(name, *arguments)
        assert done.returncode == 2
        assert "folder" in done.stderr


@pytest.mark.parametrize("name", sorted({*TAKE_A_FOLDER} - {"restore.sh"}))
def test_a_folder_that_is_there_is_left_alone(name: str, tmp_path: Path) -> None:
    done = call(name, str(tmp_path))
    assert done.returncode == 1
    assert "exists already" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", sorted({*TAKE_A_FOLDER} - {"restore.sh"}))
def test_nothing_is_written_where_no_engine_answers(name: str, tmp_path: Path) -> None:
    done = call(name, str(tmp_path / "new"))
    assert done.returncode == 1
    assert "no Docker engine answers" in done.stderr
    assert not list(tmp_path.iterdir())


def test_what_is_no_backup_is_not_put_back(tmp_path: Path) -> None:
    assert "is not a backup" in call("restore.sh", str(tmp_path), "--replace").stderr


@pytest.mark.parametrize("file", ["docker-compose.yml", "compose.worker-host.yml"])
def test_each_further_gpu_has_a_worker_of_its_own(file: str) -> None:
    option = ["--worker-host"] if "worker-host" in file else []
    overlay = call("gpus.sh", *option, "1", "GPU-5f2c").stdout
    overlay = overlay.replace("!reset ", "").replace("!override ", "")
    services = yaml.safe_load(overlay)["services"]
    assert list(services) == ["worker-gpu-1", "worker-gpu-GPU-5f2c"]
    for name, service in services.items():
        reserved = service["deploy"]["resources"]["reservations"]["devices"]
        assert [f"worker-gpu-{gpu}" for gpu in reserved[0]["device_ids"]] == [name]
        assert service["extends"] == {"file": file, "service": "worker"}


def test_what_is_no_gpu_is_refused_before_anything_is_printed() -> None:
    done = call("gpus.sh", "1", 'x"]')
    assert done.returncode == 2
    assert not done.stdout
