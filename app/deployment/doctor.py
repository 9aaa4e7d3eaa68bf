"""Checks what an operator would check. Each check is one line, with what to do if it fails."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from app.deployment.checks import Check
from app.deployment.dicom_node import examine_node
from app.deployment.outgoing import check_issuer, check_webhooks
from app.deployment.variables import find_unread
from app.settings import AppSettings
from models.catalogue import load_catalogue
from models.catalogue.availability import judge_presence
from models.catalogue.cards import ModelCard
from models.catalogue.weights import WeightsError, check_weights
from models.files.audit_log import find_fault
from worker.contract import QUEUE_NAME
from worker.settings import WorkerSettings
from worker.store import hosts, keyspace
from worker.store.jobs import accepted

_CLOCK_S = 2.0
_DISK_GB, _MEMORY_SHARE, _WAITING_S = 1.0, 0.85, 1800.0


def examine(
    redis: Redis,
    settings: WorkerSettings,
    app: AppSettings,
    *,
    digests: bool = False,
) -> Iterator[Check]:
    """Runs all checks, those of this machine first.

    Args:
        redis: the service's Redis.
        settings: of this machine.
        app: of the app on this machine, if there is one.
        digests: read the weights of all served models in full.
    """
    yield _check_variables()
    yield _check_disk(settings.data_dir)
    yield from _check_models(settings, digests=digests)
    yield _check_device(settings)
    if find_spec("torch") is not None:  # an engine may run here
        yield check_runtime(settings, openvino=find_spec("openvino") is not None)
    yield _check_keys_file(app.keys_file)
    yield _check_audit_log(app.audit_log)
    yield from check_issuer(app.sign_on_file)
    yield from check_webhooks(app)
    yield from examine_node()
    try:
        began = time.time()
        redis.ping()
    except RedisError as error:
        yield Check(
            name="Redis",
            verdict="fails",
            found=f"does not answer: {error}",
            do="start it, or correct REDIS_URL, PROMPTSMOOTH_REDIS_PASSWORD_FILE and "
            "PROMPTSMOOTH_REDIS_CA",
        )
        return
    yield Check(
        name="Redis", verdict="ok", found=f"answers within {1000 * (time.time() - began):.0f} ms"
    )
    for check in (_check_persistence, _check_memory, _check_clock, _check_queue, _check_hosts):
        yield _guard(check, redis)
    yield _check_secret(redis, settings)
    if redis.exists(keyspace.RESTORING):
        do = "wait for promptsmooth restore to end, or run it again with --over"
        found = "this Redis holds part of a backup"
        yield Check(name="restore", verdict="fails", found=found, do=do)


def _guard(check: Callable[[Redis], Check], redis: Redis) -> Check:
    try:
        return check(redis)
    except RedisError as error:
        name = check.__name__.removeprefix("_check_")
        do = "give the user of REDIS_URL the command INFO"
        return Check(name=name, verdict="fails", found=f"Redis refuses: {error}", do=do)


def _check_persistence(redis: Redis) -> Check:
    found: dict[str, Any] = redis.info("persistence")
    name = "persistence"
    if not found.get("aof_enabled"):
        do = "start Redis with appendonly yes; without it, accepted jobs are lost when it stops"
        return Check(name=name, verdict="fails", found="no append-only file", do=do)
    if found.get("aof_last_write_status") != "ok":
        do = "check the disk of Redis: it accepts nothing until it can write"
        return Check(name=name, verdict="fails", found="the last write failed", do=do)
    return Check(name=name, verdict="ok", found="append-only file, written")


def _check_memory(redis: Redis) -> Check:
    found: dict[str, Any] = redis.info("memory")
    used, most, policy = found["used_memory"], found["maxmemory"], found["maxmemory_policy"]
    name, said = "memory", f"{used / 2**20:.0f} MiB used, {most / 2**20:.0f} MiB at most, {policy}"
    if policy != "noeviction":
        do = "set maxmemory-policy noeviction; otherwise Redis drops jobs and attempts"
        return Check(name=name, verdict="fails", found=said, do=do)
    if not most:
        do = "set maxmemory, so that a full Redis refuses work instead of being killed"
        return Check(name=name, verdict="warning", found=said, do=do)
    if used >= most:
        do = "raise maxmemory, or shorten PROMPTSMOOTH_CERTIFICATE_TTL_S: nothing is accepted now"
        return Check(name=name, verdict="fails", found=said, do=do)
    if used > _MEMORY_SHARE * most:
        do = "raise maxmemory, or shorten PROMPTSMOOTH_IMAGE_TTL_S"
        return Check(name=name, verdict="warning", found=said, do=do)
    return Check(name=name, verdict="ok", found=said)


def _check_clock(redis: Redis) -> Check:
    before = time.time()
    seconds, microseconds = redis.time()
    apart = abs(seconds + microseconds / 1e6 - (before + time.time()) / 2)
    said = f"{apart:.2f} s apart from Redis"
    if apart > _CLOCK_S:
        do = "synchronise the clocks (NTP): heartbeats and ages are compared across machines"
        return Check(name="clock", verdict="fails", found=said, do=do)
    return Check(name="clock", verdict="ok", found=said)


def _check_queue(redis: Redis) -> Check:
    oldest = accepted.find_oldest(redis, QUEUE_NAME)
    waits = accepted.count_open(redis, QUEUE_NAME)
    age = 0.0 if oldest is None else time.time() - oldest
    said = f"{waits} jobs without a result, the oldest accepted {age:.0f} s ago"
    if waits and age > _WAITING_S:
        do = "run promptsmooth workers to see whether a host takes jobs; add hosts if needed"
        return Check(name="queue", verdict="warning", found=said, do=do)
    return Check(name="queue", verdict="ok", found=said if waits else "empty")


def _check_hosts(redis: Redis) -> Check:
    reports = hosts.list_workers(redis)
    said = ", ".join(f"{r.name} {r.shown_state}" for r in reports) or "none has announced itself"
    if any(report.shown_state == "ready" for report in reports):
        return Check(name="worker hosts", verdict="ok", found=said)
    drained = any(hosts.find_drain_request(redis, report.name) for report in reports)
    do = "promptsmooth resume" if drained else "start one (python -m worker); its log says why not"
    return Check(name="worker hosts", verdict="fails", found=said, do=do)


def _check_secret(redis: Redis, settings: WorkerSettings) -> Check:
    name, published = "key secret", redis.get(keyspace.KEY_COMMITMENT)
    if not settings.secret_path.exists():
        said = "not on this machine, which is normal if it runs only the app"
        return Check(name=name, verdict="ok", found=said)
    from worker.key_secret import SecretUnusable, commitment, load_secret

    try:
        mine = commitment(load_secret(settings.secret_path))
    except SecretUnusable as error:
        do = "restore it from its backup; a new one cannot continue this Redis"
        return Check(name=name, verdict="fails", found=str(error), do=do)
    if published not in (None, mine.encode(), mine):
        do = "give every worker host the same secret file"
        said = "not the secret that this Redis is bound to"
        return Check(name=name, verdict="fails", found=said, do=do)
    return Check(name=name, verdict="ok", found=f"commitment {mine[:12]}…")


def _check_variables() -> Check:
    name, unread = "settings", [str(each) for each in find_unread(os.environ)]
    if unread:
        do = "correct or remove them; docs/settings.md lists all settings"
        said = f"no program reads {', '.join(unread)}"
        return Check(name=name, verdict="warning", found=said, do=do)
    return Check(name=name, verdict="ok", found="every variable is one that a program reads")


def _check_keys_file(path: Path | None) -> Check:
    name = "API keys"
    if path is None:
        do = "create a key (promptsmooth keys add) before other machines may use the service"
        return Check(name=name, verdict="warning", found="no keys file", do=do)
    if not path.is_file():
        do = "mount it, or unset PROMPTSMOOTH_KEYS_FILE"
        return Check(name=name, verdict="fails", found="the keys file does not exist", do=do)
    if path.stat().st_mode & 0o007:
        do = "chmod o-rwx"
        return Check(name=name, verdict="warning", found="everyone may read the file", do=do)
    return Check(name=name, verdict="ok", found="a keys file")


def _check_audit_log(folder: Path | None) -> Check:
    name = "audit log"
    if folder is None:
        do = "set PROMPTSMOOTH_AUDIT_LOG to a separate folder"
        return Check(name=name, verdict="warning", found="none is kept", do=do)
    if fault := find_fault(folder):
        do = "free some space, or let the app's user write there; until then nothing is accepted"
        return Check(name=name, verdict="fails", found=fault, do=do)
    return Check(name=name, verdict="ok", found="can be written")


def _check_models(settings: WorkerSettings, *, digests: bool) -> Iterator[Check]:
    """Checks presence and length, or digests. `promptsmooth models check` compares features too."""
    try:
        catalogue = load_catalogue(settings.models)
    except (ValueError, OSError) as error:
        do = "correct the cards in the folder that PROMPTSMOOTH_MODELS names"
        yield Check(name="models", verdict="fails", found=str(error), do=do)
        return
    for model_id in settings.serve_models:
        name = f"model {model_id}"
        if model_id not in {card.id for card in catalogue.list()}:
            do = "run promptsmooth models list to see the existing models"
            yield Check(name=name, verdict="fails", found="no such card", do=do)
            continue
        presence = judge_presence(catalogue, model_id)
        if presence.reason:
            yield Check(name=name, verdict="fails", found=presence.word, do=presence.reason)
        elif digests:
            yield _check_digests(name, catalogue.get(model_id), catalogue.folder(model_id))
        else:
            yield Check(name=name, verdict="ok", found=presence.word)


def _check_digests(name: str, card: ModelCard, folder: Path) -> Check:
    try:
        check_weights(card, folder)
    except WeightsError as error:
        do = "copy the file again: it is not the one that its card names"
        return Check(name=name, verdict="fails", found=str(error), do=do)
    return Check(
        name=name, verdict="ok", found=f"every digest matches the card: {card.sha256[:12]}…"
    )


def _check_device(settings: WorkerSettings) -> Check:
    """Counts the GPUs that the driver shows, without torch."""
    driver = Path("/proc/driver/nvidia/gpus")
    gpus = len(list(driver.iterdir())) if driver.is_dir() else 0
    said = f"{settings.device}: {gpus} NVIDIA GPUs, {os.cpu_count()} CPU cores"
    if settings.device == "cuda" and not gpus:
        do = "install the driver and give the container the GPU, or set PROMPTSMOOTH_DEVICE=cpu"
        return Check(name="device", verdict="fails", found=said, do=do)
    return Check(name="device", verdict="ok", found=said)


def check_runtime(settings: WorkerSettings, *, openvino: bool) -> Check:
    """What computes image towers on a CPU here, where OpenVINO is installed or is not."""
    chosen = settings.cpu_runtime
    if chosen == "openvino" and not openvino:
        do = "install openvino, or set PROMPTSMOOTH_CPU_RUNTIME=auto"
        said = "openvino: it is not installed, so no model can be served on a CPU"
        return Check(name="CPU runtime", verdict="fails", found=said, do=do)
    computes = "OpenVINO" if openvino and chosen != "torch" else "torch"
    said = f"{chosen}: {computes} computes image towers on a CPU"
    return Check(name="CPU runtime", verdict="ok", found=said)


def _check_disk(folder: Path) -> Check:
    place = next(one for one in (folder, *folder.parents) if one.exists())
    free_gb = shutil.disk_usage(place).free / 1e9
    said = f"{free_gb:.1f} GB free for the data folder"
    if not os.access(place, os.W_OK):
        do = "make the service's user the owner of the folder"
        return Check(name="disk", verdict="fails", found="the data folder is read-only", do=do)
    if free_gb < _DISK_GB:
        do = "free some space: Redis accepts nothing once it cannot write its log"
        return Check(name="disk", verdict="fails", found=said, do=do)
    return Check(name="disk", verdict="ok", found=said)
