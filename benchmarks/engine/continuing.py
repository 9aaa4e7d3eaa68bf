"""What it costs to be able to go on: `staged` with a cap against `staged` of equal n.

    python benchmarks/engine/continuing.py

A request with `n_cap` divides alpha over the looks up to the cap, so each of its certificates
proves a little less than a request that was sent for just that many samples. Both see the same
votes, drawn with known probabilities, and take all samples up to the end of the part. Writes
continuing.json and continuing.md.
"""

import argparse
import json
import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from worker.certification import Certified, Tally, certify_staged, plan_looks, rounded_down
from worker.certification.schedule import plan_parts

RESULTS = Path(__file__).parents[1] / "results"
ALPHA, SEED = 0.001, 20
REQUESTS = ((1_000, 4_000), (1_000, 16_000), (1_000, 100_000), (10_000, 100_000))
P_A = (0.6, 0.8, 0.95, 0.999, 1.0)
CLASSES = (2, 9)


def certify(votes: dict[int, Tally], n_max: int, n_cap: int | None, until: int) -> float:
    """The radius over sigma from all looks up to a size, rounded down; 0 for an abstention."""
    looks = plan_looks(ALPHA, n_max) if n_cap is None else plan_parts(ALPHA, n_max, n_cap).looks
    counts = [votes[look.n].counts for look in looks if look.n <= until]
    outcome = certify_staged(counts, sigma=1.0, alpha=ALPHA, n_max=n_max, n_cap=n_cap)
    return float(rounded_down(outcome.radius)) if isinstance(outcome, Certified) else 0.0


def run(classes: int, p_a: float, n_max: int, n_cap: int, runs: int) -> Iterator[dict[str, Any]]:
    """A row for each part of one request."""
    schedule = plan_parts(ALPHA, n_max, n_cap)
    ends = [schedule.looks[end - 1].n for end in schedule.ends]
    sizes = {look.n for end in ends for look in plan_looks(ALPHA, end)}
    drawn = draw(sorted(sizes | {look.n for look in schedule.looks}), classes, p_a, runs)
    for part, end in enumerate(ends):
        capped = fmean(certify(votes, n_max, n_cap, end) for votes in drawn)
        alone = fmean(certify(votes, end, None, end) for votes in drawn)
        yield {
            "classes": classes,
            "p_a": p_a,
            "n_max": n_max,
            "n_cap": n_cap,
            "part": part,
            "n": end,
            "radius": round(capped, 4),
            "staged_radius": round(alone, 4),
        }


def draw(sizes: Sequence[int], classes: int, p_a: float, runs: int) -> list[dict[int, Tally]]:
    """Cumulative votes at these sizes, the rest on one class; one run where votes are all alike."""
    law = [p_a, 1 - p_a, *[0.0] * (classes - 2)]
    rng, runs = np.random.default_rng(SEED), 1 if p_a == 1 else runs
    added = [rng.multinomial(n, law, runs) for n in np.diff([0, *sizes])]
    votes = np.cumsum(added, axis=0).tolist()
    return [
        {n: Tally(counts=tuple(at[i])) for n, at in zip(sizes, votes, strict=True)}
        for i in range(runs)
    ]


def create_report(result: dict[str, Any]) -> str:
    """The Markdown page."""
    lines = [
        "# `staged` with a cap against `staged` of equal n",
        "",
        "What it costs to be able to go on (`n_cap`): the mean radius at a part's end, over "
        f"{result['runs']} runs (one where p_A = 1, where all votes are alike), beside that of a "
        f"request for just that many samples on the same votes. α = {ALPHA}, σ = 1, all samples "
        "taken, the other votes on one class. Made by `python benchmarks/engine/continuing.py`; "
        "figures and versions in `continuing.json`.",
        "",
        "| K | n_max | n_cap | p_A | n | radius/σ | `staged` of n | loss |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in result["rows"]:
        if row["part"] and row["n"] not in (row["n_cap"], 4 * row["n_max"], 16 * row["n_max"]):
            continue
        loss = 100 * (1 - row["radius"] / row["staged_radius"])
        lines.append(
            f"| {row['classes']} | {row['n_max']:,} | {row['n_cap']:,} | {row['p_a']} | "
            f"{row['n']:,} | {row['radius']:.3f} | {row['staged_radius']:.3f} | {loss:.1f} % |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python benchmarks/engine/continuing.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, default=200, help="runs of a row")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    chosen = parser.parse_args()
    names = ("promptsmooth-service", "numpy", "scipy")
    result = {
        "command": f"python benchmarks/engine/continuing.py --runs {chosen.runs}",
        "alpha": ALPHA,
        "seed": SEED,
        "runs": chosen.runs,
        "versions": {"python": platform.python_version()} | {one: version(one) for one in names},
        "rows": [
            row
            for classes in CLASSES
            for n_max, n_cap in REQUESTS
            for p_a in P_A
            for row in run(classes, p_a, n_max, n_cap, chosen.runs)
        ],
    }
    (chosen.out / "continuing.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    (chosen.out / "continuing.md").write_text(create_report(result), encoding="utf-8")


if __name__ == "__main__":
    main()
