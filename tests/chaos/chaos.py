"""make test-chaos: what is killed, what it costs, and that no certificate knows of it.

The same requests are certified twice under one key secret: by a service that is left alone, and by
one that is harmed at random moments, from a fixed seed. Prints a table and what was slower than
wanted; exits with 1 when a job was lost, has two results, or has another certificate than the
undisturbed run.
"""

import argparse
import faulthandler
import json
import math
import os
import platform
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import psutil
from chaos.events import HARM, Missed, cancel, fill_audit_disk, stop_before_start
from chaos.service import Ask, Service, start, wait_for

from worker.contract import PRIORITIES
from worker.health import find_fault
from worker.jobs.queue import RETRIES
from worker.store.counters import get_counters
from worker.store.jobs import progress as progress_store

SEED = 20261125
TIMES = {
    "work-horse killed": 12,
    "engine killed": 6,
    "RQ worker killed": 5,
    "worker host killed": 2,
    "app killed": 8,
    "Redis killed": 6,
    "Redis away for 30 s": 1,
}
TARGETS_S = {
    "work-horse killed": 3,
    "RQ worker killed": 35,
    "worker host killed": 35,
    "stopped between dequeue and start": 100,
    "app killed": 2,
    "app killed, service idle": 2,
    "Redis killed": 10,
    "cancelled": 1,
}
_LONG_S, _SMALL_N = 1.5, 300


BESIDE_OTHER = ", earlier harm not mended"


class Table:
    """Recovery times by what was done."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def note(self, event: str, seconds: float) -> None:
        self.seconds[event].append(seconds)
        print(f"{datetime.now(UTC):%H:%M:%S} {event}: {seconds:.2f} s", flush=True)


def quantile(values: Sequence[float], q: float) -> float:
    """The nearest rank: the smallest value that the share q of all does not exceed."""
    return sorted(values)[math.ceil(q * len(values)) - 1]


def shown(found: dict[str, Any]) -> str:
    """What must be the same, whatever happened: all but the id and its time."""
    assert found["status"] == "finished", found
    return json.dumps([found["certificates"], found["provenance"], found["signature"]])


def plan(jobs: int, long_n: int, random: Random) -> list[Ask]:
    """The requests, of each priority: every fifth is long enough to be harmed."""
    sizes = [long_n if place % 5 == 0 else random.randint(20, _SMALL_N) for place in range(jobs)]
    return [
        Ask(seed=place, n=n, priority=PRIORITIES[place % len(PRIORITIES)])
        for place, n in enumerate(sizes)
    ]


def measure_speed(service: Service) -> float:
    """Samples a second of one linear job alone, once everything is warm."""
    n = 200_000
    for attempt in range(3):
        began = time.monotonic()
        service.follow(service.submit(Ask(seed=10**8 + attempt, n=n)))
        seconds = time.monotonic() - began
    return n / seconds


def certify_all(service: Service, asks: Sequence[Ask]) -> dict[int, str]:
    """The certificates of an undisturbed service, by seed."""
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(service.submit, asks))
        found = list(pool.map(service.follow, ids))
    return {ask.seed: shown(one) for ask, one in zip(asks, found, strict=True)}


def harm(service: Service, asks: list[Ask], table: Table, random: Random) -> dict[str, Ask]:
    """Sends the requests while harm is done; the accepted certifications."""
    accepted: dict[str, Ask] = {}
    order = [event for event, times in TIMES.items() for _ in range(times)]
    random.shuffle(order)
    waiting = iter(asks)
    for place, event in enumerate(order):
        for ask in take(waiting, len(asks) * (place + 1) // len(order) - len(accepted)):
            accepted[service.submit(ask)] = ask
        time.sleep(random.uniform(0, 0.5))
        whole = service.is_whole()
        table.note(event if whole else event + BESIDE_OTHER, do(event, service, random))
        wait_for(lambda: service.get("/readyz").status_code == 200, what="ready")
    return accepted


def do(event: str, service: Service, random: Random) -> float:
    """Does harm until it hits something; the seconds until that was as before."""
    while True:
        with suppress(Missed):
            return HARM[event](service, random)


def take(asks: Iterator[Ask], number: int) -> list[Ask]:
    return list(islice(asks, max(0, number)))


def poison(service: Service, random: Random) -> int:
    """A job that ends the engine whenever it runs, and six others beside it; how many it ended."""
    neighbours = [service.submit(Ask(seed=2 * 10**7 + i, n=100_000)) for i in range(6)]
    job = service.submit(Ask(seed=3 * 10**7, n=1_000_000))
    kills, last = 0, None
    while not service.has_ended(job):
        progress = progress_store.find_progress(service.redis, job)
        if progress is not None and progress.updated_at != last:  # it has an engine, and counts
            kills, last = kills + 1, progress.updated_at
            for engine in service.processes("worker.engine"):
                engine.kill()
        time.sleep(0.01)
    assert kills > RETRIES
    ended = service.follow(job)
    assert ended["status"] == "failed", ended
    assert ended["failure"]["code"] == "certification_lost", ended
    for one in neighbours:
        shown(service.follow(one))
    return kills


def main() -> int:
    faulthandler.register(signal.SIGUSR1)  # where it waits, for who wonders
    os.environ.pop("PYTHONPATH", None)  # folders of tests have the names of the service's packages
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--part", choices=("harm", "ends", "both"), default="both")
    parser.add_argument("--results", type=Path, default=Path("build/chaos.json"))
    parser.add_argument("--write", type=Path, help="Markdown file to write from the results.")
    options = parser.parse_args()
    random = Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        if options.part != "ends":
            _keep(options.results, run_harm(Path(folder), options.jobs, random))
        if options.part != "harm":
            _keep(options.results, run_ends(Path(folder), random))
    found = json.loads(options.results.read_text())
    text = write(options.seed, found)
    print(text)
    if options.write:
        options.write.write_text(text, encoding="utf-8")
    slow = too_slow(found)
    print(f"slower than wanted: {', '.join(slow)}" if slow else "all within what is wanted")
    wrong = found.get("lost", 0) or found.get("double", 0) or found.get("other", 0)
    return int(bool(wrong))


def _keep(path: Path, results: dict[str, Any]) -> None:
    """Adds the results of a part to those of the other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(path.read_text()) if path.is_file() else {}
    seconds = known.get("seconds", {}) | results["seconds"]
    path.write_text(json.dumps(known | results | {"seconds": seconds}, indent=1))


def run_harm(folder: Path, jobs: int, random: Random) -> dict[str, Any]:
    """The same requests without and with harm."""
    table = Table()
    with start(folder / "quiet") as service:
        asks = plan(jobs, int(_LONG_S * measure_speed(service)), random)
        print(f"{len(asks)} requests, long ones of n = {asks[0].n}", flush=True)
        expected = certify_all(service, asks)
        secret = (folder / "quiet" / "data" / "key-secret").read_bytes()
    print("the undisturbed run has ended", flush=True)
    with start(folder / "harmed", secret=secret, long_n=asks[0].n) as service:
        load_s = measure_load(service)
        print(f"the engine needs {load_s:.1f} s to start again", flush=True)
        accepted = harm(service, asks, table, random)
        found = {one: service.follow(one) for one in accepted}
        counters, log = get_counters(service.redis), service.log()
    ends = Counter(
        json.loads(line)["certification_id"]
        for line in log.splitlines()
        if '"certification_ended"' in line
    )
    other = [one for one, ask in accepted.items() if shown(found[one]) != expected[ask.seed]]
    return {
        "seconds": dict(table.seconds),
        "load_s": load_s,
        "jobs": len(accepted),
        "lost": sum(one["status"] != "finished" for one in found.values()),
        "double": sum(ends[one] > 1 for one in found),
        "other": len(other),
        "counters": counters,
    }


def run_ends(folder: Path, random: Random) -> dict[str, Any]:
    """What is done to a service with nothing else to do, and the poison."""
    table = Table()
    with start(folder / "ends") as service:
        for _ in range(2):
            table.note("stopped between dequeue and start", stop_before_start(service, random))
        for _ in range(5):
            table.note("cancelled", cancel(service, random))
        for _ in range(5):
            table.note("app killed, service idle", HARM["app killed"](service, random))
            time.sleep(10)  # it has run well
        for _ in range(3):
            table.note("disk of the audit log full", fill_audit_disk(service, random))
        poisoned = poison(service, random)
        service.verify_audit_log()
    return {"seconds": dict(table.seconds), "poison": poisoned}


def measure_load(service: Service) -> float:
    """Seconds from an engine's death until its successor answers, with nothing to do."""
    socket_path = service.engine_socket
    engine = service.processes("worker.engine")[0]
    began = time.monotonic()
    engine.kill()
    engine.wait(10)
    wait_for(lambda: find_fault(socket_path) is None, what="the engine")
    return time.monotonic() - began


def find_targets(found: dict[str, Any]) -> dict[str, float]:
    load_s: float = found.get("load_s", 0.0)
    return TARGETS_S | {"engine killed": load_s + 3}


def too_slow(found: dict[str, Any]) -> list[str]:
    targets = find_targets(found)
    return [e for e, s in found["seconds"].items() if quantile(s, 0.95) > targets.get(e, 1e9)]


def rows(found: dict[str, Any]) -> Iterator[str]:
    targets = find_targets(found)
    yield "| event | times | recovery p50 | p95 | longest | target |"
    yield "|---|---:|---:|---:|---:|---:|"
    for event, seconds in found["seconds"].items():
        wanted = f"≤ {targets[event]:.1f} s" if event in targets else ""
        p50, p95 = (f"{quantile(seconds, q):.2f} s" for q in (0.5, 0.95))
        yield f"| {event} | {len(seconds)} | {p50} | {p95} | {max(seconds):.2f} s | {wanted} |"


_EVENTS = (
    ("retried", "attempts retried"),
    ("recovered", "jobs recovered by the clean-up process"),
    ("handed_back", "jobs handed back"),
    ("superseded", "runs superseded"),
    ("parked", "jobs given up"),
)


def write(seed: int, found: dict[str, Any]) -> str:
    """The page."""
    counters, memory_gb = found.get("counters", {}), psutil.virtual_memory().total / 2**30
    events = ", ".join(f"{counters.get(f'event:{name}', 0)} {text}" for name, text in _EVENTS)
    lines = [
        "# Recovery",
        "",
        "This page is what `make test-chaos` measured. The test certifies the same requests under",
        "the same key secret twice: with a service that is left alone, and with one that is harmed",
        "at random moments. It then compares every certificate and signature.",
        "",
        "Recovery time is measured from the harm",
        "",
        "- for a job, until a new run counts votes again from the stored votes, or the job ends;",
        "- for the app, until it answers;",
        "- for Redis, until a request is accepted;",
        "- for a cancel, until no process counts for the job.",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, seed {seed}, {platform.machine()}, "
        f"{psutil.cpu_count()} cores, {memory_gb:.0f} GB, Python {platform.python_version()}, "
        "embedded Valkey with `appendfsync always`, one worker host with 4 RQ workers, no GPU. The "
        "jobs keep all cores busy, so a process that starts again competes with them. "
        f"The engine with two small models needs {found.get('load_s', 0):.1f} s to start again.",
        "",
        f"**{found.get('jobs', 0)} jobs: {found.get('lost', 0)} lost, {found.get('double', 0)} "
        f"with two results, {found.get('other', 0)} with certificates other than those of the "
        "undisturbed run.**",
        "",
        *rows(found),
        "",
        f"During the run there were {events}.",
    ]
    if any(BESIDE_OTHER in event for event in found["seconds"]):
        lines += [
            "",
            f"“{BESIDE_OTHER.strip(', ')}” marks harm done while the engine or an RQ worker had "
            "not started again yet. A work-horse killed then waits for the engine. An app killed "
            "then competes with what starts.",
        ]
    if "poison" in found:
        lines += [
            "",
            f"A job that ended the engine each time it ran was given up after {found['poison']} "
            "engines, with a reason. Six jobs beside it finished. While the disk of the audit log "
            "was full, nothing was accepted, accepted jobs finished, and the log stayed whole.",
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
