"""Throws mutations of good image files at the decoder: python tests/fuzz/fuzz_images.py.

Each input goes through the same bounded process as an upload. Exit status 1 where anything but an
image or a refusal came out, a decoder used up its time or memory, or the program that forks
decoders ended. Crashes of a decoder that its own process contained are counted and kept too.
"""

import argparse
import json
import random
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mutations import mutate
from seeds import load_seeds

from models.catalogue.cards import Preprocessing
from models.imaging import DecodingBounds, DecodingUnavailable, ImageError, ImageLimits
from models.imaging.decoder.order import Order
from models.imaging.decoder.process import DecoderProcess, read_outcome

BOUNDS = DecodingBounds()
PREPROCESSING = Preprocessing(size=64, mean=(0.5,) * 3, std=(0.5,) * 3)


@dataclass
class Tally:
    """What came out."""

    findings: Path | None
    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    largest_bytes: int = 0
    unexpected: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, name: str, data: bytes, outcome: str, used: dict[str, Any]) -> None:
        with self.lock:
            self.inputs += 1
            self.outcomes[outcome] += 1
            self.slowest_s = max(self.slowest_s, used.get("wall_s", 0.0))
            self.largest_bytes = max(self.largest_bytes, used.get("peak_bytes", 0))
            if outcome in ("decoder_crashed", "decoding_timed_out") or outcome.startswith("!"):
                self._keep(name, data, outcome)

    def _keep(self, name: str, data: bytes, outcome: str) -> None:
        self.unexpected.append(f"{outcome}: from {name}, input {self.inputs}")
        if self.findings is not None:
            self.findings.mkdir(parents=True, exist_ok=True)
            (self.findings / f"{outcome.strip('!')}-{self.inputs}-{name}").write_bytes(data)

    @property
    def failed(self) -> bool:
        worse = [outcome for outcome in self.outcomes if outcome.startswith("!")]
        over = self.largest_bytes > BOUNDS.memory_bytes
        return bool(worse) or over or "decoding_timed_out" in self.outcomes


def fuzz(
    chance: random.Random, seeds: dict[str, bytes], stop: float, most: int, tally: Tally
) -> None:
    """Decodes mutations until the time or the inputs are used up."""
    names, files = list(seeds), list(seeds.values())
    process = DecoderProcess()
    try:
        for _ in range(most):
            if time.monotonic() > stop:
                return
            name = chance.choice(names)
            _try_one(process, name, mutate(seeds[name], files, chance), chance, tally)
    finally:
        process.end()


def _try_one(
    process: DecoderProcess, name: str, data: bytes, chance: random.Random, tally: Tally
) -> None:
    order = Order(
        preprocessing=PREPROCESSING,
        frame=chance.choice((None, 0, 0, 1)),
        window=chance.choice((None, None, "auto", (40.0, 400.0))),
        picture_side=chance.choice((None, 64)),
        limits=ImageLimits(),
        refuse_burned_in=False,
        bounds=BOUNDS,
    )
    used: dict[str, Any] = {}
    try:
        used, answer = process.decode(order, data)
        image = read_outcome(used, answer, order)
        sound = image.input.shape == (3, 64, 64) and 0 <= image.frame < image.frames
        outcome = "image" if sound else "!unsound"
    except ImageError as error:
        outcome = error.code
    except DecodingUnavailable:
        outcome = "!program ended"
    tally.add(name, data, outcome, used)


def main() -> int:
    """Runs it, prints what came out as JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--inputs", type=int, default=20_000)
    options.add_argument("--seconds", type=float, default=3600.0)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--processes", type=int, default=2)
    options.add_argument(
        "--folder", type=Path, action="append", default=[], help="further files; repeatable"
    )
    options.add_argument("--findings", type=Path, help="where inputs that found something are kept")
    asked = options.parse_args()
    seeds = load_seeds(asked.folder)
    tally, began = Tally(asked.findings), time.monotonic()
    with ThreadPoolExecutor(asked.processes) as pool:
        runs = [
            pool.submit(
                fuzz,
                random.Random(f"{asked.seed}/{number}"),
                seeds,
                began + asked.seconds,
                -(-asked.inputs // asked.processes),
                tally,
            )
            for number in range(asked.processes)
        ]
    for run in runs:
        run.result()  # what a thread raised is raised here
    json.dump(
        {
            "seed": asked.seed,
            "good_files": len(seeds),
            "inputs": tally.inputs,
            "seconds": round(time.monotonic() - began, 1),
            "slowest_s": round(tally.slowest_s, 3),
            "largest_bytes": tally.largest_bytes,
            "outcomes": dict(tally.outcomes.most_common()),
            "found": tally.unexpected,
        },
        sys.stdout,
        indent=1,
    )
    sys.stdout.write("\n")
    return int(tally.failed)


if __name__ == "__main__":
    sys.exit(main())
