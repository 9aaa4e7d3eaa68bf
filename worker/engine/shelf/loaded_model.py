"""One model on the device: loaded, tested, warmed up and measured."""

from dataclasses import dataclass
from pathlib import Path

import torch

from models.catalogue.cards import ModelCard
from models.loading.trial import check_unit_length
from models.vlm.vlm import VLM
from worker.contract import Identity
from worker.engine.runner.runner import NoisePlace, Runner, create_runner
from worker.engine.shelf.classifiers import Classifiers
from worker.engine.shelf.fingerprint import Probe, probe
from worker.engine.shelf.identity import MeasureTau, find_rows, name_identity
from worker.engine.shelf.memory import measure_memory
from worker.engine.shelf.runtime import TORCH, CpuRuntime, load_served


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedModel:
    """A model that can vote, with everything kept for it. All of it leaves together.

    `batches_ahead` is the number of batches that the device computes while the host handles an
    older one. `samples_per_s` is the speed at warm-up.
    """

    vlm: VLM
    identity: Identity
    classifiers: Classifiers
    runner: Runner
    memory_bytes: int
    samples_per_s: float
    batches_ahead: int = 0


def load_model(
    card: ModelCard,
    folder: Path,
    device: torch.device,
    noise: NoisePlace = "auto",
    *,
    measure_tau: MeasureTau | None = None,
    runtime: CpuRuntime = TORCH,
) -> LoadedModel:
    """Loads a model, runs it at its batch shape, and checks its features.

    Kernels are chosen and compiled here, so that no user's request waits for this. On a GPU, a
    model whose card names no tau has it measured by `measure_tau`. On a CPU, `runtime` says what
    computes the image tower.

    Raises:
        CannotCompile: as `load_served`.
        WeightsError: a file is missing, is not the one the card names, or does not fit the
            architecture.
        FeaturesUnusable: the features are not finite or not of unit length.
        DeviceNoiseMissing, NoiseMismatch: as `create_runner`.
    """
    vlm = load_served(card, folder, device, runtime)
    seen = probe(vlm, find_rows(vlm))
    check_unit_length(vlm, seen.features, "noisy images")
    return _hold(vlm, seen, noise, measure_tau)


def hold_model(
    vlm: VLM, *, noise: NoisePlace = "auto", measure_tau: MeasureTau | None = None
) -> LoadedModel:
    """Wraps a model that is already on its device, with `measure_tau` as in `load_model`.

    Raises the errors of `create_runner`.
    """
    return _hold(vlm, probe(vlm, find_rows(vlm)), noise, measure_tau)


def _hold(vlm: VLM, seen: Probe, noise: NoisePlace, measure_tau: MeasureTau | None) -> LoadedModel:
    identity = name_identity(vlm, seen.fingerprint, measure_tau)
    return LoadedModel(
        vlm=vlm,
        identity=identity,
        runner=create_runner(vlm, identity.batch_size, noise),
        classifiers=Classifiers(vlm),
        memory_bytes=measure_memory(vlm),
        batches_ahead=1 if vlm.device.type == "cuda" else 0,
        samples_per_s=seen.samples_per_s,
    )
