"""What tests of shared certifications need."""

from collections.abc import Callable, Iterator

import pytest
from sharing_hosts import Helper, finished
from waiting import NEVER_S

from worker.contract import (
    CertificationJob,
)
from worker.contract.certificate.document import FinishedResult
from worker.jobs.certify import run_certification
from worker.store import keyspace


@pytest.fixture
def sharing(settings):
    """Settings of a host that shares, and stores progress at once."""

    def create(shard_samples: int = 64, **changes: object):
        eager = {"shard_samples": shard_samples, "checkpoint_interval_s": 1e-9}
        return settings.model_copy(update=eager | changes)

    return create


@pytest.fixture
def count_alone(redis, settings, submit) -> Callable[..., FinishedResult]:
    """What one host certifies; forgotten, so that the same request is counted again."""

    def certify(**changes: object) -> FinishedResult:
        job = submit(**changes)
        run_certification(redis, settings, job.id)
        result = finished(redis, job)
        for key in redis.scan_iter(keyspace.certificate("*")):
            redis.delete(key)
        return result

    return certify


@pytest.fixture
def join(redis, settings) -> Iterator[Callable[..., Helper]]:
    joined: list[Helper] = []

    def create(job: CertificationJob, *, lease_s: float = NEVER_S) -> Helper:
        joined.append(Helper(redis, settings, job, lease_s))
        return joined[-1]

    yield create
    for helper in joined:
        helper.engine.__exit__()
