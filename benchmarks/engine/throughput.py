"""How fast the engine is compared with the bare image encoder, the published loop and the device.

    python benchmarks/engine/throughput.py                      # every model, a few minutes each
    python benchmarks/engine/throughput.py --model bundled-2 --quick

For each model four ways take turns, round after round, so that other load on the machine affects
all of them: (a) the bare image encoder at its best batch; (b) our engine, from request to
certificate; (c) a loop like the published PromptSmooth code, reimplemented, with its libraries' own
layers; (d) a large matrix product. Ratios are medians over the rounds. Each model runs in a
separate process; results of models that are not run again stay in the file.
"""

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Annotated, Any

from worker.processes.scheduling import wait_passively

wait_passively()

import numpy as np  # noqa: E402  # OpenMP reads its setting once
import torch  # noqa: E402
import typer  # noqa: E402
from random_vlm import SHAPES, create_card, create_vlm  # noqa: E402
from throughput_table import write_markdown  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from models.catalogue.cards import Precision  # noqa: E402
from models.catalogue.texts import create_text  # noqa: E402
from models.vlm.provenance import find_versions  # noqa: E402
from models.vlm.vlm import VLM, NormalisedTower  # noqa: E402
from worker.contract import (  # noqa: E402
    CertifyRequest,
    CohenParameters,
    InputImage,
    ModelRef,
    TemplateTarget,
)
from worker.contract.certificate.document import FinishedResult  # noqa: E402
from worker.contract.image import Image, image_sha256  # noqa: E402
from worker.counting.certify import certify  # noqa: E402
from worker.counting.records.protocol import Unrecorded  # noqa: E402
from worker.counting.roll import Roll  # noqa: E402
from worker.engine.engine import Engine  # noqa: E402
from worker.engine.local import LocalCounter  # noqa: E402
from worker.engine.runner.machine import choose_device, set_threads  # noqa: E402
from worker.engine.shelf.shelf import Shelf  # noqa: E402

RESULTS = Path(__file__).parents[1] / "results"
SIGMA = 0.25
BATCHES = {"cpu": (16, 32, 64), "cuda": (64, 128, 256, 512, 1024)}
BASELINE_BATCH = 100  # of the published code
N0 = 100
_SIDE = {"cpu": 2048, "cuda": 8192}  # of the matrices


@dataclass(kw_only=True)
class Times:
    """Samples a second of each way in each round; `d` in operations a second.

    `plain` is (a) with the tower's own linear layers, where the engine uses oneDNN's.
    """

    a: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    b: list[float] = field(default_factory=list)
    c: list[float] = field(default_factory=list)
    d: list[float] = field(default_factory=list)

    def ratio(self, above: list[float], below: list[float]) -> float:
        """The median of each round's ratio."""
        return median(x / y for x, y in zip(above, below, strict=True))


def synchronise(device: torch.device) -> None:
    """Waits until a GPU has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that `work` takes, including on the device."""
    synchronise(device)
    started = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - started


def create_image(size: int) -> Image:
    """Random grey levels; speed does not depend on them."""
    return np.random.default_rng(0).integers(0, 256, (3, size, size)).astype(np.uint8)


def create_inputs(vlm: NormalisedTower, rows: int, device: torch.device) -> torch.Tensor:
    """Normalised pixels in the precision of the tower."""
    size = vlm.normalise.size
    return torch.randn((rows, 3, size, size), device=device).to(vlm.image_dtype)


@torch.inference_mode()
def run_tower(vlm: NormalisedTower, inputs: torch.Tensor, batches: int) -> None:
    """(a) The image encoder alone, without noise or votes, always on the same pixels."""
    for _ in range(batches):
        vlm.encode_normalised(inputs)


def run_engine(engine: Engine, vlm: VLM, image: Image, samples: int, seed: int) -> FinishedResult:
    """(b) One certification by `cohen`, from request to document."""
    card = vlm.card
    request = CertifyRequest(
        input=InputImage(
            sha256=image_sha256(image), height=image.shape[1], width=image.shape[2], source="random"
        ),
        model=ModelRef(id=card.id, sha256=card.sha256),
        targets=(TemplateTarget(template=card.template, class_names=card.class_names),),
        sigmas=(Decimal(str(SIGMA)),),
        procedure=CohenParameters(n0=min(N0, samples // 2), n=samples - min(N0, samples // 2)),
        attempt=seed,
    )
    return certify(
        Roll(request, b"no secret: a benchmark"),
        image,
        counter=LocalCounter(engine),
        records=Unrecorded(),
    )


@torch.inference_mode()
def run_baseline(vlm: NormalisedTower, card: Any, image: Image, samples: int) -> list[int]:
    """(c) What the published code does for each batch of 100.

    It normalises the image first, undoes that to add Gaussian noise from the device's own
    generator, normalises again, runs both encoders, copies the classes to the host and counts
    there.
    """
    device = vlm.device
    mean = torch.tensor(card.preprocessing.mean, device=device)[:, None, None]
    std = torch.tensor(card.preprocessing.std, device=device)[:, None, None]
    texts = [create_text(card.template, name) for name in card.class_names]
    clean = (torch.from_numpy(image).to(device) / 255 - mean) / std  # (3, H, W)
    counts = [0] * len(texts)
    left = samples
    while left > 0:
        rows = min(BASELINE_BATCH, left)
        left -= rows
        pixels = clean.repeat((rows, 1, 1, 1)) * std + mean  # (B, 3, H, W)
        noisy = pixels + torch.randn_like(pixels) * SIGMA
        features = vlm.encode_normalised(((noisy - mean) / std).to(vlm.image_dtype))  # (B, D)
        logits = vlm.logit_scale * features @ vlm.encode_texts(texts).T  # (B, C)
        for chosen in logits.argmax(dim=1).cpu().numpy():
            counts[chosen] += 1
    return counts


@torch.inference_mode()
def measure_matrices(dtype: torch.dtype, device: torch.device) -> float:
    """(d) Operations a second of square matrix products, by whichever library is faster."""
    side, times = _SIDE[device.type], 4 if device.type == "cpu" else 50
    a, b = (torch.randn((side, side), device=device, dtype=dtype) for _ in range(2))
    ways: list[Callable[[], object]] = [lambda: torch.mm(a, b)]
    if device.type == "cpu" and torch.backends.mkldnn.is_available():
        ways.append(lambda: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], ""))

    def multiply(way: Callable[[], object]) -> None:
        for _ in range(times):
            way()

    multiply(ways[0])
    took = min(timed(lambda way=way: multiply(way), device) for way in ways)
    return times * 2 * side**3 / took


def find_best_batch(vlm: NormalisedTower, device: torch.device, *, seconds: float) -> int:
    """The batch at which the bare tower is fastest; of two within 2 %, the smaller."""
    rates: dict[int, float] = {}
    for rows in BATCHES[device.type]:
        inputs = create_inputs(vlm, rows, device)
        run_tower(vlm, inputs, 1)
        once = timed(lambda batch=inputs: run_tower(vlm, batch, 1), device)
        batches = max(1, round(seconds / once))
        took = [timed(lambda n=batches, x=inputs: run_tower(vlm, x, n), device) for _ in range(2)]
        rates[rows] = batches * rows / min(took)
    top = max(rates.values())
    return min(rows for rows, rate in rates.items() if rate >= 0.98 * top)


def count_operations(vlm: NormalisedTower, device: torch.device) -> float:
    """Multiplications and additions for one image in the image encoder's products."""
    inputs = create_inputs(vlm, 1, device)
    with FlopCounterMode(display=False) as counter:
        vlm.encode_normalised(inputs)
    return float(counter.get_total_flops())


def measure(
    name: str, *, device: torch.device, precision: Precision | None, rounds: int, seconds: float
) -> dict[str, Any]:
    """Times all four ways of one model, in turns."""
    card = create_card(name, rows=None, precision=precision)
    vlm, plain = create_vlm(card, device), create_vlm(card, device, plain=True)
    assert isinstance(vlm, NormalisedTower)
    best = find_best_batch(vlm, device, seconds=seconds / 4)
    rows = card.batch_size[device.type] if name == "bundled-2" else best
    if rows != card.batch_size[device.type]:
        card = create_card(name, rows=rows, precision=precision)
        vlm.card = card  # type: ignore[misc]  # the same weights under a card with another shape
    engine = Engine(Shelf.holding([vlm]))
    image, inputs = create_image(card.preprocessing.size), create_inputs(vlm, best, device)
    run_engine(engine, vlm, image, 2 * rows, 0)
    run_baseline(plain, card, image, BASELINE_BATCH)
    rate = best / timed(lambda: run_tower(vlm, inputs, 1), device)
    batches = max(1, round(seconds * rate / rows))
    hundreds = max(1, round(seconds * rate / BASELINE_BATCH))
    at_engine = create_inputs(vlm, rows, device)  # the bare tower may be faster at this batch
    operations = count_operations(plain, device)
    times = Times()
    for number in range(1, rounds + 1):
        n = max(1, round(batches * rows / best))
        times.a.append(
            max(
                n * len(x) / timed(lambda n=n, x=x: run_tower(vlm, x, n), device)
                for n, x in ((n, inputs), (batches, at_engine))
            )
        )
        times.plain.append(n * best / timed(lambda n=n: run_tower(plain, inputs, n), device))
        samples = batches * rows
        took = timed(lambda s=samples, i=number: run_engine(engine, vlm, image, s, i), device)
        times.b.append(samples / took)
        samples = hundreds * BASELINE_BATCH
        took = timed(lambda s=samples: run_baseline(plain, card, image, s), device)
        times.c.append(samples / took)
        times.d.append(measure_matrices(vlm.image_dtype, device))
    return {
        "shape": SHAPES[name],
        "precision": card.precision[device.type],
        "classes": len(card.class_names),
        "best_batch": best,
        "engine_batch": rows,
        "rounds": rounds,
        "samples_a_round": batches * rows,
        "tower_per_s": median(times.a),
        "plain_tower_per_s": median(times.plain),
        "engine_per_s": median(times.b),
        "baseline_per_s": median(times.c),
        "matrix_gflop_per_s": median(times.d) / 1e9,
        "image_gflop": operations / 1e9,
        "b_over_a": times.ratio(times.b, times.a),
        "b_over_plain": times.ratio(times.b, times.plain),
        "b_over_c": times.ratio(times.b, times.c),
        "share_of_d": times.ratio(times.b, times.d) * operations,
        "peak_memory_mb": find_peak_memory(device) / 1e6,
        "all_rounds": {way: getattr(times, way) for way in ("a", "plain", "b", "c", "d")},
        "profile": profile_engine(engine, vlm, image, samples=max(rows, round(rate / rows) * rows)),
    }


def find_peak_memory(device: torch.device) -> int:
    """Peak memory in bytes: of the GPU if there is one, otherwise of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def profile_engine(engine: Engine, vlm: VLM, image: Image, *, samples: int) -> str:
    """Where about one second of the engine goes."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if vlm.device.type == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as profiler:
        run_engine(engine, vlm, image, samples, 10_000)
    by = "self_cuda_time_total" if len(kinds) > 1 else "self_cpu_time_total"
    table: str = profiler.key_averages().table(sort_by=by, row_limit=14, max_name_column_width=44)
    return f"{samples} samples\n{table}"


def describe_machine(device: torch.device) -> dict[str, Any]:
    """The device and the versions that determine speed."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "device": gpu or (names[0] if names else platform.machine()),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **find_versions("torch", "numpy", "numba", "open_clip_torch", "transformers"),
    }


def run_child(name: str, options: list[str]) -> dict[str, Any]:
    """Runs one model in a separate process, so that its memory peak is its own."""
    command = [sys.executable, __file__, "--model", name, "--in-process", *options]
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    measured: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return measured


def main(
    model: Annotated[
        list[str] | None, typer.Option(help=f"Of {', '.join(SHAPES)}; repeatable. Default: all.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[
        str | None, typer.Option(help="fp32 or bf16, for all ways.  (default: the card's)")
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads; 0: one for each core.")] = 0,
    rounds: Annotated[int, typer.Option(min=1)] = 7,
    seconds: Annotated[float, typer.Option(help="Of each way in each round.")] = 3.0,
    quick: Annotated[bool, typer.Option("--quick", help="One short round: does it run?")] = False,
    folder: Annotated[
        Path, typer.Option(help="Where the results go.", show_default="benchmarks/results")
    ] = RESULTS,
    in_process: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Measures the engine's throughput; writes throughput-<device>.json and .md."""
    if quick:
        rounds, seconds = 1, 0.5
    set_threads(threads)
    chosen = choose_device(device)
    if in_process:
        (name,) = model or ()
        found = measure(name, device=chosen, precision=precision, rounds=rounds, seconds=seconds)
        typer.echo(json.dumps(found))
        return
    options = ["--device", chosen.type, "--threads", str(threads)]
    options += ["--rounds", str(rounds), "--seconds", str(seconds)]
    options += ["--precision", precision] if precision else []
    path = folder / f"throughput-{chosen.type}.json"
    report = json.loads(path.read_text()) if path.exists() else {"models": {}}
    machine = describe_machine(chosen)
    if report.get("machine") not in (None, machine):
        raise typer.BadParameter(f"{path} is of another machine: move it away first")
    for name in model or SHAPES:
        found = run_child(name, options)
        key = f"{name} {found['precision']}"
        found["command"] = (
            f"python benchmarks/engine/throughput.py --model {name} {' '.join(options)}"
        )
        report = {"machine": machine, "models": {**report["models"], key: found}}
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        typer.echo(write_markdown(path, report))


if __name__ == "__main__":
    typer.run(main)
