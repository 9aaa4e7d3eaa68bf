"""Records that Redis gives back broken: their own certification says so, all others are as ever."""

import numpy as np
import pytest

from worker.store import keyspace
from worker.store.jobs import records, results


@pytest.mark.parametrize("content", [b'{"status":"finished", cut of', b"{"])
@pytest.mark.parametrize("record", ["job", "result", "progress"])
def test_a_damaged_record_harms_its_own_certification_alone(
    client, redis, post, finish, record, content
):
    broken, sound = (post().json()["id"] for _ in range(2))
    job = records.find_job(redis, sound)
    results.put_result(redis, sound, finish(job), ttl_s=60)
    before = client.get(f"/certifications/{sound}").json()
    if record == "progress":
        redis.hset(f"rq:job:{broken}", "status", "started")
    redis.set(getattr(keyspace, record)(broken), content)

    answer = client.get(f"/certifications/{broken}")
    if record == "progress":  # made anew at the next stored counts
        assert answer.json()["progress"]["samples_done"] == 0
    elif record == "result":
        assert (answer.status_code, answer.json()["status"]) == (200, "failed")
        assert answer.json()["failure"]["code"] == "record_damaged"
    else:
        assert (answer.status_code, answer.json()["code"]) == (500, "record_damaged")
    listed = [one["id"] for one in client.get("/certifications").json()["certifications"]]
    assert sound in listed
    assert client.get(f"/certifications/{sound}").json() == before


def test_a_batch_with_a_damaged_job_shows_the_others(client, redis, post, png, encode):
    other = encode(np.zeros((70, 70, 3), dtype=np.uint8))
    batch = post(png, other).json()
    first, second = (one["id"] for one in batch["certifications"])
    redis.set(keyspace.job(first), b"{")
    redis.set(keyspace.result(second), b"{")
    answer = client.get(f"/batches/{batch['id']}")
    shown = [(one["id"], one["status"]) for one in answer.json()["certifications"]]
    assert shown == [(second, "failed")]
