"""What the service wrote before its modules moved is read, and means the same.

The bytes of jobs, checkpoints, results and prompts are put into Redis as they lay there.
"""

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rq import SimpleWorker

from . import asked, samples, subject
from .freeze import create_answers
from .subject import Host

SINCE = {"worker.tasks.find_witness"}  # tasks that came after these queues were written
BEFORE = Path(__file__).parent / "version_1"  # as commit 3624d63 wrote them
DOCUMENTS = sorted(
    path.relative_to(Path(__file__).parent)
    for folder in (samples.FOLDER, BEFORE)
    for path in (*folder.glob("certificates/*.json"), folder / "bundled/certificate.json")
)
RECORDS = [name for name in samples.list_names() if name.startswith("records/")]
RESULT = f"promptsmooth:certification:{asked.JOB_ID}:result"
CHECKPOINT = f"promptsmooth:certification:{asked.JOB_ID}:checkpoint"
SENTINEL = b"\x77\x77"


def load(name: str, folder: Path = samples.FOLDER) -> samples.Snapshot:
    """What lay in Redis."""
    snapshot: samples.Snapshot = json.loads((folder / f"records/{name}.json").read_text())
    return snapshot


@pytest.fixture
def put(redis: Redis):
    """Puts records into Redis, which was empty."""
    return lambda name, folder=samples.FOLDER: samples.restore(redis, load(name, folder))


def find_result(redis: Redis) -> str:
    """The stored result without what is a matter of the machine."""
    found = redis.get(RESULT)
    assert isinstance(found, bytes), "the job has no result"
    return samples.settle(found.decode())


@pytest.fixture
def frozen_result() -> str:
    """The result that the frozen job came to."""
    return samples.settle(load("finished")[RESULT]["value"])


@pytest.mark.parametrize("name", DOCUMENTS, ids=str)
def test_a_finished_certification_is_read_whole_and_holds(name):
    text = (Path(__file__).parent / name).read_text().removesuffix("\n")
    assert subject.find_faults(text) == []
    assert subject.sign_again(text) == text  # every byte, the signature too


@pytest.mark.parametrize("changed", ["n_used", "attempts"])
def test_a_document_of_which_a_figure_was_changed_does_not_hold(changed):
    document = json.loads(samples.read("certificates/one-sigma.json"))
    document["certificates"][0][changed] += 1
    assert "The document was changed after it was signed." in subject.find_faults(
        json.dumps(document)
    )


def test_the_service_answers_of_old_records_what_it_answered(host: Host):
    records = {name: samples.read(name).encode() for name in RECORDS}
    made = create_answers(host, records)
    assert json.loads(made["answers.json"]) == json.loads(samples.read("answers.json"))


@pytest.fixture
def same_signals() -> Iterator[None]:
    """RQ takes the signals of its process; those of the tests come back."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("same_signals")
def test_a_job_that_waited_is_taken_by_rq_and_has_its_certificate(
    redis: Redis, host: Host, put, monkeypatch, frozen_result
):
    """By the name of the function that lay in the queue."""
    put("queued")
    for name, value in host.environment.items():
        monkeypatch.setenv(name, value)
    queue = subject.create_queue(redis)
    worker = SimpleWorker([queue], connection=redis, job_class=queue.job_class, serializer="json")
    worker.work(burst=True)
    assert find_result(redis) == frozen_result


def test_a_certification_cut_off_goes_on_from_its_checkpoint(
    redis: Redis, host: Host, put, frozen_result
):
    """To the same certificate; the votes that were stored are not counted again."""
    put("half-way")
    _adopt_checkpoints(redis, host.identify("linear"))
    (votes,) = redis.keys("promptsmooth:votes:*")
    frozen = samples.decode(load("finished")[votes.decode()]["value"])
    votes = _adopt_votes(redis, votes.decode(), host.name_f("linear"))
    redis.setrange(votes, 0, SENTINEL)
    subject.run_certification(redis, host.settings, asked.JOB_ID)
    assert find_result(redis) == frozen_result
    assert redis.get(votes) == SENTINEL + frozen[len(SENTINEL) :]


def test_a_certification_that_version_1_counted_is_counted_anew_on_the_same_noise(
    redis: Redis, host: Host, put, frozen_result
):
    """Its checkpoint names no fingerprint, and its counts were shown: a further attempt."""
    put("half-way", BEFORE)
    subject.run_certification(redis, host.settings, asked.JOB_ID)
    made, expected = json.loads(redis.get(RESULT)), json.loads(load("finished")[RESULT]["value"])
    (entry,), (first,) = made["certificates"], expected["certificates"]
    assert entry["attempts"] == 2
    assert "alpha_of_attempts" not in entry  # version 1 kept no alpha of its attempts
    assert entry["looks"] == first["looks"]
    assert entry["votes_root"] == first["votes_root"]
    assert made["provenance"]["noise_keys"] == expected["provenance"]["noise_keys"]


def _adopt_checkpoints(redis: Redis, identity: Any) -> None:
    """Says that this machine's f counted them: of this model it is the same one everywhere."""
    for field, text in redis.hgetall(CHECKPOINT).items():
        checkpoint = json.loads(text)
        assert checkpoint["identity"].keys() == identity.keys()
        redis.hset(CHECKPOINT, field, json.dumps(checkpoint | {"identity": identity}))


def _adopt_votes(redis: Redis, votes: str, f: str) -> str:
    """Says the same of the votes, and of what was shown."""
    renamed = samples.OF_F.sub(f, votes)
    redis.renamenx(votes, renamed)
    (shown,) = redis.keys("promptsmooth:shown:*")
    redis.delete(shown)
    redis.sadd(shown, f)
    return renamed


@pytest.mark.parametrize("folder", [samples.FOLDER, BEFORE], ids=["now", "version 1"])
def test_an_equal_request_is_answered_with_the_stored_certificate(
    redis: Redis, host: Host, put, folder
):
    put("finished", folder)
    redis.delete(RESULT, *redis.keys("promptsmooth:image:*"))  # nothing can be counted again
    subject.run_certification(redis, host.settings, asked.JOB_ID)
    assert redis.get(RESULT) == samples.decode(load("finished", folder)[RESULT]["value"])


@pytest.mark.parametrize("task", sorted({*json.loads(samples.read("tasks.json"))} - SINCE))
def test_every_task_that_lay_in_a_queue_is_found(redis: Redis, put, task: str):
    for name in ("queued", "hosts", "learning"):
        put(name)
    ids = [key.decode().removeprefix("rq:job:") for key in redis.keys("rq:job:*")]
    (job,) = (job for each in ids if (job := subject.fetch_job(redis, each)).func_name == task)
    assert callable(job.func)


def test_a_learning_cut_off_goes_on_from_its_checkpoint(host: Host, put):
    put("learning")
    kinds = [(report.kind, getattr(report, "epoch", None)) for report in subject.learn_on(host)]
    assert [kind for kind, _ in kinds] == ["epoch", "learned"]
    assert kinds[0][1].number == 2


def test_a_learned_prompt_is_read_from_each_of_its_files():
    path = samples.FOLDER / "prompts" / "frozen.toml"
    sha256 = samples.read("prompts/digests.txt").split()[0]
    assert subject.read_prompt(path, samples.read("prompts/encoded.json")) == {sha256}


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[str], Path]:
    """Copies a file of the set to where it can be written to."""
    return lambda name, folder=samples.FOLDER: Path(shutil.copy(folder / "files" / name, tmp_path))


@pytest.mark.parametrize("folder", [samples.FOLDER, BEFORE], ids=["now", "version 1"])
def test_an_evaluation_cut_off_goes_on(copy, folder):
    sitting, results = subject.go_on_with_run(copy("images.jsonl", folder))
    assert sitting == 1
    assert [subject.find_faults(text) for text in results] == [[]]


def test_an_audit_log_goes_on_and_is_whole(copy):
    folder = copy("audit-000000000001.jsonl").parent
    seq, found = subject.go_on_with_audit_log(folder)
    assert seq == 3
    assert (found.first, found.head.seq) == (1, 3)


@pytest.mark.parametrize("folder", [samples.FOLDER, BEFORE], ids=["now", "version 1"])
def test_ranges_that_another_host_put_up_are_counted(redis: Redis, put, folder):
    put("hosts", folder)
    posting, leased, taken = subject.read_board(redis)
    (stored,) = samples.select(load("hosts", folder), ":ranges:.*:posting$").values()
    assert posting == json.loads(stored["value"])
    assert (leased["start"], leased["stop"]) == (2, 4)  # its lease has run out meanwhile
    assert taken["host"] == "host-b"
    assert taken["counted"] == subject.COUNTED


@pytest.mark.parametrize("folder", [samples.FOLDER, BEFORE], ids=["now", "version 1"])
def test_a_host_of_the_release_before_is_seen(redis: Redis, put, folder):
    put("hosts", folder)
    (stored,) = samples.select(load("hosts", folder), "promptsmooth:worker:").values()
    assert subject.list_hosts(redis) == [json.loads(stored["value"])]
