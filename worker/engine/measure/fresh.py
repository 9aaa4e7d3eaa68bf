"""Computes features and logits in a new process: python -m worker.engine.measure.fresh.

A restart may choose other kernels, which nothing in a running process can reveal.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.catalogue.cards import ModelCard
from models.vlm.base_classifier import create_base_classifier
from worker.contract import Contract
from worker.engine.measure.eta import Elsewhere, Output, run_all
from worker.engine.runner.machine import set_threads
from worker.engine.shelf.runtime import TORCH, CpuRuntime, load_served
from worker.processes.parent import with_parent


class FreshProcessFailed(ValueError):
    """The new process gave no answer. The message quotes its last line."""


class FreshRun(Contract):
    """What the new process runs, and where it writes its answer.

    `batches` is a file with int16 (N, B, 3, H, W). `answer` is a file with the float32 arrays
    text_features (C, D), image_features (N, B, D) and logits (N, B, C).
    """

    card: ModelCard
    folder: Path
    device: str
    threads: int
    runtime: CpuRuntime
    batches: Path
    answer: Path


def run_afresh(
    batches: Sequence[Tensor],
    *,
    card: ModelCard,
    folder: Path,
    device: torch.device,
    runtime: CpuRuntime = TORCH,
) -> Elsewhere:
    """The output of f, under the card's own prompt, for `batches` in a new process.

    Raises:
        FreshProcessFailed: the process ended without an answer.
    """
    with tempfile.TemporaryDirectory(prefix="promptsmooth-") as name:
        home = Path(name)
        wanted = FreshRun(
            card=card,
            folder=folder,
            device=str(device),
            threads=torch.get_num_threads(),
            runtime=runtime,
            batches=home / "batches.npy",
            answer=home / "answer.npz",
        )
        np.save(wanted.batches, np.stack([batch.numpy() for batch in batches]))
        _run_child(wanted)
        return _read_answer(wanted.answer)


def _read_answer(path: Path) -> Elsewhere:
    with np.load(path) as file:
        answer = {name: torch.from_numpy(file[name]) for name in file.files}
    pairs = zip(answer["image_features"], answer["logits"], strict=True)
    return Elsewhere(
        text_features=answer["text_features"],
        outputs=[Output(image_features=features, logits=logits) for features, logits in pairs],
    )


def _run_child(wanted: FreshRun) -> None:
    command = with_parent([sys.executable, "-m", "worker.engine.measure.fresh"])
    done = subprocess.run(  # noqa: S603  # our own module
        command, input=wanted.model_dump_json(), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise FreshProcessFailed(
            f"the model ran in this process but not in a new one, which ended with "
            f"exit status {done.returncode}; its last line: {last}"
        )


def main() -> None:
    """Runs the `FreshRun` on standard input and writes its answer."""
    wanted = FreshRun.model_validate_json(sys.stdin.read())
    set_threads(wanted.threads)
    card = wanted.card
    vlm = load_served(card, wanted.folder, torch.device(wanted.device), wanted.runtime)
    classifier = create_base_classifier(vlm, card.template, card.class_names)
    batches = np.load(wanted.batches, mmap_mode="r")
    found = run_all(classifier, (torch.from_numpy(np.array(batch)) for batch in batches))
    np.savez(
        wanted.answer,
        text_features=found.text_features.numpy(),
        image_features=np.stack([output.image_features.numpy() for output in found.outputs]),
        logits=np.stack([output.logits.numpy() for output in found.outputs]),
    )


if __name__ == "__main__":
    main()
