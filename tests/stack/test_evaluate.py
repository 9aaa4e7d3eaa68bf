"""A dataset certified by the service is what the same command certifies on one machine."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from boundary_images import create_boundary_image
from command import PROMPTSMOOTH
from PIL import Image
from waiting import HANG_S, wait_until

from models.prompts.cards import PromptCard
from models.prompts.catalogue import load_prompt_catalogue
from models.prompts.files import save_prompt
from models.prompts.prompt import Prompt
from worker.evaluation.run_file import RUN_FILE
from worker.evaluation.run_secret import OLD_FILE

pytestmark = pytest.mark.long
CLASSES = ("hand X-ray", "chest CT", "abdominal CT")


def write_images(root: Path, classes: Sequence[str], images: int, *, seed: int) -> Path:
    """A dataset of so many pictures of noise in each class."""
    rng = np.random.default_rng(seed)
    for number, name in enumerate(classes):
        folder = root / "test" / name
        folder.mkdir(parents=True)
        for place in range(images):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) // (number + 1)
            Image.fromarray(pixels).save(folder / f"{place}.png")
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Nine pictures in three classes, one of them no picture."""
    root = write_images(tmp_path / "data", CLASSES, 3, seed=29)
    (root / "test" / CLASSES[0] / "0.png").write_bytes(b"no picture")
    return root


@pytest.fixture
def own_prompt(tmp_path: Path) -> Path:
    """The card of a prompt that no service has: a shipped one, shifted a little."""
    card, prompt = load_prompt_catalogue().get("bundled-2-mednist").load()
    moved = Prompt(ctx=prompt.ctx + np.float32(0.01), suffix=prompt.suffix)
    own = card.model_copy(update={"id": "moved", "sha256": moved.sha256, "learning": None})
    return save_prompt(tmp_path / "prompts", PromptCard.model_validate(own.model_dump()), moved)


def begin(*arguments: object, **variables: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [PROMPTSMOOTH, "evaluate", *map(str, arguments)],
        env={**os.environ, **variables},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )


def run(*arguments: object, **variables: str) -> str:
    process = begin(*arguments, **variables)
    out, error = process.communicate(timeout=HANG_S)
    assert process.returncode == 0, error
    return out + error


def read_images(folder: Path) -> list[dict]:
    """The lines of a run's images, in order."""
    lines = [json.loads(line) for line in (folder / RUN_FILE).read_text().splitlines()[1:]]
    return sorted(lines, key=lambda line: line["place"])


def strip(result: dict) -> dict:
    """What a certificate claims and draws: no signature, times, ids of prompts or their origin."""

    def clean(value: object) -> object:
        if isinstance(value, list):
            return [clean(one) for one in value]
        if not isinstance(value, dict):
            return value
        if value.keys() == {"id", "sha256", "method"}:
            return value["sha256"]
        return {k: clean(v) for k, v in value.items() if k != "seconds"}

    return clean({name: value for name, value in result.items() if name != "signature"})


def test_a_service_certifies_a_dataset_as_one_machine_does_though_it_is_interrupted(
    stack, data: Path, own_prompt: Path, tmp_path: Path
):
    """The client is killed on the way. Skipped images and all figures are the same."""
    server = str(stack.http.base_url)
    asked = [
        *("--data", data, "--images", 9, "--n-max", 48, "--sigma", "0.25", "--prompt", own_prompt),
        *("--prompting", "template", "--prompting", "few-shot", "--prompting", "zero-shot"),
        *("--data-dir", tmp_path / "own", "--quiet"),
    ]
    remote, local = tmp_path / "remote", tmp_path / "local"
    process = begin(*asked, "--server", server, "--out", remote)
    lines = remote / RUN_FILE
    wait_until(lambda: lines.exists() and lines.read_bytes().count(b"\n") > 2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    begun = lines.read_bytes()
    run(*asked, "--server", server, "--out", remote)
    assert lines.read_bytes().startswith(begun[: begun.rindex(b"\n")]), "nothing is made again"

    local.mkdir()
    shutil.copy(find_secret(stack), local / OLD_FILE)
    run(*asked, "--out", local)
    theirs, ours = read_images(remote), read_images(local)
    assert [image["file"] for image in theirs] == [image["file"] for image in ours]
    assert [image.get("code") for image in theirs] == [image.get("code") for image in ours]
    finished = [pair for pair in zip(theirs, ours, strict=True) if "result" in pair[0]]
    assert len(finished) == 8
    for there, here in finished:
        assert strip(there["result"]) == strip(here["result"])
        assert there["samples"] == here["samples"]
    there, here = (json.loads((one / "results.json").read_text()) for one in (remote, local))
    assert [compare(arm) for arm in there["arms"]] == [compare(arm) for arm in here["arms"]]


def compare(arm: dict) -> dict:
    """A row of the table, without what names or times it."""
    return {k: v for k, v in arm.items() if k not in ("target", "mean_adaptation_s")}


def find_secret(stack) -> Path:
    (found,) = stack.log.parent.rglob("key-secret")
    return found


def test_a_job_that_somebody_cancels_is_sent_again(stack, data: Path, tmp_path: Path):
    """One is cancelled while it runs; all are certified in the end."""
    server, out = str(stack.http.base_url), tmp_path / "run"
    asked = ("--data", data, "--images", 3, "--n-max", 1000, "--tolerance", "0", "--sigma", "0.25")
    process = begin(*asked, "--server", server, "--out", out, "--data-dir", tmp_path / "own")
    first = wait_until(lambda: cancel_live(stack))
    _, error = process.communicate(timeout=HANG_S)
    assert process.returncode == 0, error
    images = [image for image in read_images(out) if "code" not in image]
    assert len(images) >= 2
    assert all("result" in image for image in images)
    ids = {image["certification"] for image in images}
    assert first.rsplit("/", 1)[1] not in ids


def test_the_service_looks_for_witnesses_of_the_first_certified_images(
    stack, linear, tmp_path: Path
):
    """Also of images that an earlier sitting certified. What is kept is not asked for again."""
    images = write_boundary_images(tmp_path / "data", linear)
    asked = ("--data", tmp_path / "data", "--images", 5, "--model", "linear", "--sigma", "0.25")
    server = ("--server", stack.http.base_url, "--data-dir", tmp_path / "own")
    server += ("--n-max", 3000)
    out, other = tmp_path / "run", tmp_path / "other"
    run(*asked, *server, "--out", out)
    assert "tightness" not in (out / "results.json").read_text()
    run(*asked, *server, "--out", out, "--witness", 3)
    certified = [image for image in read_images(out) if "result" in image]
    assert len(certified) == 4
    found = read_witnesses(out)
    assert sorted(found) == [image["place"] for image in certified[:3]]
    for image in certified[:3]:
        (one,) = found[image["place"]]["witnesses"]
        truth = linear.distance(images[image["file"]])
        assert (one["radius"] or 0) <= truth <= one["undefended"]["distance"]
    (arm,) = json.loads((out / "results.json").read_text())["arms"]
    assert (arm["tightness"]["images"], arm["tightness"]["alarms"]) == (3, 0)
    assert len(arm["tightness"]["undefended"]) == 3
    run(*asked, *server, "--out", other, "--witness", 3)
    assert read_witnesses(other) == found
    for image in certified:
        stack.http.delete(f"/certifications/{image['certification']}").raise_for_status()
    run(*asked, *server, "--out", out, "--witness", 3)
    refused = begin(*asked, *server, "--out", out, "--witness", 4)
    said = " ".join(refused.communicate(timeout=HANG_S)[1].split())
    assert "no witness of it can be looked for: lower --witness" in said
    assert refused.returncode == 2


def write_boundary_images(root: Path, linear) -> dict[str, np.ndarray]:
    """Two images near the plane in each class, and one file that is no picture."""
    images = {}
    for name, distances in zip(linear.class_names, ((0.06, 0.12), (0.09, 0.15)), strict=True):
        (root / "test" / name).mkdir(parents=True)
        for place, distance in enumerate(distances):
            image = create_boundary_image(linear, distance=distance)
            images[f"{name}/{place}.png"] = image
            path = root / "test" / name / f"{place}.png"
            Image.fromarray(image.transpose(1, 2, 0)).save(path)
    (root / "test" / linear.class_names[0] / "2.png").write_bytes(b"no picture")
    return images


def read_witnesses(folder: Path) -> dict[int, dict]:
    lines = (folder / "witnesses.jsonl").read_text().splitlines()
    return {one["place"]: one["witness"] for one in map(json.loads, lines)}


def cancel_live(stack) -> str | None:
    """The address of a running job that is cancelled now; none if each had ended by then."""
    page = stack.http.get("/certifications", params={"status": "running"}).json()
    for place in (one["links"]["self"] for one in page["certifications"]):
        answer = stack.http.delete(place, params={"only": "cancel"}).raise_for_status()
        if answer.json()["status"] == "cancelled":
            return place
    return None


def test_app_worker_engine_and_redis_are_killed_and_the_results_are_those_of_one_machine(
    start_service, tmp_path: Path, models_folder: Path
):
    """Each in turn, under way: of an evaluation from outside, and of one that the service runs."""
    root = write_images(tmp_path / "sets" / "noise", ("below", "above"), 8, seed=31)
    write_images(root.parent / "others", ("below", "above"), 8, seed=37)  # attempts are counted
    stack = start_service(datasets=str(root.parent))
    asked = ["--data", root, "--images", 16, "--model", "linear", "--sigma", "0.25"]
    asked += ["--n-max", 2000, "--tolerance", "0"]
    out, local, models = tmp_path / "run", tmp_path / "local", str(models_folder)
    server = ("--server", stack.http.base_url, "--out", out, "--data-dir", tmp_path / "own")
    process = begin(*asked, *server)
    body = {"dataset": "others", "images": 16, "model": "linear", "sigma": ["0.5"], "n_max": 2000}
    inside = stack.http.post("/evaluations", json=body).raise_for_status().headers["Location"]
    lines = out / RUN_FILE
    for number, part in enumerate(("-m app", "worker.rq_worker", "worker.engine", "unixsocket")):
        least = 3 * (number + 1)
        wait_until(lambda least=least: lines.exists() and count_lines(lines) >= least)
        wait_until(lambda part=part: stack.processes(part))[0].kill()
    _, error = process.communicate(timeout=HANG_S)
    assert process.returncode == 0, error
    ended = stack.wait_for(inside, lambda shown: shown["status"] in ("finished", "failed"))
    assert (ended["status"], ended["done"]) == ("finished", 16)
    local.mkdir()
    shutil.copy(find_secret(stack), local / OLD_FILE)
    run(*asked, "--out", local, "--data-dir", tmp_path / "own", PROMPTSMOOTH_MODELS=models)
    theirs, ours = read_images(out), read_images(local)
    assert len({image["certification"] for image in theirs}) == 16
    for there, here in zip(theirs, ours, strict=True):
        assert strip(there["result"]) == strip(here["result"])


def count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


@pytest.fixture
def start_service(start, stop, tmp_path: Path, free_port: int, models_folder: Path):
    """Starts a service of the test's own, with these settings, and stops it in the end."""
    running = []

    def create(**settings: str):
        running.append(start(tmp_path / "service", free_port, models=models_folder, **settings))
        return running[0]

    yield create
    stop(running[0])
