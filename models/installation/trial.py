"""Tries a model out before it is kept: here, or apart where OpenVINO reads its file."""

from pathlib import Path

import torch

from models.catalogue.cards import ModelCard
from models.loading.apart import try_apart
from models.loading.loading import load_vlm
from models.loading.trial import try_out


def try_added(card: ModelCard, folder: Path) -> None:
    """Loads the model of a folder once, with the same strict checks as in an engine.

    Raises:
        WeightsError: a file is missing, or does not load.
        FeaturesUnusable, ValueError: as `try_out`.
    """
    if card.architecture == "onnx" or card.quantization is not None:
        try_apart(card, folder)
    else:
        try_out(load_vlm(card, folder, torch.device("cpu")))
