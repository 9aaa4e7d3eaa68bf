"""CPU time of certification noise, compared with float32 normals and with a plain search.

    python benchmarks/engine/noise.py

The three ways are timed in turns, round after round, so that other load on the machine affects all
of them. The figures are nanoseconds of one thread's CPU time per value (medians over the rounds)
and the median of each round's ratio to the baseline. Before that, our way and the search must agree
in every integer.
"""

import importlib.metadata
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import typer

from worker.sampling import NoiseKey, NoiseTable, create_noise_table, sample_words
from worker.sampling.kernel import sample_noisy_images

SIGMAS = ("0.1", "0.25", "0.5", "1.0")
SIDES = (64, 224)
KEY = NoiseKey(0xA4093822299F31D0, 0x082EFA98EC4E6C89)
VALUES = 600_000  # a measurement draws about this many
WAYS = {
    "normal": "float32 `standard_normal` + `rint`",
    "search": "words + `searchsorted`, numpy",
    "ours": "ours: words, table and addition in one compiled loop",
}
RESULTS = Path(__file__).parents[1] / "results"


@dataclass(frozen=True, kw_only=True)
class Row:
    """The cost for one sigma and size; ratios are to `normal`."""

    sigma: str
    d: int
    ns_per_value: dict[str, float]
    ratio: dict[str, float]


def draw_normals(rng: np.random.Generator, out: np.ndarray) -> None:
    """The baseline. It neither scales the noise nor adds it to an image, which would cost more."""
    for row in out:
        rng.standard_normal(dtype=np.float32, out=row)
        np.rint(row, out=row)


def search_words(image: np.ndarray, table: NoiseTable, out: np.ndarray) -> None:
    """The definition, in numpy."""
    for sample, row in enumerate(out):
        below = np.searchsorted(table.thresholds, sample_words(KEY, sample, image.size))
        np.add(image, below + table.first_index, out=row, casting="unsafe")


def create_ways(sigma: str, d: int) -> dict[str, Callable[[], object]]:
    """The three ways as functions. Checks first that ours and the search agree."""
    rng, table, rows = np.random.default_rng(0), create_noise_table(sigma), max(1, VALUES // d)
    image = rng.integers(0, 256, d, dtype=np.uint8)
    normals = np.empty((rows, d), dtype=np.float32)
    searched, ours = np.empty((rows, d), dtype=np.int16), np.empty((rows, d), dtype=np.int16)
    ways = {
        "normal": lambda: draw_normals(rng, normals),
        "search": lambda: search_words(image, table, searched),
        "ours": lambda: sample_noisy_images(image, KEY, table, start=0, out=ours),
    }
    for way in ways.values():
        way()
    if not np.array_equal(searched, ours):
        raise AssertionError(f"the compiled loop differs from the definition at sigma {sigma}")
    return ways


def measure(way: Callable[[], object], values: int) -> float:
    """Nanoseconds of this thread's CPU time per value."""
    started = time.thread_time_ns()
    way()
    return (time.thread_time_ns() - started) / values


def compare(sigma: str, d: int, rounds: int) -> Row:
    """Times the three ways in turns."""
    ways, values = create_ways(sigma, d), max(1, VALUES // d) * d
    times = [{name: measure(way, values) for name, way in ways.items()} for _ in range(rounds)]
    return Row(
        sigma=sigma,
        d=d,
        ns_per_value={name: round(median(t[name] for t in times), 2) for name in ways},
        ratio={name: round(median(t[name] / t["normal"] for t in times), 2) for name in ways},
    )


def describe_machine() -> dict[str, str]:
    """The processor and the versions that determine speed."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "device": names[0] if names else platform.processor() or platform.machine(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("numpy", "numba", "llvmlite")},
    }


def as_markdown(machine: dict[str, str], command: str, rounds: int, rows: list[Row]) -> str:
    """The Markdown page."""
    lines = [
        "# Noise on a CPU",
        "",
        f"`{command}`, one thread, {rounds} rounds, on a machine that others used too:",
        ", ".join(f"{name} {value}" for name, value in machine.items()) + ".",
        "",
        "Nanoseconds of CPU time per value (medians); in brackets the median ratio to the first.",
        "",
        "| sigma | d | " + " | ".join(WAYS.values()) + " |",
        "|---" * (2 + len(WAYS)) + "|",
    ]
    for row in rows:
        cells = [f"{row.ns_per_value[name]:.1f} ({row.ratio[name]:.2f})" for name in WAYS]
        lines.append(f"| {row.sigma} | {row.d:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(
    rounds: Annotated[int, typer.Option(min=3, help="Times each way is measured.")] = 15,
    folder: Annotated[
        Path, typer.Option(help="Where the results go.", show_default="benchmarks/results")
    ] = RESULTS,
) -> None:
    """Times certification noise on this CPU; writes noise-cpu.json and noise-cpu.md."""
    machine, command = describe_machine(), f"python benchmarks/engine/noise.py --rounds {rounds}"
    rows = [compare(sigma, 3 * side**2, rounds) for side in SIDES for sigma in SIGMAS]
    folder.mkdir(parents=True, exist_ok=True)
    report = {"command": command, "machine": machine, "ways": WAYS, "rows": [*map(asdict, rows)]}
    (folder / "noise-cpu.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    markdown = as_markdown(machine, command, rounds, rows)
    (folder / "noise-cpu.md").write_text(markdown, encoding="utf-8")
    typer.echo(markdown)


if __name__ == "__main__":
    typer.run(main)
