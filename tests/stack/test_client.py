"""`app.client` and `promptsmooth certify --server` against the running service."""

import asyncio
import csv
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from command import PROMPTSMOOTH
from pydicom.data import get_testdata_file
from same_noise import with_secret
from waiting import HANG_S, wait_until

from app.client import AsyncClient, Client, ServiceRefused, verify

CT = Path(get_testdata_file("CT_small.dcm"))
ASKED = {"sigma": ["0.1", "0.5"], "n_max": "300", "model": "bundled-2"}


@pytest.fixture
def client(stack):
    with Client(str(stack.http.base_url), timeout_s=HANG_S, patience_s=HANG_S) as client:
        yield client


@pytest.fixture
def folder(tmp_path, to_png) -> Path:
    """Three files: a DICOM image, a PNG one level down, and one that is broken."""
    scans = tmp_path / "scans"
    (scans / "more").mkdir(parents=True)
    (scans / "ct.dcm").write_bytes(CT.read_bytes())
    noise = np.random.default_rng(3).integers(0, 256, (3, 40, 40), dtype=np.uint8)
    (scans / "more" / "grey.png").write_bytes(to_png(noise))
    (scans / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (scans / "notes.txt").write_text("no image")
    return scans


def test_a_certificate_comes_back_as_it_was_signed_and_holds_here(client):
    ended = client.certify(CT.read_bytes(), **ASKED)
    assert ended.status == "finished"
    assert [str(one.sigma) for one in ended.certificates] == ["0.1", "0.5"]
    for one in ended.certificates:
        assert (one.radius is None) == (one.outcome == "abstained") == (one.prediction is None)
    assert verify(ended, [client.signing_key()]).holds
    assert client.audit(ended)["holds"]
    counts = b'"n_used"'
    forged = ended.content.replace(counts, b'"n_used" ', 1).replace(
        b'"certified"', b'"abstained"', 1
    )
    assert not verify(forged).holds


def test_a_certification_goes_on_as_a_job_of_its_own_and_once(client):
    # At this noise almost every sample votes alike, so that no look ends a part early.
    first = client.certify(CT, sigma="0.1", n_max=100, n_cap=400, tolerance=0)
    one = client.continue_certification(first.id)
    assert client.continue_certification(first.id).id == one.id != first.id
    ended = client.wait(one.id)
    assert ended.document["continues"] == first.id
    (before,), (after,) = first.certificates, ended.certificates
    assert (before.document["n_used"], after.document["n_used"]) == (100, 200)
    assert after.document["attempts"] == before.document["attempts"]
    assert verify(ended, [client.signing_key()]).holds
    assert client.get(first.id).content == first.content
    with pytest.raises(ServiceRefused, match="no further samples"):
        client.continue_certification(client.certify(CT, sigma="0.1", n_max=100).id)


def test_waiting_tells_how_far_a_job_is(client):
    seen = []
    ended = client.certify(
        CT.read_bytes(), procedure="cohen", n="3000", sigma="0.25", on_progress=seen.append
    )
    assert ended.status == "finished"
    assert seen, "progress was told"
    assert all(not one.ended for one in seen)
    done = [one.samples_done for one in seen]
    assert done == sorted(done)


def test_every_address_has_a_method(client, stack):
    """Each address that answers programs, and a method of the client for it."""
    job = client.certify(CT, **ASKED)
    assert client.input_image(job.id).startswith(b"\x89PNG")
    assert client.noisy_image(job.id, sigma="0.1").startswith(b"\x89PNG")
    assert client.report(job.id).startswith(b"%PDF")
    assert len(client.votes(job.id, sample=[0, 5])["votes"]) == 2
    changes = client.yardsticks(job.id)["yardsticks"]
    assert client.changed_image(job.id, yardstick=changes[0]["id"]).startswith(b"\x89PNG")
    reach = client.reach(sigma=["0.1", "0.5"], n_max=1000, target_radius="0.25", joint=True)
    assert [each["sigma"] for each in reach["levels"]] == [0.1, 0.5]
    assert reach["note"].startswith("1,000 samples prove a radius of at most")
    assert client.preview(CT, model="bundled-2")["source"] == "dicom"
    assert client.model("bundled-2")["id"] == "bundled-2"
    prompt = client.prompts(model="bundled-2")["prompts"][0]
    assert client.prompt(prompt["id"])["sha256"] == prompt["sha256"]
    assert len(client.prompt_values(prompt["id"])) > 4 * prompt["n_ctx"] * prompt["width"]
    assert client.ready()["status"] == "ready"
    assert client.version()["service"] == "promptsmooth-service"
    assert "promptsmooth_redis_up 1" in client.metrics()
    for call in (client.remove_prompt, client.prompt_job, client.cancel_prompt_job, client.batch):
        with pytest.raises(ServiceRefused) as refused:
            call("0" * 32)
        assert refused.value.status == 404


def test_lists_are_followed_over_their_pages(client):
    batch = client.submit_batch([CT, CT.read_bytes()], sigma="0.1", n_max="200")
    ids = {one["id"] for one in batch["certifications"]}
    for one in ids:
        client.wait(one)
    assert {one["id"] for one in client.list(batch=batch["id"], limit=1)} == ids
    assert client.batch(batch["id"])["done"] == 2
    client.cancel_batch(batch["id"])  # all have ended, so nothing changes
    assert {one["id"] for one in client.list(batch=batch["id"])} == ids
    for one in ids:
        client.purge(one)
    assert list(client.list(batch=batch["id"])) == []


def test_events_tell_a_job_to_its_end(client, stack):
    job = client.submit(CT, procedure="cohen", n="2000", sigma="0.25", attempt=1)
    seen = list(client.events(job.id))
    assert {event.name for event in seen[:-1]} <= {"progress"}
    assert (seen[-1].name, seen[-1].document["status"]) == ("done", "finished")

    async def watch() -> list:
        async with AsyncClient(str(stack.http.base_url)) as waiting:
            return [event.name async for event in waiting.events(job.id)]

    assert asyncio.run(watch()) == ["done"]


def test_a_refusal_names_its_code_and_its_field(client):
    with pytest.raises(ServiceRefused, match="sigma") as refused:
        client.submit(CT.read_bytes(), sigma="-1")
    assert (refused.value.status, refused.value.code) == (422, "request_invalid")


def test_a_folder_loses_no_image_to_a_broken_neighbour(client, folder):
    items = {item.path.name: item for item in client.certify_folder(folder, **ASKED)}
    assert set(items) == {"ct.dcm", "grey.png", "broken.png"}
    assert isinstance(items["broken.png"].error, ServiceRefused)
    for name in ("ct.dcm", "grey.png"):
        assert items[name].certification.status == "finished"


def test_the_client_to_await_answers_as_the_other_does(stack, client, folder):
    async def certify_all() -> dict:
        url = str(stack.http.base_url)
        async with AsyncClient(url, timeout_s=HANG_S, patience_s=HANG_S) as waiting:
            one = await waiting.certify(CT.read_bytes(), **ASKED)
            assert await waiting.signing_key() == client.signing_key()
            assert (await waiting.audit(one))["holds"]
            return {item.path.name: item async for item in waiting.certify_folder(folder, **ASKED)}

    found = asyncio.run(certify_all())
    again = client.certify(CT.read_bytes(), **ASKED)
    same = found["ct.dcm"].certification
    assert [one.document for one in same.certificates] == [
        one.document for one in again.certificates
    ]
    assert isinstance(found["broken.png"].error, ServiceRefused)


def run(stack, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [PROMPTSMOOTH, "certify", *map(str, arguments), "--server", str(stack.http.base_url)]
    return subprocess.run(
        command,
        env={**os.environ, **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=HANG_S,
        check=False,
    )


def test_the_command_certifies_by_way_of_the_service(stack, tmp_path):
    done = run(stack, CT, "--sigma", "0.1", "--n-max", 200, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "l2 radius" in done.stdout
    kept = (tmp_path / "out" / "CT_small.dcm.json").read_bytes()
    assert verify(kept).holds


def test_the_command_goes_on_by_way_of_the_service(stack, tmp_path):
    options = (CT, "--sigma", "0.1", "--n-max", 120, "--n-cap", 480, "--tolerance", 0)
    kept = tmp_path / "CT_small.dcm.json"
    for continuations in range(3):
        going_on = ("--continue", kept) if continuations else ()
        done = run(stack, *options, *going_on, "--output", tmp_path)
        assert done.returncode == 0, done.stderr
        (entry,) = json.loads(kept.read_bytes())["certificates"]
        assert entry.get("continuations", 0) == continuations
        assert entry["n_used"] == 120 * 2**continuations
    over = run(stack, *options, "--continue", kept)
    assert (over.returncode, "nothing_to_continue" in over.stderr) == (2, True)


def test_the_command_certifies_a_folder_and_says_which_image_it_could_not(stack, folder, tmp_path):
    done = run(stack, folder, "--sigma", "0.1", "--n-max", 200, "--output", tmp_path / "out")
    assert done.returncode == 1, done.stderr
    assert "2 of 3 images have certificates" in done.stdout
    with (tmp_path / "out" / "certificates.csv").open() as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert rows["broken.png"]["status"] == "refused"
    assert rows["broken.png"]["why_not"]
    assert rows["ct.dcm"]["outcome"] in ("certified", "abstained")
    document = json.loads((tmp_path / "out" / "more" / "grey.png.json").read_text())
    assert document["id"] == rows[str(Path("more", "grey.png"))]["certification"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((CT, "--model", "nobody"), "model_unknown"),
        ((__file__,), "image_format_unsupported"),
        ((CT, "--api-key-file", os.devnull, "--sigma", "0.1", "--prompt", "none"), "prompt"),
        ((CT, "--n-max", 99_999_999), "n_max"),
    ],
)
def test_every_refusal_is_one_sentence_of_the_command(stack, arguments, sentence):
    done = run(stack, *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("promptsmooth: ") == 1


def test_the_command_says_what_a_joint_batch_proves_about_its_images_together(
    stack, folder, tmp_path, client
):
    out = tmp_path / "out"
    asked = ("--sigma", "0.1", "--n-max", 300, "--joint-batch", "--output", out)
    done = run(stack, folder, *asked)
    assert done.returncode == 1, done.stderr  # one file is broken
    (joint,) = json.loads((out / "joint.json").read_text())
    assert joint["statement"] in done.stdout
    assert (joint["images"], joint["certificates_in_request"]) == (3, 3)
    with (out / "certificates.csv").open(newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"ct.dcm", "more/grey.png", "broken.png"}
    assert rows["broken.png"]["status"] == "refused"
    documents = [
        json.loads((out / f"{name}.json").read_text()) for name in rows if rows[name]["sigma"]
    ]
    batch = client.batch(documents[0]["batch_id"])
    assert batch["joint_batch"] == [joint]
    assert "--output" in run(stack, folder, "--joint-batch", "--sigma", "0.1").stderr


def test_the_command_says_what_is_missing(stack, folder, tmp_path):
    assert "--output" in run(stack, folder, "--sigma", "0.1").stderr
    alone = subprocess.run(
        [PROMPTSMOOTH, "certify", folder, "--data-dir", with_secret(tmp_path)],
        capture_output=True,
        encoding="utf-8",
        timeout=HANG_S,
        check=False,
    )
    assert (alone.returncode, "--server" in alone.stderr) == (2, True)


EVALUATED = {"dataset": "planes", "model": "linear", "sigma": ["0.25"], "n_max": 200}


def test_an_evaluation_is_started_followed_and_taken_away(client):
    assert client.datasets()["datasets"] == [{"name": "planes", "splits": ["test"]}]
    assert client.estimate_evaluation(**EVALUATED)["fits"]
    started = client.start_evaluation(idempotency_key="planes-1", **EVALUATED)
    again = client.start_evaluation(idempotency_key="planes-1", **EVALUATED)
    assert again["id"] == started["id"]
    shown = wait_until(lambda: find_ended(client.evaluation(started["id"])), pause_s=0.2)
    assert (shown["status"], shown["done"]) == ("finished", 2)
    assert len(client.evaluation_images(started["id"])["images"]) == 2
    assert client.evaluation_results(started["id"], "results.csv").startswith(b"prompting,")
    client.cancel_evaluation(started["id"])
    client.purge_evaluation(started["id"])
    assert client.evaluations()["evaluations"] == []


def test_an_evaluation_is_started_and_read_by_coroutines(stack):
    async def evaluate() -> list[dict]:
        async with AsyncClient(str(stack.http.base_url), patience_s=HANG_S) as client:
            assert (await client.estimate_evaluation(**EVALUATED))["images"] == 2
            (dataset,) = (await client.datasets())["datasets"]
            started = await client.start_evaluation(**EVALUATED, split=dataset["splits"][0])
            while not find_ended(await client.evaluation(started["id"])):
                await asyncio.sleep(0.2)
            await client.cancel_evaluation(started["id"])
            assert await client.evaluation_results(started["id"], "results.md")
            images = (await client.evaluation_images(started["id"]))["images"]
            await client.purge_evaluation(started["id"])
            return [*images, *(await client.evaluations())["evaluations"]]

    assert len(asyncio.run(evaluate())) == 2


def find_ended(shown: dict) -> dict | None:
    return shown if shown["status"] in ("finished", "failed", "cancelled") else None
