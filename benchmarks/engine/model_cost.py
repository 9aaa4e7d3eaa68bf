"""What a decision costs with each known model on this machine: GFLOP, images a second, memory.

    python benchmarks/engine/model_cost.py                              # all, minutes each
    python benchmarks/engine/model_cost.py --model keep --rounds 5

Each model has random weights of its published size, in memory: they are as fast as the real ones.
For each, OpenVINO computes small batches of the image tower in fp32, bf16 and int8; these take
turns, round after round, and the median counts. Time is that of the processor, summed over its
cores, because other load on the machine moves it little. So rates are those of one core. Operations
are torch's own count of multiplications and additions for one image, on the shape alone. The time
of a decision of 162 samples is computed from the rate. Writes results/model-cost.json and .md.
Results of models that are not run again stay.
"""

import gc
import json
import time
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import torch
import typer
from cpu_runtimes import create_quantized, name_processor
from random_vlm import create_card, create_shape, create_vlm
from torch.utils.flop_counter import FlopCounterMode

from models.catalogue.cards import Precision
from models.loading.memory_growth import find_packing, list_weights
from models.vlm.compiled import CannotCompile, CompiledVLM
from models.vlm.quantized import QuantizedNetwork
from models.vlm.vlm import VLM
from worker.engine.runner.machine import set_threads

RESULTS = Path(__file__).parents[1] / "results"
CPU = torch.device("cpu")
DECISION = 162  # samples, as a yes-or-no question took on average (docs/choosing.md)
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8")
FEW_IMAGES = 8
BATCH_GFLOP = 200  # of one timed batch, about
MODELS = (
    "plip",
    "quiltnet-b16",
    "biomedclip",
    "pathgen-clip",
    "dermlip-b16",
    "unimed-clip-b16",
    "keep",
    "monet",
    "bmc-clip",
    "conch",
    "xrayclip-b16",
    "unimed-clip-l14",
    "xrayclip-l14",
    "medsiglip-448",
)


def describe(model_id: str) -> dict[str, Any]:
    """What a model's shape alone tells: the operations of its image tower."""
    card = create_card(model_id, rows=1, precision="fp32")
    size = card.preprocessing.size
    with torch.device("meta"), torch.no_grad():
        _, image_tower = create_shape(card)
        with FlopCounterMode(display=False) as counter:
            image_tower(torch.empty(1, 3, size, size))
    return {"image_size": size, "gflop": counter.get_total_flops() / 1e9}


def measure(model_id: str, gflop: float, rounds: int) -> dict[str, Any]:
    """A model's memory in MB and images a second of one core, in each precision."""
    card = create_card(model_id, rows=None, precision="fp32")
    rows = max(1, min(card.batch_size["cpu"], int(BATCH_GFLOP / gflop)))
    base = create_vlm(card, CPU)
    quantized = quantize_on_noise(base)
    found: dict[str, CompiledVLM] = {}
    for precision in PRECISIONS:
        try:
            only_int8 = quantized if precision == "int8" else None
            found[precision] = CompiledVLM(base, precision, rows=rows, quantized=only_int8)
        except CannotCompile as error:
            typer.echo(f"{model_id}: {error}")
    for vlm in found.values():
        time_batch(vlm, rows)  # warms up
    seconds: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(rounds):
        for name, vlm in found.items():
            seconds[name].append(time_batch(vlm, rows))
    rates = {name: rows / median(taken) for name, taken in seconds.items()}
    return {
        "rows": rows,
        "rounds": rounds,
        "processor": name_processor(),
        "memory_mb": {name: count_weights(vlm) / 1e6 for name, vlm in found.items()},
        "images_per_s": rates,
        "decision_s": {name: DECISION / rate for name, rate in rates.items()},
    }


def quantize_on_noise(vlm: VLM) -> QuantizedNetwork:
    """The image tower in int8. Its ranges are those of noise, which is as fast as real ones."""
    size = vlm.card.preprocessing.size
    shape = (FEW_IMAGES, 3, size, size)
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    return create_quantized(vlm, images, (0.25,))


def count_weights(vlm: CompiledVLM) -> int:
    """Bytes of all weights in memory, those of the image tower as OpenVINO packs them."""
    return sum(tensor.nbytes for tensor in list_weights(vlm)) + find_packing(vlm)


def time_batch(vlm: VLM, rows: int) -> float:
    """Seconds of the processor for one batch of noisy images."""
    size = vlm.card.preprocessing.size
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(-80, 336, (rows, 3, size, size), generator=generator, dtype=torch.int16)
    began = time.process_time()
    vlm.encode_images(pixels)
    return time.process_time() - began


def write_table(results: dict[str, Any]) -> str:
    """The table of docs/models.md."""
    lines = [
        "| model | pixels | GFLOP an image | weights in memory, MB | images a second of one core | "
        "seconds of one core, 162 samples |",
        "|---|---|---|---|---|---|",
    ]
    for model_id, row in sorted(results.items(), key=lambda pair: pair[1]["gflop"]):
        figures = [_say(row.get(name, {})) for name in ("memory_mb", "images_per_s", "decision_s")]
        head = [f"`{model_id}`", str(row["image_size"]), f"{row['gflop']:.1f}"]
        lines.append(f"| {' | '.join(head + figures)} |")
    return "\n".join(lines) + "\n"


def _say(found: dict[str, float]) -> str:
    """The figures of all precisions; a dash was not measured."""
    values = [found.get(name) for name in PRECISIONS]
    return " / ".join("–" if one is None else _round(one) for one in values)


def _round(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def main(
    model: Annotated[list[str] | None, typer.Option(help="Ids of known models.")] = None,
    rounds: Annotated[int, typer.Option(min=0, help="0: operations alone.")] = 3,
    threads: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Measures the models, one at a time, and writes the results after each."""
    set_threads(threads)
    file = RESULTS / "model-cost.json"
    results = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for model_id in model or MODELS:
        results[model_id] = results.get(model_id, {}) | describe(model_id)
        if rounds:
            results[model_id] |= measure(model_id, results[model_id]["gflop"], rounds)
        file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        table = write_table(results)
        (RESULTS / "model-cost.md").write_text(HEAD + table, encoding="utf-8")
        gc.collect()
    typer.echo(table)


HEAD = """# What a decision costs with each known model

By `python benchmarks/engine/model_cost.py`: random weights of each published size, the image tower
alone by OpenVINO, medians of the rounds, in seconds of one core of the processor. Operations are
multiplications and additions for one image. The seconds of a decision are computed from the rate.
Three figures are those in fp32, bf16 and int8. `model-cost.json` names the processor.

"""

if __name__ == "__main__":
    typer.run(main)
