"""Loads an ONNX classifier from its card and file."""

from pathlib import Path

import torch

from models.catalogue.cards import ModelCard, Precision
from models.catalogue.weights import NetworkRefused, UnreadableWeights, load_file
from models.loading.onnx.graph import check_network, find_sides, get_image_input, parse_network
from models.loading.onnx.rows import check_rows
from models.loading.onnx.take_in import FILE
from models.vlm.compiled import CompiledVLM
from models.vlm.onnx_classifier import OnnxClassifier


def load_onnx(
    card: ModelCard, folder: Path, device: torch.device, precision: Precision | None
) -> CompiledVLM:
    """Loads and compiles the network of a card.

    Args:
        precision: what OpenVINO computes in; None takes the card's for CPUs.

    Raises:
        CannotCompile: as `CompiledVLM`.
        WeightsError: the file is missing or is not the one the card names, or the network is not
            one that can be certified.
    """
    if device.type != "cpu":
        raise NetworkRefused("OpenVINO computes it on a CPU; on a GPU it is not supported for now")
    file = next((file for file in card.files if file.name == FILE), None)
    if file is None:
        raise UnreadableWeights(FILE, "the card does not name it")
    content = load_file(file, folder)
    model = parse_network(content)
    check_network(model, card)
    batch = find_sides(get_image_input(model))[0]
    del model
    base = OnnxClassifier(card=card, content=content, batch=batch)
    if batch != 1:
        check_rows(base.read(batch or 1))
    return CompiledVLM(base, precision or card.precision["cpu"])
