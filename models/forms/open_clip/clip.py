"""The form of QuiltNet and most other models: open_clip's folder, or one of its checkpoints."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.catalogue.weights import StateDictMismatch
from models.forms.agreement import agree_on_model_cfg, agree_on_preprocessing
from models.forms.canonical import complete_model_cfg
from models.forms.files import (
    INDEX,
    find_weights,
    get_part,
    is_bare,
    list_shards,
    load_json,
    load_tensors,
)
from models.forms.form import Converted, Form, FormRefused, PublishedFiles
from models.forms.open_clip.files import write_open_clip
from models.loading.loading import CONFIG, create_clip
from models.loading.state_dict import check_state_dict

_NAMES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
    f"open_clip_model.safetensors{INDEX}",
    f"model.safetensors{INDEX}",
)
# Numbers that OpenAI's checkpoints hold beside the tensors, and where the configuration has them.
_OPENAI = {
    "input_resolution": ("vision_cfg", "image_size"),
    "context_length": ("text_cfg", "context_length"),
    "vocab_size": ("text_cfg", "vocab_size"),
}


def recognises(source: PublishedFiles) -> bool:
    """Recognises an open_clip configuration, or bare weights whose description names this form."""
    config = source.find_config(CONFIG)
    if config is not None:
        found = get_part(load_json(config), "model_cfg", CONFIG)
        return not any(key.startswith("hf_") for key in get_part(found, "text_cfg", CONFIG))
    return is_bare(source, "open-clip")


def convert(source: PublishedFiles, folder: Path) -> Converted:
    """See `Form.convert`."""
    path = source.find_config(CONFIG)
    weights = find_weights(source, _NAMES)
    config: dict[str, Any] = load_json(path) if path is not None else {}
    found = get_part(config, "model_cfg", CONFIG)
    model_cfg, filled = agree_on_model_cfg(found, source.description)
    if not model_cfg:
        raise FormRefused(f"{weights} does not state its architecture; give its {CONFIG} too.")
    preprocessing = source.description.preprocessing
    notes = tuple(_explain(key, source) for key in filled)
    if path is not None:
        said = get_part(config, "preprocess_cfg", CONFIG)
        notes += agree_on_preprocessing(said, preprocessing)
    tensors = _read_openai(load_tensors(weights), model_cfg)
    with torch.device("meta"):
        check_state_dict(create_clip(model_cfg).state_dict(), tensors)
    write_open_clip(folder, model_cfg, preprocessing, tensors)
    index = (weights,) if weights.name.endswith(INDEX) else ()
    read = (*list_shards(weights), *index, *((path,) if path is not None else ()))
    return Converted(read=read, notes=notes)


def _read_openai(tensors: dict[str, Tensor], model_cfg: Mapping[str, Any]) -> dict[str, Tensor]:
    """Returns the tensors as open_clip has them, where the file has OpenAI's layout.

    Numbers of the architecture must agree with the configuration and are left out, and a
    logit_scale of shape (1,) becomes a scalar.
    """
    for name in sorted(_OPENAI.keys() & tensors.keys()):
        part, key = _OPENAI[name]
        expected, number = complete_model_cfg(model_cfg)[part][key], tensors.pop(name)
        if number.numel() != 1 or number.item() != expected:
            raise StateDictMismatch(name, expected=str(expected), found="another number")
    scale = tensors.get("logit_scale")
    if scale is not None and scale.shape == (1,):
        tensors["logit_scale"] = scale.reshape(())
    return tensors


def _explain(key: str, source: PublishedFiles) -> str:
    return f"The configuration leaves out {key}; the card of {source.description.id} supplies it."


FORM = Form(
    name="open-clip",
    looks_like=f"a folder with {CONFIG} and {' or '.join(_NAMES[:2])}",
    architectures=("open_clip",),
    recognises=recognises,
    convert=convert,
    hub_files=(CONFIG,),
    hub_weights=_NAMES,
)
