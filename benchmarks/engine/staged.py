"""What `staged` saves and loses compared with `cohen`: samples, equal decisions, radius.

    python benchmarks/engine/staged_votes.py --images 100
    python benchmarks/engine/staged.py

Uses synthetic classifiers with known p_A, and replays both procedures on prefixes of the same votes
of the bundled model on real test images, which `benchmarks/engine/staged_votes.py` counts. Writes
staged.json and staged.md. A synthetic row that is already in staged.json is not run again.
"""

import argparse
import json
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from scipy.stats import norm

from worker.certification import (
    Certified,
    Outcome,
    StoppingRule,
    Tally,
    certify_cohen,
    certify_staged,
    plan_looks,
    rounded_down,
)
from worker.certification.staged import Claim, judge_look

RESULTS = Path(__file__).parents[1] / "results"
ALPHA, N0 = 0.001, 100
SEED = 20
GRID = (-0.2, -0.1, -0.05, -0.02, -0.01, 0.0, 0.01, 0.02, 0.05, 0.1)
TARGETS = (0.5, 1.0)  # of sigma
DEFAULT_P = (0.4, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999)
Votes = Sequence[Tally]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What both procedures return for one image or one synthetic run; shown radii over sigma."""

    samples: int
    cohen_samples: int
    radius: float
    cohen_radius: float
    same_class: bool


def shown(outcome: Outcome, sigma: float) -> float:
    """The radius that a document shows, over sigma; 0 for an abstention."""
    return float(rounded_down(outcome.radius)) / sigma if isinstance(outcome, Certified) else 0.0


def stop(votes: Votes, rule: StoppingRule, sigma: float) -> Votes:
    """The looks that `staged` takes, given votes at its whole schedule."""
    planned = plan_looks(ALPHA, votes[-1].n)
    claims: list[Claim] = []
    for tally, look in zip(votes, planned, strict=True):
        claims.append(judge_look(tally, sigma=sigma, alpha=look.alpha))
        if rule.find_reason(tally, claims, planned, sigma=sigma) is not None:
            break
    return votes[: len(claims)]


def compare(selection: Tally, votes: Votes, rule: StoppingRule, sigma: float) -> Pair:
    """Both procedures on the same votes. `cohen` has its own selection samples and uses all."""
    made = stop(votes, rule, sigma)
    ours = certify_staged(
        [tally.counts for tally in made],
        sigma=sigma,
        alpha=ALPHA,
        n_max=votes[-1].n,
        ambiguous=[tally.ambiguous for tally in made],
    )
    theirs = certify_cohen(
        selection.counts,
        votes[-1].counts,
        sigma=sigma,
        alpha=ALPHA,
        ambiguous=votes[-1].ambiguous,
    )
    return Pair(
        samples=made[-1].n,
        cohen_samples=selection.n + votes[-1].n,
        radius=shown(ours, sigma),
        cohen_radius=shown(theirs, sigma),
        same_class=ours.top_class == theirs.top_class,
    )


def summarise(pairs: Sequence[Pair], target: float | None) -> dict[str, Any]:
    """Samples, equal decisions and radii of many pairs.

    A decision is yes or no to "at least the target"; without a target, it is the class or an
    abstention.
    """
    samples = fmean(pair.samples for pair in pairs)
    cohen_samples = fmean(pair.cohen_samples for pair in pairs)

    def yes(radius: float) -> bool:
        return radius > 0 if target is None else radius >= target

    equal = [
        yes(pair.radius) == yes(pair.cohen_radius)
        and (pair.same_class or not yes(pair.radius) or target is not None)
        for pair in pairs
    ]
    both = [pair for pair in pairs if pair.radius > 0 and pair.cohen_radius > 0]
    return {
        "runs": len(pairs),
        "samples": round(samples, 1),
        "cohen_samples": round(cohen_samples, 1),
        "times_fewer": round(cohen_samples / samples, 2),
        "yes": round(fmean(yes(pair.radius) for pair in pairs), 4),
        "cohen_yes": round(fmean(yes(pair.cohen_radius) for pair in pairs), 4),
        "equal_decisions": round(fmean(equal), 4),
        "both_certified": len(both),
        "radius": _mean(pair.radius for pair in both),
        "cohen_radius": _mean(pair.cohen_radius for pair in both),
    }


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return round(fmean(found), 4) if found else None


# --- Synthetic -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Case:
    """A classifier with known probabilities, and a question; sigma is 1.

    `rest` says how the other classes share 1 - p_a: all on one class, or evenly.
    """

    num_classes: int
    rest: str
    n_max: int
    target: float | None
    p_a: float

    @property
    def law(self) -> list[float]:
        others, rest = self.num_classes - 1, 1 - self.p_a
        shares = [rest, *[0.0] * (others - 1)] if self.rest == "one" else [rest / others] * others
        return [self.p_a, *shares]


def create_cases() -> Iterator[Case]:
    """Targets with p_A at distances from Phi(r / sigma), and the default rule over p_A."""
    for num_classes, rest in ((2, "one"), (9, "one"), (9, "alike")):
        for n_max in (10_000, 100_000):
            shape = {"num_classes": num_classes, "rest": rest, "n_max": n_max}
            for target in TARGETS:
                for distance in GRID:
                    p_a = round(float(norm.cdf(target)) + distance, 6)
                    if p_a < 1 and (p_a >= 0.5 or rest == "alike"):
                        yield Case(**shape, target=target, p_a=p_a)
            for p_a in DEFAULT_P:
                if p_a >= 0.5 or rest == "alike":
                    yield Case(**shape, target=None, p_a=p_a)


def run_case(case: Case, repetitions: int) -> dict[str, Any]:
    """Many runs of one case, with a fixed seed."""
    rng = np.random.default_rng(SEED)
    sizes = [look.n for look in plan_looks(ALPHA, case.n_max)]
    added = [rng.multinomial(n, case.law, repetitions) for n in np.diff([0, *sizes])]
    votes = np.cumsum(added, axis=0).tolist()  # (looks, repetitions, num_classes)
    selections = rng.multinomial(N0, case.law, repetitions).tolist()
    rule = StoppingRule(target_radius=case.target)
    pairs = [
        compare(
            Tally(counts=tuple(selections[i])),
            [Tally(counts=tuple(at_look[i])) for at_look in votes],
            rule,
            sigma=1.0,
        )
        for i in range(repetitions)
    ]
    return summarise(pairs, case.target)


# --- Real images -----------------------------------------------------------------------------


def run_images(stored: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The stored votes, by question and image set."""
    header, images = stored["header"], stored["images"]
    sigma = float(header["sigma"])
    sets = sorted({image["set"] for image in images})
    for over_sigma in (0.5, 1.0, None):
        target = None if over_sigma is None else over_sigma * sigma
        for names in ([name] for name in sets), [sets]:
            for chosen in names:
                pairs = [
                    compare(
                        _tally(image["selection"]),
                        [_tally(look) for look in image["looks"]],
                        StoppingRule(target_radius=target),
                        sigma,
                    )
                    for image in images
                    if image["set"] in chosen
                ]
                row = {"sets": chosen, "target": over_sigma}
                yield row | summarise(pairs, over_sigma) | _spread(pairs)


def _tally(look: dict[str, Any]) -> Tally:
    return Tally(counts=tuple(look["counts"]), ambiguous=look["ambiguous"])


def _spread(pairs: Sequence[Pair]) -> dict[str, float]:
    """How much images differ."""
    samples = sorted(pair.samples for pair in pairs)
    return {"samples_median": samples[len(samples) // 2], "samples_most": samples[-1]}


# --- Report ----------------------------------------------------------------------------------


def _rows(
    rows: Sequence[dict[str, Any]], columns: dict[str, Callable[[dict[str, Any]], object]]
) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(str(of(row)) for of in columns.values()) + " |" for row in rows]
    return "\n".join(lines)


def _percent(name: str) -> Callable[[dict[str, Any]], str]:
    return lambda row: f"{100 * row[name]:.1f} %"


def _figure(name: str, digits: int) -> Callable[[dict[str, Any]], str]:
    return lambda row: "" if row[name] is None else f"{row[name]:,.{digits}f}"


def _loss(row: dict[str, Any]) -> str:
    """How much smaller the mean radius of `staged` is, over runs that both certify."""
    if not row["cohen_radius"]:
        return ""
    if row["radius"] > row["cohen_radius"]:
        return f"gains {row['radius'] - row['cohen_radius']:.3f}σ"
    return f"{100 * (1 - row['radius'] / row['cohen_radius']):.1f} %"


def _distance(row: dict[str, Any]) -> str:
    return f"{round(row['p_a'] - float(norm.cdf(row['target'])), 2) + 0.0:+.2f}"


_COST = {
    "samples": _figure("samples", 0),
    "`cohen`": _figure("cohen_samples", 0),
    "times fewer": _figure("times_fewer", 1),
}
_YES = {"yes": _percent("yes"), "`cohen` yes": _percent("cohen_yes")}
_RADII = {
    "radius/σ": _figure("radius", 3),
    "`cohen` radius/σ": _figure("cohen_radius", 3),
    "loss": _loss,
}
_EQUAL = {"equal decisions": _percent("equal_decisions")}
_REST = {"one": "the rest on one class", "alike": "the rest alike on all"}


def create_report(result: dict[str, Any]) -> str:
    """The Markdown page."""
    parts = [
        "# `staged` against `cohen`",
        "Mean samples of a certificate, and what is lost by taking fewer. "
        f"α = {ALPHA}; `cohen` always takes n0 + n = {N0} + n_max samples. "
        "Made by `python benchmarks/engine/staged.py`; figures and versions in `staged.json`.",
        "A decision is yes or no to “is the radius at least the target?”, or, with the default "
        "rule, the class or an abstention. The loss of radius is that of the mean radius, over "
        "runs that both certify. The default rule asks for a radius within 5 % of what n_max "
        "would give at the proportions seen; the rest of its loss is the price of looking "
        "several times. With a target `staged` ends where that is answered, so its radius is no "
        "more than the answer needs. Gains are those of the runner-up bound: where the rest is "
        "spread over many classes the true radius exceeds σΦ⁻¹(p_A), which `cohen` cannot show, so "
        "the question is decided elsewhere than at p_A = Φ(r/σ), and decisions differ because "
        f"`staged` rightly says yes. Near p_A = ½ `cohen` abstains more often because {N0} "
        "selection samples choose the wrong class.",
        *_image_parts(result),
        *_synthetic_parts(result["synthetic"]),
    ]
    return "\n\n".join(parts) + "\n"


def _image_parts(result: dict[str, Any]) -> Iterator[str]:
    rows = result["images"]
    if not rows:
        return
    about = result["votes"]
    yield (
        f"## Bundled model, {rows[-1]['runs']} real test images, σ = {about['sigma']}, "
        f"n_max = {about['n_max']:,}"
    )
    yield (
        "Each set over its own classes in its own template. Both procedures see the same votes, "
        "counted once by the engine; `cohen` has selection samples of its own."
    )
    named = {
        "question": lambda row: "default" if row["target"] is None else f"R ≥ {row['target']}σ",
        "images": lambda row: ", ".join(row["sets"]) if len(row["sets"]) == 1 else "all",
        "number": _figure("runs", 0),
    }
    median = {"median": _figure("samples_median", 0)}
    yield _rows(rows, {**named, **_COST, **median, **_YES, **_EQUAL, **_RADII})


def _synthetic_parts(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield f"## Synthetic, {rows[0]['runs']} runs a row"
    shapes = dict.fromkeys((row["num_classes"], row["rest"], row["n_max"]) for row in rows)
    for shape in shapes:
        num_classes, rest, n_max = shape
        spread = f", {_REST[rest]}" if num_classes > 2 else ""
        yield f"### K = {num_classes}{spread}, n_max = {n_max:,}"
        mine = [row for row in rows if (row["num_classes"], row["rest"], row["n_max"]) == shape]
        asked = [row for row in mine if row["target"] is not None]
        target = {"question": lambda row: f"R ≥ {row['target']}σ", "p_A − Φ(r/σ)": _distance}
        p_a = {"p_A": lambda row: f"{row['p_a']:.3f}"}
        yield _rows(asked, {**target, **p_a, **_COST, **_YES, **_EQUAL})
        default = [row for row in mine if row["target"] is None]
        yield "Default rule:"
        yield _rows(default, {**p_a, **_COST, **_YES, **_EQUAL, **_RADII})


def _versions() -> dict[str, str]:
    names = ("promptsmooth-service", "numpy", "scipy")
    return {"python": platform.python_version()} | {name: version(name) for name in names}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python benchmarks/engine/staged.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--repetitions", type=int, default=1_000, help="runs of a synthetic row")
    parser.add_argument("--votes", type=Path, default=RESULTS / "staged_votes.json")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    chosen = parser.parse_args()
    path = chosen.out / "staged.json"
    result: dict[str, Any] = {
        "command": f"python benchmarks/engine/staged.py --repetitions {chosen.repetitions}",
        "alpha": ALPHA,
        "seed": SEED,
        "versions": _versions(),
    }
    known = _load_synthetic(path, result)
    result["synthetic"] = []
    for case in create_cases():
        key = asdict(case)
        row = next((row for row in known if key.items() <= row.items()), None)
        result["synthetic"].append(row or key | run_case(case, chosen.repetitions))
        _write(path, json.dumps(result, indent=1))
        sys.stderr.write(f"{key}\n")
    votes = json.loads(chosen.votes.read_text(encoding="utf-8")) if chosen.votes.exists() else None
    result["votes"] = None if votes is None else votes["header"]
    result["images"] = [] if votes is None else list(run_images(votes))
    _write(path, json.dumps(result, indent=1))
    _write(chosen.out / "staged.md", create_report(result))


def _load_synthetic(path: Path, like: dict[str, Any]) -> list[dict[str, Any]]:
    """The stored rows of an equal command with equal versions."""
    if not path.exists():
        return []
    stored = json.loads(path.read_text(encoding="utf-8"))
    return list(stored["synthetic"]) if like.items() <= stored.items() else []


def _write(path: Path, text: str) -> None:
    fresh = path.with_suffix(".part")
    fresh.write_text(text if text.endswith("\n") else text + "\n", encoding="utf-8")
    fresh.replace(path)


if __name__ == "__main__":
    main()
