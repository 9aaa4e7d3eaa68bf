"""The report of benchmarks/engine/throughput.py as a Markdown page."""

import json
from pathlib import Path
from typing import Any

COHEN = (10_000, 100_000)
N0 = 100


def write_markdown(path: Path, report: dict[str, Any]) -> str:
    """Writes the page beside its JSON, and the profile of each model; returns the page."""
    page = as_markdown(report, find_staged_samples(path.parent))
    path.with_suffix(".md").write_text(page, encoding="utf-8")
    return page


def find_staged_samples(folder: Path) -> float | None:
    """Mean samples of `staged` for "is the radius at least 0.5 sigma?", if that was measured."""
    measured = folder / "staged.json"
    if not measured.exists():
        return None
    for row in json.loads(measured.read_text(encoding="utf-8"))["images"]:
        if row["target"] == 0.5 and row["runs"] == 100:
            return float(row["samples"])
    return None


def as_markdown(report: dict[str, Any], staged_samples: float | None) -> str:
    """The Markdown page."""
    machine = report["machine"]
    models = report["models"].values()
    lines = [
        f"# Throughput on {machine['device']}",
        "",
        ", ".join(f"{name} {value}" for name, value in machine.items() if name != "device") + ".",
        "Each row's command is in the JSON beside this page. The ways take turns, round after",
        "round; ratios are medians over the rounds, rates are medians of samples a second. Others",
        "used the machine too, and the rows are of different times: compare ratios, not rows.",
        "",
        "(a) the bare image tower of the engine at its best batch, and in brackets with the layers",
        "of its library; (b) our engine, from request to certificate; (c) a loop as the published",
        "code has it, with its library's layers; (d) a product of two large matrices, in this",
        "precision.",
        "",
        "| model | precision | batch a, b | (a) | (b) | (c) | b/a | b/c | (d), GFLOP/s "
        "| b's share of d | peak MB |",
        "|---" * 11 + "|",
    ]
    for one in models:
        lines.append(
            f"| {one['shape']} | {one['precision']} | {one['best_batch']}, {one['engine_batch']} "
            f"| {one['tower_per_s']:.1f} ({one['plain_tower_per_s']:.1f}) "
            f"| {one['engine_per_s']:.1f} | {one['baseline_per_s']:.1f} "
            f"| {one['b_over_a']:.3f} | {one['b_over_c']:.2f} | {one['matrix_gflop_per_s']:.0f} "
            f"| {100 * one['share_of_d']:.0f} % | {one['peak_memory_mb']:.0f} |"
        )
    lines += _certificates(models, staged_samples)
    lines += ["", "## Where one second of the engine goes", ""]
    for one in models:
        lines += [
            f"{one['shape']}, {one['precision']}:",
            "",
            "```",
            *_tidy(one["profile"]),
            "```",
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


def _certificates(models: Any, staged_samples: float | None) -> list[str]:
    head = "| model | precision | " + " | ".join(f"`cohen` n = {n:,}" for n in COHEN)
    staged = f" | `staged`, {staged_samples:,.0f} samples" if staged_samples else ""
    lines = [
        "",
        "## Seconds for one certificate",
        "",
        "Computed from the rate of (b), not timed: n + 100 samples for `cohen`."
        + (
            " For `staged` the mean number of samples of the bundled model on 100 real images for"
            " “is the radius at least 0.5σ?” (staged.md), in whole batches."
            if staged_samples
            else ""
        ),
        "",
        f"{head}{staged} |",
        "|---" * (4 + bool(staged)) + "|",
    ]
    for one in models:
        rate, rows = one["engine_per_s"], one["engine_batch"]
        cells = [f"{(n + N0) / rate:,.1f}" for n in COHEN]
        if staged_samples:
            cells.append(f"{-(-staged_samples // rows) * rows / rate:,.2f}")
        lines.append(f"| {one['shape']} | {one['precision']} | {' | '.join(cells)} |")
    return lines


def _tidy(table: str) -> list[str]:
    """The table without trailing blanks and without rules as wide as the table."""
    rows = (line.rstrip() for line in table.splitlines())
    return [row for row in rows if row and not set(row) <= {"-", " "}]
