"""How large a service must be for a number of images a day: arithmetic on measured figures.

    python benchmarks/service/sizing.py            # writes docs/sizing.md
    python benchmarks/service/sizing.py --check    # exit status 1 if the page differs

The figures are those of throughput-cpu.json, staged.json, redis-cost.json and soak.json in
benchmarks/results. Nothing is measured here, and no GPU was measured there.
"""

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.settings import SharedSettings

ROOT = Path(__file__).parents[2]
RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "sizing.md"
IMAGES = (100, 1_000, 10_000, 100_000)
TOWERS = {"bundled fp32": "bundled-2", "plip fp32": "ViT-B/32", "quiltnet-b16 fp32": "ViT-B/16"}
SIDES = (64, 224, 448)
DAY_S = 24 * 3600
BUSY = 0.7
FILES_PER_BYTE = 3  # the log may double before it is rewritten, and the new one lies beside it
_MEASURED_SIDE = 64  # of the inputs that redis-cost.json was measured with


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked about an image at one noise level, and what it was measured to take.

    Attributes:
        samples: the mean over images.
        record_bytes: what Redis keeps of a job besides its input.
    """

    name: str
    samples: float
    record_bytes: float


def load(name: str) -> Any:
    """A file of measured figures."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def list_questions() -> tuple[Question, Question]:
    """A yes or no at a radius, and a radius near the largest provable one."""
    rows = [row for row in load("staged.json")["images"] if row["runs"] == 100]
    samples = {row["target"]: row["samples"] for row in rows}
    kinds = load("redis-cost.json")["kinds"]
    kept = {name: row["kept_bytes"] - count_bytes(_MEASURED_SIDE) for name, row in kinds.items()}
    return (
        Question(
            name="is the radius at least 0.5 σ?",
            samples=samples[0.5],
            record_bytes=kept["staged, radius at least 0.5 sigma"],
        ),
        Question(
            name="the radius, with `n_max` 10,000",
            samples=samples[None],
            record_bytes=kept["cohen, n = 10,000"],
        ),
    )


def count_bytes(side: int) -> int:
    """The bytes of a prepared image: three channels of 8 bits."""
    return 3 * side * side


def compute_rate(images: int, question: Question) -> float:
    """Samples a second, if the day's images come evenly and `BUSY` of the time is used."""
    return images * question.samples / DAY_S / BUSY


def count_cores(samples_per_s: float, measured: dict[str, Any], cores: int) -> int:
    """Cores like the measured ones for so many samples a second."""
    return math.ceil(cores * samples_per_s / measured["engine_per_s"])


def compute_memory(images: int, question: Question, side: int, days: float) -> float:
    """Bytes that Redis holds: inputs for `image_ttl_s`, certifications for so many days."""
    image_days = SharedSettings.model_fields["image_ttl_s"].default / DAY_S
    return images * (image_days * count_bytes(side) + days * question.record_bytes)


def compute_attempt_bytes() -> float:
    """Bytes that stay for ever of each image."""
    soak = load("soak.json")
    grown = soak["redis_after"]["attempts_bytes"] - soak["redis_before"]["attempts_bytes"]
    return float(grown / soak["jobs"])


def create_page() -> str:
    """The whole page."""
    throughput, questions = load("throughput-cpu.json"), list_questions()
    days = SharedSettings.model_fields["certificate_ttl_s"].default // DAY_S
    parts = [
        _HEAD.format(busy=f"{BUSY:.0%}".replace("%", " %")),
        "## Cores or GPUs",
        _CORES.format(cores=throughput["machine"]["cores"], cpu=throughput["machine"]["device"]),
        "\n".join(_list_cores(throughput, questions)),
        _GPUS,
        "## Memory of Redis",
        _MEMORY.format(days=days, files=FILES_PER_BYTE),
        "\n".join(_list_memory(questions, days)),
        _TAIL.format(attempt=compute_attempt_bytes()),
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _list_cores(throughput: dict[str, Any], questions: tuple[Question, ...]) -> Iterator[str]:
    yield f"| images a day | question | samples a second | {' | '.join(TOWERS.values())} |"
    yield "|---|---|---|" + "---|" * len(TOWERS)
    for question in questions:
        for images in IMAGES:
            rate = compute_rate(images, question)
            needed = [
                f"{count_cores(rate, throughput['models'][name], throughput['machine']['cores']):,}"
                for name in TOWERS
            ]
            shown = f"{rate:,.1f}" if rate < 100 else f"{rate:,.0f}"
            yield f"| {images:,} | {question.name} | {shown} | {' | '.join(needed)} |"


def _list_memory(questions: tuple[Question, ...], days: int) -> Iterator[str]:
    yield (
        "| images a day | question | certificates kept | "
        + " | ".join(f"input of {side} × {side}" for side in SIDES)
        + " |"
    )
    yield "|---|---|---|" + "---|" * len(SIDES)
    for question in questions:
        for images in IMAGES:
            for kept in (days, 7):
                sizes = [_show(compute_memory(images, question, side, kept)) for side in SIDES]
                yield f"| {images:,} | {question.name} | {kept} days | {' | '.join(sizes)} |"


def _show(size: float) -> str:
    """Gigabytes, or megabytes where there is less than one; rounded up."""
    if size < 1e9:
        return f"{math.ceil(size / 1e6):,} MB"
    return f"{math.ceil(size / 1e8) / 10:,.1f} GB"


_HEAD = """\
# How large it must be

Images a day, and what they need. This page is written by `python benchmarks/service/sizing.py`
from figures that were measured ([throughput](../benchmarks/results/throughput-cpu.md),
[samples](../benchmarks/results/staged.md), [Redis](../benchmarks/results/redis-cost.md),
[soak](../benchmarks/results/soak.md)). The rest is arithmetic: one noise level and one prompting
for each image, images that come evenly over 24 hours, and machines that are busy for {busy} of
the time.

- If all images come in 8 hours, take three times as many cores.
- Further noise levels multiply the samples. Further promptings of one request share them.
- Samples are the mean over 100 real images of the demonstration sets. Images that are hard for
  your model take more: `promptsmooth evaluate` on some of your own prints the mean.
"""
_CORES = """\
Cores like those of the machine that was measured ({cores} cores, {cpu}, fp32, shared with other
work):
"""
_GPUS = """\
**GPUs.** No GPU has been measured here. `promptsmooth models check ID` on yours prints its images
a second, and `/metrics` has `promptsmooth_worker_model_samples_per_second`. Divide the third
column by that figure and round up. [Capacity
estimates](scaling.md#capacity-estimates-for-1-8-and-1000-gpus) say what is next to become the
limit.
"""
_MEMORY = """\
Certifications are kept for {days} days (`PROMPTSMOOTH_CERTIFICATE_TTL_S`) and inputs for a day
(`PROMPTSMOOTH_IMAGE_TTL_S`). Redis takes 1 GB by default. Set
`PROMPTSMOOTH_REDIS_MAXMEMORY` to what the table says and a
quarter more, and `PROMPTSMOOTH_REDIS_MEMORY` as [operations](operations.md#memory) says.
**Disk:** {files} times as much, because the log of Redis may double before it is rewritten, and
the new one is written beside the old.
"""
_TAIL = """\
Beside it grow, for ever:

- attempts, about {attempt:.0f} bytes of each image, because an attempt that was forgotten would
  be a free try;
- the audit log, on a disk of its own ([security](security.md#the-audit-log)).
"""


def main() -> int:
    """Writes the page, or compares it."""
    page = create_page()
    if "--check" in sys.argv[1:]:
        return int(PAGE.read_text(encoding="utf-8") != page)
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
