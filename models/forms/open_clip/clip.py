"""The form of QuiltNet and most other models: open_clip's folder, or one of its checkpoints."""

from pathlib import Path
from typing import Any

import torch

from models.forms.agreement import agree_on_model_cfg, agree_on_preprocessing
from models.forms.files import WEIGHTS, get_part, load_json, load_tensors, require_weights
from models.forms.form import Converted, Form, FormRefused, Source
from models.forms.open_clip.files import write_open_clip
from models.loading.loading import CONFIG, create_clip
from models.loading.state_dict import check_state_dict

_NAMES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
)


def recognises(source: Source) -> bool:
    """Recognises an open_clip configuration, or bare weights whose description names this form."""
    config = source.find_config(CONFIG)
    if config is not None:
        found = get_part(load_json(config), "model_cfg", CONFIG)
        return not any(key.startswith("hf_") for key in get_part(found, "text_cfg", CONFIG))
    return source.path.suffix in WEIGHTS and source.published == "open-clip"


def convert(source: Source, folder: Path) -> Converted:
    """See `Form.convert`."""
    path = source.find_config(CONFIG)
    weights = require_weights(source.path, _NAMES) if source.path.is_dir() else source.path
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
    tensors = load_tensors(weights)
    with torch.device("meta"):
        check_state_dict(create_clip(model_cfg).state_dict(), tensors)
    write_open_clip(folder, model_cfg, preprocessing, tensors)
    read = tuple(file for file in (weights, path) if file is not None)
    return Converted(read=read, notes=notes)


def _explain(key: str, source: Source) -> str:
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
