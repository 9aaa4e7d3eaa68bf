"""Makes a model with an image tower in int8 from an installed one. Needs the extra `quantize`."""

import hashlib
import importlib
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.catalogue import load_catalogue
from models.catalogue.cards import (
    QUANTIZED_NETWORK,
    ModelCard,
    Quantization,
)
from models.installation.folder import CARD, begin_folder, describe_file, format_model_card
from models.loading.loading import load_vlm
from models.loading.trial import try_out
from models.vlm._imports import get_openvino
from models.vlm.bert import BertVLM
from models.vlm.compiled import convert
from models.vlm.open_clip import OpenClipVLM
from models.vlm.vlm import VLM

_ROWS = 8  # at most, of a batch: ranges are measured batch by batch
_LARGE_SIZE = 336  # above it, batches are smaller
_SEED = 20240601
_ANEW = {"id", "name", "files", "origin", "tau", "alike", "precision", "evaluation", "quantization"}
Images = npt.NDArray[np.uint8]


class CannotQuantize(ValueError):
    """The model has no image tower to quantize, or what quantizes is not installed."""


def quantize_model(
    parent: ModelCard,
    folder: Path,
    models: Path,
    *,
    model_id: str,
    images: Images,
    sigmas: Sequence[float],
) -> ModelCard:
    """Writes `<models>/<model_id>/`: the parent's files, and its image tower in int8.

    The ranges of int8 are measured on one noisy copy of each image, each with the next of `sigmas`
    in turn. The same parent, images and levels give the same files on the same kind of processor.
    The tower's accuracy is not known yet, nor is its tau. Texts stay as they are, and so prompts
    learned for the parent's weights are taken.

    Args:
        parent, folder: an installed model in fp32.
        models: the installation's models folder.
        model_id: the id of the new model.
        images: prepared for the parent, uint8 (n, 3, S, S).
        sigmas: noise levels of use, on pixels in [0, 1].

    Raises:
        CannotQuantize: as the class says.
        ModelTaken: the id already has a folder.
        WeightsError: as `load_vlm`.
    """
    nncf = _get_nncf()
    cpu = torch.device("cpu")
    if parent.denoiser is not None or parent.quantization is not None:
        raise CannotQuantize(f"{parent.id} has a denoiser or is quantized already")
    in_fp32 = parent.model_copy(update={"precision": {**parent.precision, "cpu": "fp32"}})
    vlm = load_vlm(in_fp32, folder, cpu)
    with begin_folder(models, model_id) as target:
        for file in parent.files:
            shutil.copyfile(folder / file.name, target / file.name)
        quantize_tower(vlm, target, images=images, sigmas=sigmas)
        card = _create_card(parent, target, model_id, images, sigmas, nncf.__version__)
        load_catalogue(models).check_addition(card, target / CARD)
        try_out(load_vlm(card, target, cpu, compiled="int8"))
        (target / CARD).write_text(format_model_card(card), encoding="utf-8")
    return card


def quantize_tower(vlm: VLM, folder: Path, *, images: Images, sigmas: Sequence[float]) -> None:
    """Writes a model's image tower, in int8, into the folder.

    Args:
        vlm: the model on the CPU, in fp32.
        folder: where the two files go.
        images, sigmas: as in `quantize_model`.

    Raises:
        CannotQuantize: as the class says.
    """
    if not isinstance(vlm, OpenClipVLM | BertVLM):
        raise CannotQuantize(f"{vlm.card.id} has no image tower that can be quantized")
    rows = count_rows(vlm.card.preprocessing.size)
    network = convert(vlm, rows, torch.float32)
    _write(_quantize(_get_nncf(), network, _sample_noisy(images, sigmas), rows), folder)


def count_rows(size: int) -> int:
    """Images of one batch. All of its attention maps are in memory, and grow with `size` ** 4."""
    return max(1, min(_ROWS, int(_ROWS * (_LARGE_SIZE / size) ** 4)))


def _get_nncf() -> ModuleType:
    """The package that quantizes, kept from telling its makers that it was used."""
    get_openvino()
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # cannot be imported
    try:
        return importlib.import_module("nncf")
    except ImportError as error:
        raise CannotQuantize(
            f"NNCF cannot be imported ({error}); install promptsmooth-service[quantize]"
        ) from error


def _sample_noisy(images: Images, sigmas: Sequence[float]) -> npt.NDArray[np.float32]:
    """One noisy copy of each image in whole levels, float32 (n, 3, S, S). For no certificate."""
    generator = np.random.Generator(np.random.Philox(_SEED))
    noisy = np.empty(images.shape, dtype=np.float32)
    for at, image in enumerate(images):
        sigma = sigmas[at % len(sigmas)]
        noisy[at] = np.rint(image + 255 * sigma * generator.standard_normal(image.shape))
    return noisy


def _quantize(nncf: ModuleType, network: Any, noisy: npt.NDArray[np.float32], rows: int) -> Any:
    batches = [noisy[at : at + rows] for at in range(0, len(noisy) - rows + 1, rows)]
    if not batches:
        raise CannotQuantize(f"expected at least {rows} images, got {len(noisy)}")
    return nncf.quantize(
        network,
        nncf.Dataset(batches),
        preset=nncf.QuantizationPreset.PERFORMANCE,
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(batches),
    )


def _write(network: Any, folder: Path) -> None:
    """Writes both files, without the names that a process gives to its layers in passing."""
    for at, layer in enumerate(network.get_ordered_ops()):
        layer.set_friendly_name(f"layer-{at}")
    network.set_friendly_name("image tower")
    # It names the weights' file like the network's, and leaves out what layers were made from.
    get_openvino().save_model(network, folder / QUANTIZED_NETWORK, compress_to_fp16=False)


def _create_card(
    parent: ModelCard,
    folder: Path,
    model_id: str,
    images: Images,
    sigmas: Sequence[float],
    version: str,
) -> ModelCard:
    rows = count_rows(parent.preprocessing.size)
    made = Quantization(
        parent=parent.id,
        parent_sha256=parent.sha256,
        copies=len(images) // rows * rows,
        sigmas=tuple(sigmas),
        images_sha256=hashlib.sha256(images.tobytes()).hexdigest(),
        made_by=f"nncf {version}",
    )
    return ModelCard(
        **parent.model_dump(exclude=_ANEW),
        id=model_id,
        name=f"{parent.name}, int8",
        precision={**parent.precision, "cpu": "int8"},
        quantization=made,
        files=tuple(describe_file(path) for path in sorted(folder.iterdir())),
        origin=parent.origin,
    )
