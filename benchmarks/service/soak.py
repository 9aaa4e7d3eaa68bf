"""Thousands of small jobs through the whole service: what stays in Redis, and what processes keep.

    python benchmarks/service/soak.py --jobs 5000 --write benchmarks/results/soak

Every job certifies a different image over HTTP, with an exact linear model and a few samples.
Images and certificates are kept for a minute. After that, Redis holds what it held before, plus the
attempts on images, which are kept for ever.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "chaos"))

from service import Ask, Service, start, wait_for

from worker.contract import QUEUE_NAME
from worker.store import keyspace
from worker.store.jobs import accepted

_KEEP_S = 60
_CLIENTS = 6
_PARTS = {
    "app": "-m app",
    "engine": "worker.engine",
    "supervisor": "-m worker",
    "RQ worker": "worker.rq_worker",
    "Redis": "valkey",
}


def measure_rss(service: Service) -> dict[str, float]:
    """Resident MiB of every process; of several of a kind, the largest."""
    found: dict[str, float] = {}
    for one in psutil.Process(service.process.pid).children(recursive=True):
        try:
            command, rss = " ".join(one.cmdline()) or one.name(), one.memory_info().rss / 2**20
        except psutil.Error:
            continue
        name = next((name for name, part in _PARTS.items() if command.endswith(part)), None)
        name = name or next((name for name, part in _PARTS.items() if part in command), None)
        if name is not None:
            found[name] = round(max(found.get(name, 0.0), rss), 1)
    return found


def measure_redis(service: Service) -> dict[str, Any]:
    """Memory, and keys by kind."""
    redis = service.redis
    kinds = Counter(
        ":".join(key.decode().split(":")[:2]) for key in redis.scan_iter("*", count=1000)
    )
    attempts = sum(redis.memory_usage(key) or 0 for key in redis.scan_iter(keyspace.attempts("*")))
    return {
        "used_bytes": redis.info("memory")["used_memory"],
        "attempts_bytes": attempts,
        "keys": dict(kinds),
    }


def send(service: Service, jobs: range) -> None:
    """Sends these jobs and waits until all have a result."""

    def run(places: list[int]) -> None:
        for place in places:
            service.submit(Ask(seed=10**6 + place, n=40))

    with ThreadPoolExecutor(_CLIENTS) as pool:
        list(pool.map(run, [list(jobs[first::_CLIENTS]) for first in range(_CLIENTS)]))
    redis = service.redis
    wait_for(lambda: not accepted.count_open(redis, QUEUE_NAME), within_s=300, what="all ended")


def soak(service: Service, jobs: int) -> dict[str, Any]:
    """Runs and measures the whole soak test."""
    send(service, range(200))  # so that every process has done everything once
    time.sleep(_KEEP_S + 40)
    before, step = measure_redis(service), max(1, jobs // 10)
    rss, began = [{"jobs": 0, **measure_rss(service)}], time.monotonic()
    for first in range(0, jobs, step):
        send(service, range(1000 + first, 1000 + min(first + step, jobs)))
        rss.append({"jobs": min(first + step, jobs), **measure_rss(service)})
        sys.stdout.write(f"{rss[-1]}\n")
        sys.stdout.flush()
    seconds = time.monotonic() - began
    at_end = measure_redis(service)
    time.sleep(_KEEP_S + 60)
    return {
        "jobs": jobs,
        "seconds": round(seconds, 1),
        "rss_mib": rss,
        "redis_before": before,
        "redis_at_end": at_end,
        "redis_after": measure_redis(service),
        "ended": service.get("/metrics").text.count('status="finished"'),
    }


def write(found: dict[str, Any]) -> str:
    """The Markdown page."""
    names = [name for name in found["rss_mib"][0] if name != "jobs"]
    before, end, after = (found[f"redis_{when}"] for when in ("before", "at_end", "after"))

    def row(text: str, one: dict[str, Any]) -> str:
        rest = (one["used_bytes"] - one["attempts_bytes"]) / 2**20
        return (
            f"| {text} | {one['used_bytes'] / 2**20:.2f} | {one['attempts_bytes'] / 2**20:.2f} "
            f"| {rest:.2f} | {sum(one['keys'].values())} |"
        )

    lines = [
        "# Soak",
        "",
        "Written by `benchmarks/service/soak.py`: small jobs over HTTP, each another image,",
        f"through the whole service; images and certificates kept for {_KEEP_S} s.",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {psutil.cpu_count()} cores, Python "
        f"{platform.python_version()}: {found['jobs']} jobs in {found['seconds']:.0f} s, "
        f"{found['jobs'] / found['seconds']:.0f} a second.",
        "",
        "## Redis",
        "",
        "| when | used, MiB | of it attempts | the rest | keys |",
        "|---|---:|---:|---:|---:|",
        row("before", before),
        row("after the last job", end),
        row("when all had expired", after),
        "",
        "Attempts are kept for ever, one key an image; one that expired would be a free roll.",
        "",
        "## Resident MiB of each process",
        "",
        f"| jobs | {' | '.join(names)} |",
        f"|---:|{'---:|' * len(names)}",
        *(
            f"| {one['jobs']} | {' | '.join(str(one.get(name, '')) for name in names)} |"
            for one in found["rss_mib"]
        ),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--write", type=Path, help="Without suffix: .json and .md are added.")
    options = parser.parse_args()
    kept = {"IMAGE_TTL_S": str(_KEEP_S), "CERTIFICATE_TTL_S": str(_KEEP_S)}
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as folder,
        start(Path(folder), settings=kept | {"MAX_QUEUED_JOBS": "100000"}) as service,
    ):
        found = soak(service, options.jobs)
    sys.stdout.write(write(found))
    if options.write:
        options.write.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
        options.write.with_suffix(".md").write_text(write(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
