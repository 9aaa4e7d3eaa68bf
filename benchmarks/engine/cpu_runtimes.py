"""How fast towers and engine are on a CPU by OpenVINO, beside torch and the published loop.

    python benchmarks/engine/cpu_runtimes.py                     # every model, minutes each
    python benchmarks/engine/cpu_runtimes.py --model bundled-2 --rounds 5

For each model and batch shape all ways take turns, round after round: the bare tower, and the
engine from request to certificate, by torch (with oneDNN's layers), by OpenVINO in fp32, in bf16
and in int8; the noise alone; and the loop of the published code, reimplemented, with its libraries'
own layers. `quantize_tower`, which `promptsmooth models quantize` calls, makes the towers in int8
on the train images of --data. Ratios are medians of the rounds' ratios. Time on the clock and time
of the processor are both taken, because other load on the machine moves the first far more than the
second. Results of models and processors that are not run again stay.
"""

import json
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from worker.processes.scheduling import wait_passively

wait_passively()

import numpy as np  # noqa: E402  # OpenMP reads its setting once
import torch  # noqa: E402
import typer  # noqa: E402
from random_vlm import SHAPES, create_card, create_vlm  # noqa: E402
from throughput import SIGMA, create_image, run_baseline, run_engine  # noqa: E402

from models.catalogue.cards import (  # noqa: E402
    QUANTIZED_NETWORK,
    QUANTIZED_WEIGHTS,
    Precision,
)
from models.datasets.image_folder import list_images  # noqa: E402
from models.installation.quantize import Images, quantize_tower  # noqa: E402
from models.vlm._imports import get_openvino  # noqa: E402
from models.vlm.compiled import CannotCompile, CompiledVLM  # noqa: E402
from models.vlm.quantized import QuantizedNetwork  # noqa: E402
from models.vlm.vlm import VLM  # noqa: E402
from worker.contract.image import Image  # noqa: E402
from worker.engine.engine import Engine  # noqa: E402
from worker.engine.runner.machine import set_threads  # noqa: E402
from worker.engine.shelf.fingerprint import create_probe_batch  # noqa: E402
from worker.engine.shelf.row_test import check_compiled  # noqa: E402
from worker.engine.shelf.shelf import Shelf  # noqa: E402
from worker.sampling.kernel import sample_noisy_images  # noqa: E402
from worker.sampling.table import create_noise_table  # noqa: E402
from worker.sampling.words import NoiseKey  # noqa: E402

RESULTS = Path(__file__).parents[1] / "results"
DATA = Path("../shared/data/kermany_cxr")
CPU = torch.device("cpu")
RUNS = {"bundled-2": (16, 64), "plip": (16,), "medclip-vit": (16,), "quiltnet-b16": (16,)}
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8")
IMAGES, SIGMAS = 64, (0.25, 0.5)  # that the ranges of int8 are measured on
TODAY = "engine, torch fp32"  # the engine before OpenVINO
Way = tuple[int, Callable[[], object]]  # samples of one call, and the call


def create_vlms(name: str, rows: int, data: Path) -> dict[str, VLM]:
    """The model by each runtime; each compiled one has passed the engine's own test."""
    card = create_card(name, rows=rows, precision="fp32")
    by_torch = create_vlm(card, CPU)
    quantized = quantize(by_torch, data)
    found: dict[str, VLM] = {"torch fp32": by_torch}
    for precision in PRECISIONS:
        try:
            only_int8 = quantized if precision == "int8" else None
            compiled = CompiledVLM(by_torch, precision, quantized=only_int8)
        except CannotCompile as error:
            typer.echo(f"{name}: {error}")
            continue
        check_compiled(compiled)
        found[f"OpenVINO {precision}"] = compiled
    return found


def quantize(vlm: VLM, data: Path) -> QuantizedNetwork:
    """The image tower in int8, its ranges measured on train images of a dataset."""
    found = list_images(data, "train")
    return create_quantized(vlm, found.load(found.spread(IMAGES), vlm.card.preprocessing), SIGMAS)


def create_quantized(vlm: VLM, images: Images, sigmas: Sequence[float]) -> QuantizedNetwork:
    """The image tower in int8, its ranges measured on noisy copies of these images."""
    with TemporaryDirectory() as made:
        quantize_tower(vlm, Path(made), images=images, sigmas=sigmas)
        network, weights = (
            Path(made, name).read_bytes() for name in (QUANTIZED_NETWORK, QUANTIZED_WEIGHTS)
        )
    return QuantizedNetwork(network, weights, None)


def create_ways(name: str, rows: int, seconds: float, data: Path) -> dict[str, Way]:
    """What takes turns, each for about so many seconds."""
    vlms = create_vlms(name, rows, data)
    pixels = create_probe_batch(rows, vlms["torch fp32"].card.preprocessing.size)
    ways: dict[str, Callable[[int], object]] = {}
    for label, vlm in vlms.items():
        ways[f"tower, {label}"] = lambda batches, vlm=vlm: run_tower(vlm, pixels, batches)
        ways[f"engine, {label}"] = create_engine_run(vlm, rows)
    plain = create_vlm(vlms["torch fp32"].card, CPU, plain=True)
    image = create_image(plain.card.preprocessing.size)
    ways["noise, one thread"] = lambda batches: run_noise(image, rows, batches)
    ways["published loop"] = lambda batches: run_baseline(plain, plain.card, image, batches * rows)
    return {label: fit(way, rows, seconds) for label, way in ways.items()}


@torch.inference_mode()
def run_tower(vlm: VLM, pixels: torch.Tensor, batches: int) -> None:
    """Integers to features, always of the same batch, without noise or votes."""
    for _ in range(batches):
        vlm.encode_images(pixels)


def run_noise(image: Image, rows: int, batches: int) -> None:
    """The noise of so many batches, added to the image."""
    table, out = create_noise_table(str(SIGMA)), np.empty((rows, image.size), dtype=np.int16)
    for batch in range(batches):
        sample_noisy_images(image, NoiseKey(0, 0), table, start=batch * rows, out=out)


def create_engine_run(vlm: VLM, rows: int) -> Callable[[int], object]:
    """Certifies one image with a number of batches. No two calls have the same noise."""
    engine, image = Engine(Shelf.holding([vlm])), create_image(vlm.card.preprocessing.size)
    seeds = iter(range(1, 10**9))
    return lambda batches: run_engine(engine, vlm, image, max(2, batches) * rows, next(seeds))


def fit(way: Callable[[int], object], rows: int, seconds: float) -> Way:
    """The way with the number of batches that take about so long; it is warm afterwards."""
    way(2)
    began = time.perf_counter()
    way(2)
    batches = max(2, round(2 * seconds / (time.perf_counter() - began)))
    return batches * rows, lambda: way(batches)


def measure(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock, and of the processor in all threads of this process."""
    began, spent = time.perf_counter(), count_cpu_s()
    work()
    return time.perf_counter() - began, count_cpu_s() - spent


def count_cpu_s() -> float:
    """Seconds of the processor that this process has taken."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def take_turns(ways: dict[str, Way], rounds: int) -> dict[str, dict[str, float]]:
    """For each way, samples a second and CPU milliseconds a sample, and both beside others.

    `of_tower` compares an engine with its own bare tower.
    """
    clock: dict[str, list[float]] = {label: [] for label in ways}
    cpu: dict[str, list[float]] = {label: [] for label in ways}
    for _ in range(rounds):
        for label, (samples, work) in ways.items():
            wall_s, cpu_s = measure(work)
            clock[label].append(samples / wall_s)
            cpu[label].append(samples / cpu_s)
    return {
        label: {
            "samples_per_s": median(clock[label]),
            "cpu_ms_per_sample": 1000 / median(cpu[label]),
            "times_engine_today": find_ratio(clock[label], clock[TODAY]),
            "times_engine_today_by_cpu": find_ratio(cpu[label], cpu[TODAY]),
        }
        | _compare_with_tower(label, clock, cpu)
        for label in ways
    }


def _compare_with_tower(
    label: str, clock: dict[str, list[float]], cpu: dict[str, list[float]]
) -> dict[str, float]:
    tower = label.replace("engine", "tower")
    if tower == label or tower not in clock:
        return {}
    return {
        "of_tower": find_ratio(clock[label], clock[tower]),
        "of_tower_by_cpu": find_ratio(cpu[label], cpu[tower]),
    }


def find_ratio(above: list[float], below: list[float]) -> float:
    """The median of each round's ratio."""
    return median(x / y for x, y in zip(above, below, strict=True))


def name_processor() -> str:
    """The processor as Linux names it."""
    about = _read_cpuinfo()
    name = about["model name"].replace("(R)", "")
    return f"{name} family {about['cpu family']} model {about['model']}"


def describe_machine() -> str:
    """The threads, what the processor has for bf16 and int8, and the versions."""
    known = ("avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
    has = ", ".join(flag for flag in known if flag in _read_cpuinfo()["flags"].split())
    versions = f"torch {torch.__version__}, OpenVINO {get_openvino().get_version()}"
    return f"{torch.get_num_threads()} threads, {has}; {versions}"


def _read_cpuinfo() -> dict[str, str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    fields = (line.split(":", 1) for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, value in fields}


def write(results: dict[str, Any], folder: Path) -> None:
    """Writes the results as JSON and as tables."""
    (folder / "cpu-runtimes.json").write_text(json.dumps(results, indent=1) + "\n")
    lines = [
        "# The engine by OpenVINO and by torch on a CPU",
        "",
        "`python benchmarks/engine/cpu_runtimes.py`. All ways of one table took turns, round after",
        "round. Ratios are medians of the rounds' ratios. Others used the machine meanwhile: CPU",
        "time is the figure that this moves least. Of its tower: an engine beside its bare tower.",
    ]
    for title, found in results.items():
        lines += ["", f"## {title}", "", found["machine"], ""]
        lines += [
            "| | samples/s | beside the engine by torch | of its tower | CPU ms a sample "
            "| beside the engine by torch, CPU | of its tower, CPU |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [_format_row(label, one) for label, one in found["ways"].items()]
    (folder / "cpu-runtimes.md").write_text("\n".join(lines) + "\n")


def _format_row(label: str, one: dict[str, float]) -> str:
    clock, cpu = (
        f"{one[name]:.2f}" if name in one else "" for name in ("of_tower", "of_tower_by_cpu")
    )
    return (
        f"| {label} | {one['samples_per_s']:.1f} | {one['times_engine_today']:.2f} | {clock} "
        f"| {one['cpu_ms_per_sample']:.3g} | {one['times_engine_today_by_cpu']:.2f} | {cpu} |"
    )


def main(
    model: Annotated[list[str] | None, typer.Option(help="Repeatable; default: all.")] = None,
    rounds: Annotated[int, typer.Option(min=3)] = 9,
    seconds: Annotated[float, typer.Option(help="Of each way in each round.")] = 0.5,
    data: Annotated[Path, typer.Option(help="Dataset of the ranges of int8.")] = DATA,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
) -> None:
    """Measures, and writes cpu-runtimes.json and cpu-runtimes.md."""
    set_threads(0)
    file = out / "cpu-runtimes.json"
    results: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    for name in model or RUNS:
        for rows in RUNS[name]:
            size = create_card(name, rows=rows, precision="fp32").preprocessing.size
            ways = take_turns(create_ways(name, rows, seconds, data), rounds)
            machine = f"{describe_machine()}; {rounds} rounds of {seconds} s each."
            title = f"{SHAPES[name]}, {size} px, batch {rows}, {name_processor()}"
            results[title] = {"machine": machine, "ways": ways}
            write(results, out)


if __name__ == "__main__":
    typer.run(main)
