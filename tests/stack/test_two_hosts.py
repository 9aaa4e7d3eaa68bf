"""Two worker hosts on one Redis: a large certification is counted by both."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from redis import Redis
from same_noise import with_secret
from waiting import NEVER_S, wait_until

from models.catalogue import load_catalogue
from worker.contract import (
    CertificationJob,
    CertifyRequest,
    CohenParameters,
    InputImage,
    ModelRef,
    TemplateTarget,
    Tuning,
    ZeroShotTarget,
)
from worker.contract.certificate.document import FinishedResult
from worker.contract.image import Image, image_sha256
from worker.jobs import queue
from worker.store import hosts, keyspace
from worker.store.jobs import results


@contextmanager
def worker_host(folder: Path, valkey_url: str, secret: Path) -> Iterator[Path]:
    """A supervisor with its engine and RQ workers, in a folder of its own; its log."""
    folder.mkdir()
    environment = {
        **os.environ,
        "REDIS_URL": valkey_url,
        "PROMPTSMOOTH_DATA_DIR": str(folder),
        "PROMPTSMOOTH_SECRET_FILE": str(secret),
        "PROMPTSMOOTH_SHARD_SAMPLES": "100",
        "PROMPTSMOOTH_RQ_WORKERS": "2",
        "PROMPTSMOOTH_THREADS": "1",
    }
    log = folder / "host.log"
    with (
        log.open("wb") as file,
        subprocess.Popen(
            [sys.executable, "-m", "worker"], env=environment, stdout=file, stderr=file
        ) as process,
    ):
        try:
            yield log
        finally:
            process.terminate()


def create_job() -> tuple[CertificationJob, Image]:
    card = load_catalogue().get("bundled-2")
    size = card.preprocessing.size
    image = np.random.default_rng(7).integers(60, 200, (3, size, size)).astype(np.uint8)
    request = CertifyRequest(
        input=InputImage(sha256=image_sha256(image), height=size, width=size, source="png"),
        model=ModelRef(id="bundled-2", sha256=card.sha256),
        targets=(
            TemplateTarget(template=card.template, class_names=card.class_names),
            ZeroShotTarget(
                template="A {} image.", class_names=card.class_names, tuning=Tuning(copies=8)
            ),
        ),
        sigmas=(Decimal("0.25"),),
        procedure=CohenParameters(n0=100, n=2000),
    )
    job = CertificationJob(id=uuid4().hex, request=request, submitted_at=datetime.now(UTC))
    return job, image


def wait_for(find: Callable[[], object], logs: list[Path]) -> object:
    return wait_until(find, say=lambda: [log.read_text() for log in logs])


def events(logs: list[Path], name: str) -> list[dict]:
    lines = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
    return [line for line in lines if line["event"] == name]


def certify(redis: Redis, logs: list[Path]) -> FinishedResult:
    job, image = create_job()
    queue.accept_jobs(redis, [(job, image)], image_ttl_s=NEVER_S, job_ttl_s=NEVER_S)
    result = wait_for(lambda: results.find_result(redis, job.id), logs)
    assert isinstance(result, FinishedResult)
    return result


@pytest.mark.long
def test_a_large_certification_is_counted_by_both_hosts(redis: Redis, valkey_url, tmp_path):
    """The prompt that is tuned on the image too: helpers have it from the run's session."""
    secret = with_secret(tmp_path) / "key-secret"
    with worker_host(tmp_path / "one", valkey_url, secret) as one:
        with worker_host(tmp_path / "two", valkey_url, secret) as two:
            logs = [one, two]
            wait_for(lambda: sum(r.ready for r in hosts.list_workers(redis)) == 2, logs)
            together = certify(redis, logs)
            (shared,) = wait_for(lambda: events(logs, "ranges_shared"), logs)
        for key in redis.scan_iter(keyspace.certificate("*")):
            redis.delete(key)
        alone = certify(redis, [one])
        (own,) = wait_for(lambda: [e for e in events([one], "ranges_shared") if e != shared], logs)
    assert [entry.n_used for entry in together.certificates] == [2100, 2100]
    counted = shared["samples_by_host"]
    assert len(counted) == 2
    assert sum(counted.values()) == 2000
    assert min(counted.values()) >= 100
    assert list(own["samples_by_host"].values()) == [2000]
    assert together == alone
