"""What the loaders of towers are given: a model's files, compared with its card."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from models.catalogue.cards import ModelCard, WeightFile
from models.catalogue.config_file import ConfigFile
from models.catalogue.weights import UnreadableWeights

_Config = TypeVar("_Config", bound=ConfigFile)


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """The files of a model, and how it is wanted.

    Attributes:
        folder: where its files lie.
        tensors: the card's file that holds the tensors.
        contents: the contents of the other files, by name.
        image_dtype: in which the image tower computes.
    """

    card: ModelCard
    folder: Path
    tensors: WeightFile
    contents: Mapping[str, bytes]
    image_dtype: torch.dtype
    device: torch.device

    def read_config(self, kind: type[_Config]) -> _Config:
        """Returns the architecture.

        Raises:
            WeightsError: the card does not name its file, or it cannot be read.
        """
        if kind.FILE not in self.contents:
            raise UnreadableWeights(kind.FILE, "the card does not name it")
        return kind.parse(self.contents[kind.FILE])
