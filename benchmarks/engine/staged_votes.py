"""Votes of the bundled model on real test images, at every look of the staged schedule.

    python benchmarks/engine/staged_votes.py --data ../shared/data --images 100

The real engine draws and counts the noise of each image once, up to n_max, and n0 selection samples
under a key of their own. `benchmarks/engine/staged.py` replays procedures on these votes. An image
that is already in the file is not counted again, so a run can be interrupted and continued.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from worker.processes.scheduling import wait_passively

wait_passively()

from models.bundled.image_sets import load_image_set  # noqa: E402  # OpenMP reads its setting once
from models.catalogue import load_catalogue  # noqa: E402
from models.catalogue.cards import ModelCard  # noqa: E402
from models.loading.loading import load_vlm  # noqa: E402
from worker.certification import Phase, Tally, plan_looks  # noqa: E402
from worker.contract import (  # noqa: E402
    CertifyRequest,
    InputImage,
    ModelRef,
    StagedParameters,
    TemplateTarget,
)
from worker.contract.image import Image, image_sha256  # noqa: E402
from worker.contract.protocol import CountRange  # noqa: E402
from worker.contract.request import canonical_bytes  # noqa: E402
from worker.counting.sessions import NOTHING_TUNED, create_session  # noqa: E402
from worker.engine.engine import Engine  # noqa: E402
from worker.engine.local import LocalCounter  # noqa: E402
from worker.engine.runner.machine import choose_device, set_threads  # noqa: E402
from worker.engine.shelf.shelf import Shelf  # noqa: E402
from worker.sampling.keys import derive_key  # noqa: E402

SETS = ("mednist", "kermany_cxr", "bccd_cells")
OUT = Path(__file__).parents[1] / "results" / "staged_votes.json"
_PUBLIC = (
    b"benchmarks/engine/staged_votes.py, anyone may know these votes"  # not a secret of any service
)
_ALPHA, _N0 = 0.001, 100


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A test image, prepared for the model, with the classes it is compared with."""

    set_name: str
    image: Image
    target: TemplateTarget
    class_index: int


def choose_images(data: Path, card: ModelCard, images: int) -> list[Sample]:
    """`images` of the test folders, spread evenly over sets and classes, the sets in turns."""
    shares = [images // len(SETS) + (place < images % len(SETS)) for place in range(len(SETS))]
    chosen = [list(_choose(data / name, card, n)) for name, n in zip(SETS, shares, strict=True)]
    turns = range(max(shares))
    return [one_set[turn] for turn in turns for one_set in chosen if turn < len(one_set)]


def _choose(folder: Path, card: ModelCard, images: int) -> Iterator[Sample]:
    found = load_image_set(folder, "test", card.preprocessing)
    target = TemplateTarget(template=found.template, class_names=found.class_names)
    total = len(found.classes)
    for place in range(images):
        i = place * total // images
        yield Sample(
            set_name=found.name,
            image=found.pixels[i],
            target=target,
            class_index=int(found.classes[i]),
        )


def create_request(sample: Sample, card: ModelCard, sigma: Decimal, n_max: int) -> CertifyRequest:
    """The request that fixes the noise of one image."""
    _, height, width = sample.image.shape
    sha256 = image_sha256(sample.image)
    return CertifyRequest(
        input=InputImage(sha256=sha256, height=height, width=width, source="test folder"),
        model=ModelRef(id=card.id, sha256=card.sha256),
        targets=(sample.target,),
        sigmas=(sigma,),
        procedure=StagedParameters(n_max=n_max),
        alpha=Decimal(str(_ALPHA)),
    )


def count_votes(counter: LocalCounter, request: CertifyRequest, image: Image) -> dict[str, Any]:
    """Cumulative votes at every look up to n_max, and the votes of the selection samples."""
    canonical = canonical_bytes(request.identity())
    keys = {phase: derive_key(_PUBLIC, canonical, phase) for phase in ("selection", "estimation")}
    counter.open(create_session(request, {}, NOTHING_TUNED, keys), image)
    sizes = [look.n for look in plan_looks(_ALPHA, request.samples_total)]
    num_classes = len(request.targets[0].class_names)
    (selection,) = _count(counter, "selection", [_N0], num_classes)
    return {
        "selection": selection,
        "looks": list(_count(counter, "estimation", sizes, num_classes)),
    }


def _count(
    counter: LocalCounter, phase: Phase, sizes: list[int], num_classes: int
) -> Iterator[dict[str, Any]]:
    """Cumulative counts of one phase at each of `sizes`."""
    votes = Tally.empty(num_classes)
    for stop in sizes:
        counter.count(CountRange(sigma_index=0, phase=phase, start=votes.n, stop=stop))
        while votes.n < stop:
            part = counter.receive()
            if part.start != votes.n:
                raise RuntimeError(f"{part} does not follow {votes.n} samples")
            votes += Tally(counts=part.counts[0], ambiguous=part.ambiguous[0])
        yield {"n": votes.n, "counts": votes.counts, "ambiguous": votes.ambiguous}


def _load(path: Path, header: dict[str, Any]) -> list[dict[str, Any]]:
    """The images counted so far.

    Raises:
        ValueError: they were counted under other conditions.
    """
    if not path.exists():
        return []
    stored = json.loads(path.read_text(encoding="utf-8"))
    if stored["header"] != header:
        raise ValueError(f"{path} was counted under other conditions: move it away first")
    return list(stored["images"])


def _store(path: Path, header: dict[str, Any], images: list[dict[str, Any]]) -> None:
    lines = ",\n  ".join(json.dumps(image) for image in images)
    text = f'{{"header": {json.dumps(header, indent=1)},\n "images": [\n  {lines}\n ]\n}}\n'
    fresh = path.with_suffix(".part")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python benchmarks/engine/staged_votes.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = Path(os.environ.get("PROMPTSMOOTH_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=default, help="folder of the image sets")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--sigma", type=Decimal, default=Decimal("0.25"))
    parser.add_argument("--n-max", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=0, help="0: one for each core")
    parser.add_argument("--out", type=Path, default=OUT)
    run(parser.parse_args())


def run(chosen: argparse.Namespace) -> None:
    """Counts the images that are not in the file yet."""
    set_threads(chosen.threads)
    catalogue = load_catalogue(None)
    card = catalogue.get("bundled-2")
    vlm = load_vlm(card, catalogue.folder("bundled-2"), choose_device("cpu"))
    engine = Engine(Shelf.holding([vlm]))
    (identity,) = engine.status().models
    header = {
        "sigma": str(chosen.sigma),
        "n_max": chosen.n_max,
        "n0": _N0,
        "identity": identity.model_dump(mode="json"),
    }
    images = _load(chosen.out, header)
    counter = LocalCounter(engine)
    samples = choose_images(chosen.data, card, chosen.images)
    for sample in samples:
        request = create_request(sample, card, chosen.sigma, chosen.n_max)
        if any(image["sha256"] == request.input.sha256 for image in images):
            continue
        started = time.perf_counter()
        votes = count_votes(counter, request, sample.image)
        images.append(
            {
                "set": sample.set_name,
                "sha256": request.input.sha256,
                "class_index": sample.class_index,
                **votes,
            }
        )
        _store(chosen.out, header, images)
        took = time.perf_counter() - started
        sys.stderr.write(f"{len(images)} of {len(samples)} images, {took:.1f} s\n")


if __name__ == "__main__":
    main()
