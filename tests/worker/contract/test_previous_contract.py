"""What the previous release left in Redis is read by this one, and means the same.

The files of `schema_v1/` were written by the contracts of that release and are never changed: an
upgrade meets such jobs in the queue, and a digest that moved would be a free roll.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from rq.utils import import_attribute

from worker.contract import TASKS, CertificationJob, Progress, WorkerReport
from worker.contract.certificate.document import CertificationResult, FinishedResult
from worker.contract.learning import LearningJob
from worker.contract.request import request_sha256
from worker.contract.votes import Checkpoint
from worker.jobs.certify import run_certification

FOLDER = Path(__file__).parent / "schema_v1"
CLASSES = {
    "checkpoint": Checkpoint,
    "finished-result": TypeAdapter(CertificationResult),
    "learning-job": LearningJob,
    "progress": Progress,
    "worker-report": WorkerReport,
}
JOBS = sorted(path.stem for path in FOLDER.glob("job-*.json"))


def written(name: str) -> bytes:
    return (FOLDER / f"{name}.json").read_bytes()


@pytest.mark.parametrize("name", JOBS)
def test_a_job_of_the_previous_contract_is_read_and_is_the_same_roll(name):
    job = CertificationJob.model_validate_json(written(name))
    digests = json.loads(written("request-digests"))
    assert request_sha256(job.request, "e" * 64) == digests[name.removeprefix("job-")]
    kept = json.loads(job.model_dump_json())
    assert json.loads(written(name)).items() <= kept.items()


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_what_the_previous_contract_stored_is_read_and_kept(name):
    kind = CLASSES[name]
    if isinstance(kind, TypeAdapter):
        found = json.loads(kind.dump_json(kind.validate_json(written(name))))
    else:
        found = json.loads(kind.model_validate_json(written(name)).model_dump_json())
    assert is_kept(json.loads(written(name)), found)


def is_kept(old: Any, new: Any) -> bool:
    """Whether every value is there as it was, beside fields that came later."""
    if not isinstance(old, dict):
        return bool(old == new)
    return all(key in new and is_kept(value, new[key]) for key, value in old.items())


def test_a_certificate_of_the_previous_release_is_still_a_result():
    result = TypeAdapter(CertificationResult).validate_json(written("finished-result"))
    assert isinstance(result, FinishedResult)


def test_a_job_that_the_previous_release_enqueued_runs(redis, settings, create_job):
    """Without owner, request id or a place in the index of what was accepted."""
    from worker.jobs.queue import create_queue
    from worker.jobs.state import get_state
    from worker.store import images, keyspace
    from worker.store.jobs import results

    job, image = create_job()
    old = json.loads(job.model_dump_json())
    known = json.loads(written("job-template"))
    stored = json.dumps({name: old[name] for name in known})
    images.put_image(redis, job.request.input.sha256, image, ttl_s=600)
    redis.set(keyspace.job(job.id), stored, ex=600)
    create_queue(redis).enqueue_call(
        "worker.tasks.certify_image", args=(job.id,), job_id=job.id, timeout=900
    )
    assert get_state(redis, job.id) == "queued"
    run_certification(redis, settings, job.id)
    assert results.find_result(redis, job.id).status == "finished"
    assert get_state(redis, job.id) == "finished"


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_that_a_job_may_name_is_there(name):
    assert callable(import_attribute(name))
