"""Eta of one model measured in this process: what `promptsmooth models measure-eta` does."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from models.catalogue.cards import ModelCard
from models.vlm.base_classifier import create_base_classifier
from worker.engine.measure import eta
from worker.engine.measure.elsewhere import load_output, save_output
from worker.engine.measure.fresh import run_afresh
from worker.engine.runner.machine import choose_device, set_threads
from worker.engine.runner.selftest import check_noise
from worker.engine.shelf.runtime import TORCH, CpuRuntime, load_served
from worker.prepare import prepare_image


def measure_model(
    card: ModelCard,
    folder: Path,
    *,
    device: str,
    threads: int,
    runtime: CpuRuntime,
    images: Sequence[bytes],
    each: int,
    save: Path | None = None,
    against: Sequence[Path] = (),
) -> eta.EtaReport:
    """Loads the model as an engine does, and measures its eta, which holds for every prompt.

    Args:
        card, folder: the model.
        device: auto, cpu or cuda.
        threads: CPU threads; 0: one for each core. Part of what the report is about.
        runtime: what computes the image tower on a CPU. Part of it too.
        images: files to add noise to, beside the synthetic images.
        each: batches at each noise level.
        save: where to write what f computes here, for a measurement on another host.
        against: such files of other hosts. Eta is then between all of them, and `covered` says
            which fingerprints tau covers.

    Raises:
        ValueError: the device is missing, a file is not an image, or eta has no bound.
        models.catalogue.weights.WeightsError: the model's files are not those of its card.
        worker.engine.measure.fresh.FreshProcessFailed: the model does not run in another process.
    """
    prepared = tuple(prepare_image(data, card)[0] for data in images)
    set_threads(threads)
    check_noise()
    chosen = choose_device(device)
    classifier = create_base_classifier(
        load_served(card, folder, chosen, runtime), card.template, card.class_names
    )
    batches = eta.sample_batches(
        (*prepared, *eta.create_synthetic_images(card.preprocessing.size)),
        batch_size=card.batch_size["cuda" if chosen.type == "cuda" else "cpu"],
        each=each,
    )
    reruns: dict[eta.Variation, Sequence[eta.Rerun]] = {
        eta.Variation.RESTART: [
            partial(run_afresh, card=card, folder=folder, device=chosen, runtime=runtime)
        ]
    }
    if others := _find_twins(chosen):
        reruns[eta.Variation.DEVICE] = [_rerun_on(card, folder, other) for other in others]
    pixels = [batch.pixels for batch in batches]
    if save is not None:
        save_output(save, classifier, pixels)
    others_f = [load_output(path, classifier, pixels) for path in against]
    if others_f:
        reruns[eta.Variation.FINGERPRINT] = [one.rerun for one in others_f]
    report = eta.measure_eta(classifier, batches, reruns)
    covered = {report.identity.fingerprint, *(one.fingerprint for one in others_f)} - {None}
    return report.model_copy(update={"covered": tuple(sorted(covered))})


def _find_twins(device: torch.device) -> list[torch.device]:
    """The other devices of the same name: a job may meet any of them under one identity."""
    if device.type != "cuda":
        return []
    here = torch.cuda.current_device() if device.index is None else device.index
    name = torch.cuda.get_device_name(here)
    return [
        torch.device("cuda", i)
        for i in range(torch.cuda.device_count())
        if i != here and torch.cuda.get_device_name(i) == name
    ]


def _rerun_on(card: ModelCard, folder: Path, device: torch.device) -> eta.Rerun:
    vlm = load_served(card, folder, device, TORCH)  # a GPU, where no runtime is chosen
    return partial(eta.run_all, create_base_classifier(vlm, card.template, card.class_names))
