"""Loads a model from the folder that `python -m models.bundled.train` wrote."""

from hashlib import sha256
from pathlib import Path

import torch

from models.catalogue import load_catalogue
from models.catalogue.cards import WeightFile
from models.loading.loading import load_vlm
from models.vlm.vlm import VLM


def load_trained_vlm(folder: Path) -> VLM:
    """Returns the model on the CPU, with the card of the model that ships and its own digests."""
    card = load_catalogue().get("bundled-2")
    files = tuple(_describe(folder / file.name) for file in card.files)
    return load_vlm(card.model_copy(update={"files": files}), folder, torch.device("cpu"))


def _describe(path: Path) -> WeightFile:
    content = path.read_bytes()
    digest = sha256(content).hexdigest()
    return WeightFile(name=path.name, sha256=digest, size_bytes=len(content))
