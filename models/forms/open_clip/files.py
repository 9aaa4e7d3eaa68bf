"""Writes the two files that an open_clip model has in an installation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from models.catalogue.cards import Preprocessing
from models.forms.canonical import dump_canonical, spell_model_cfg
from models.loading.loading import CONFIG

TENSORS = "open_clip_model.safetensors"


def write_open_clip(
    folder: Path,
    model_cfg: Mapping[str, Any],
    preprocessing: Preprocessing,
    tensors: Mapping[str, Tensor],
) -> None:
    """Writes configuration and tensors for `models.loading.loading`.

    The bytes depend only on the model and not on how its configuration was published.
    """
    config = {
        "model_cfg": spell_model_cfg(model_cfg),
        "preprocess_cfg": {
            "mean": preprocessing.mean,
            "std": preprocessing.std,
            "interpolation": preprocessing.interpolation,
            "resize_mode": preprocessing.resize,
        },
    }
    (folder / CONFIG).write_bytes(dump_canonical(config))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / TENSORS)
