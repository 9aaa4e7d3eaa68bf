"""The whole service: an image over HTTP, certificates back."""

import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from command import PROMPTSMOOTH
from pydicom.data import get_testdata_file
from typer.testing import CliRunner
from waiting import HANG_S, wait_until

from app.cli.__main__ import cli
from worker.certification import certify_cohen


def grey(seed: int, size: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 200, (3, size, size)).astype(np.uint8)


def test_real_dicom_files_come_back_with_certificates_or_abstentions(stack):
    for name in ("CT_small.dcm", "MR_small.dcm"):
        data = Path(get_testdata_file(name)).read_bytes()
        answer = stack.certify(data, sigma=["0.1", "0.5"], n="200")
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert found["input"]["source"] == "dicom"
        assert found["model"]["id"] == "bundled-2"
        assert [c["sigma"] for c in found["certificates"]] == [0.1, 0.5]
        assert {c["outcome"] for c in found["certificates"]} <= {"certified", "abstained"}


def test_radius_of_a_linear_model_is_below_its_distance_and_uses_what_n_allows(
    stack, linear, to_png
):
    """The oracle of geometry through HTTP, Redis, RQ and the engine (CERTIFICATE 7.2)."""
    n, alpha = 5000, 1e-3
    asked = {"model": "linear", "n": str(n), "alpha": str(alpha)}
    certified = 0
    for seed in range(5):
        image = grey(seed)
        distance = linear.distance(image)
        for sigma in (0.1, 0.2):
            answer = stack.certify(to_png(image), sigma=str(sigma), **asked)
            (entry,) = answer.json()["certificates"]
            if entry["outcome"] == "abstained":
                assert distance < 0.2 * sigma  # 100 selection samples may pick the wrong side
                continue
            certified += 1
            assert entry["class_index"] == linear.class_index(image)
            assert entry["radius"] <= distance
            assert entry["radius"] >= 0.9 * expected_radius(distance, sigma, n, alpha)
    assert certified >= 6


def expected_radius(distance: float, sigma: float, n: int, alpha: float) -> float:
    """What n allows: the radius at the expected count, less six standard deviations."""
    from scipy.stats import norm

    p = norm.cdf(distance / sigma)
    k = int(n * p - 6 * (n * p * (1 - p)) ** 0.5)
    outcome = certify_cohen([1, 0], [k, n - k], sigma=sigma, alpha=alpha)
    return getattr(outcome, "radius", 0.0)


def test_the_same_request_twice_gives_the_same_certificates(stack, to_png):
    first, second = (
        stack.certify(to_png(grey(11)), model="linear", sigma="0.25", n="500").json()
        for _ in range(2)
    )
    assert first["id"] != second["id"]
    assert first["certificates"] == second["certificates"]
    assert first["provenance"] == second["provenance"]


def test_sixteen_requests_at_once_all_finish_and_none_twice(stack, to_png):
    def submit(seed: int) -> str:
        fields = {"model": "linear", "sigma": ["0.1", "0.3"], "n": "400"}
        answer = stack.certify(to_png(grey(100 + seed)), wait=0, **fields)
        assert answer.status_code == 202, answer.text
        return answer.headers["location"]

    with ThreadPoolExecutor(16) as pool:
        locations = list(pool.map(submit, range(16)))
    assert len(set(locations)) == 16
    ends = [stack.follow(location) for location in locations]
    assert all(end["status"] == "finished" for end in ends)
    assert len({end["input"]["sha256"] for end in ends}) == 16
    for end in ends:
        assert all(c["attempts"] == 1 for c in end["certificates"])
        line = re.compile(rf'"certification_id": "{end["id"]}"')  # that says it ended
        found = wait_until(lambda line=line: line.findall(stack.log.read_text()))
        assert len(found) == 1


def test_several_images_are_a_batch(stack, to_png):
    files = [("image", to_png(grey(seed))) for seed in (40, 41, 42)]
    data = {"model": "linear", "sigma": "0.2", "n_max": "200"}
    answer = stack.http.post("/certify", files=files, data=data, headers={"Prefer": "wait=300"})
    assert answer.status_code == 200, answer.text
    batch = answer.json()
    assert (batch["done"], batch["total"]) == (3, 3)


def test_bad_input_between_good_requests_harms_nothing(stack, to_png):
    good = to_png(grey(50))
    for image, fields, status in [
        (b"", {"sigma": "0.25"}, 422),
        (good[: len(good) // 2], {"sigma": "0.25"}, 422),
        (b"no picture", {"sigma": "0.25"}, 415),
        (good, {"sigma": "0"}, 422),
        (good, {"sigma": "nan"}, 422),
        (good, {"sigma": "0.25", "n": "1000000000"}, 422),
        (good, {"sigma": "0.25", "model": "none"}, 422),
    ]:
        answer = stack.certify(image, **fields)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        again = stack.certify(good, model="linear", sigma="0.25", n="200")
        assert again.status_code == 200


def test_a_text_too_long_for_the_model_fails_with_its_reason(stack, to_png):
    names = ["a " * 99, "colon"]  # more tokens than the model takes
    answer = stack.certify(to_png(grey(60, 64)), sigma="0.25", n="100", class_name=names)
    assert answer.json()["status"] == "failed"
    assert answer.json()["failure"]["code"] == "text_unusable"


def test_names_that_the_model_reads_alike_fail_with_both_of_them(stack, to_png):
    names = ["lung", "x & y", "x &amp; y"]
    answer = stack.certify(to_png(grey(61, 64)), sigma="0.25", n="100", class_name=names)
    assert answer.json()["status"] == "failed"
    failure = answer.json()["failure"]
    assert failure["code"] == "text_unusable"
    assert "it reads 'x & y' and 'x &amp; y' alike" in failure["detail"]


def test_the_api_process_never_holds_torch(stack):
    (app,) = stack.processes("-m app")
    (engine,) = stack.processes("worker.engine")
    assert not [m for m in app.memory_maps() if "libtorch" in m.path]
    assert [m for m in engine.memory_maps() if "libtorch" in m.path]


def test_what_the_service_answers_passes_its_audit(stack, to_png):
    fields = {"sigma": ["0.1", "0.3"], "n_max": "500", "joint": "true"}
    document = stack.certify(to_png(grey(65, 64)), **fields).json()
    answer = stack.http.post("/audit", json=document).json()
    assert answer["holds"], answer
    document["certificates"][0]["statement"] += " Certainly."
    answer = stack.http.post("/audit", json=document).json()
    assert {f["code"] for f in answer["findings"] if not f["holds"]} == {"signature", "statement"}


def test_votes_of_one_s_choice_are_shown_with_their_proofs(stack, to_png, tmp_path):
    """From the running service to the command line that trusts nobody."""
    image = to_png(grey(66, 64))
    document = stack.certify(image, sigma=["0.1", "0.3"], n_max="200").json()
    location = document["links"]["self"]
    query = {"certificate": 1, "sample": [0, 63]}
    votes = stack.http.get(f"{location}/votes", params=query).json()
    assert votes["root"] == document["certificates"][1]["votes_root"]["estimation"]
    names = {"certificate.json": document, "votes.json": votes}
    for name, content in names.items():
        (tmp_path / name).write_text(json.dumps(content))
    (tmp_path / "image.png").write_bytes(image)
    files = [tmp_path / name for name in ("certificate.json", "image.png", "votes.json")]
    done = CliRunner().invoke(cli, ["check-votes", *map(str, files)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert done.stdout.count("holds") == 2
    missing = stack.http.get(f"{location}/votes", params={"certificate": 1, "sample": 10**6})
    assert missing.json()["code"] == "votes_unknown"


def test_a_data_folder_serves_one_service_at_a_time(stack, free_port):
    folder = stack.log.parent / "data"
    command = [PROMPTSMOOTH, "up", "--port", str(free_port), "--data-dir", folder]
    second = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, check=False)
    assert second.returncode == 2
    assert "another service uses the data folder" in second.stderr


@pytest.mark.long
def test_a_killed_engine_changes_no_certificate(stack, to_png):
    """SIGKILL in the middle of a job; the retry goes on from the stored counts."""
    image = to_png(grey(70, 64))
    location = stack.certify(image, wait=0, sigma="0.3", n="10000").headers["location"]
    stack.count(location, 500)
    (engine,) = stack.processes("worker.engine")
    engine.kill()
    killed = stack.follow(location)
    assert killed["status"] == "finished"
    assert killed["certificates"][0]["n_used"] == 10_100
    assert stack.processes("worker.engine")[0].pid != engine.pid


@pytest.mark.long
def test_a_service_that_is_stopped_keeps_its_jobs_and_killed_or_stopped_it_leaves_no_process(
    tmp_path, free_port, models_folder, to_png, start, stop
):
    """kill -9 of the supervisor too: no orphan goes on writing the append-only file."""
    first = start(tmp_path, free_port, models=models_folder, rq_workers="2")
    fields = {"model": "linear", "sigma": "0.25", "n": "200"}
    done = first.certify(to_png(grey(80)), **fields)
    assert done.status_code == 200
    family = psutil.Process(first.process.pid).children(recursive=True)
    assert stop(first) == 0
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    second = start(tmp_path, free_port, models=models_folder, rq_workers="2")
    again = second.http.get(done.headers["location"]).json()
    assert again["certificates"] == done.json()["certificates"]
    for part in ("-m app", "worker.engine", "worker.rq_worker"):
        wait_until(lambda part=part: second.processes(part))  # RQ workers come after the engine
    family = psutil.Process(second.process.pid).children(recursive=True)
    second.http.close()
    second.process.kill()
    second.process.wait()
    _, alive = psutil.wait_procs(family, timeout=HANG_S)
    assert not alive
