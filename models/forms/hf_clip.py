"""The form of PLIP and PubMedCLIP: a folder that transformers' CLIPModel saved, or its weights."""

from pathlib import Path
from typing import Any

from models.cards import Preprocessing
from models.convert import convert_clip
from models.forms.agreement import agree_on_model_cfg
from models.forms.files import WEIGHTS, load_json, load_tensors, require_weights
from models.forms.form import Converted, Form, FormRefused, Source
from models.forms.open_clip_files import write_open_clip
from models.hf_clip_config import convert_config
from models.weights import ConfigMismatch

_CONFIG, _PROCESSOR = "config.json", "preprocessor_config.json"
_NAMES = ("model.safetensors", "pytorch_model.bin")


def recognises(source: Source) -> bool:
    """A folder with CLIPModel's config.json, or a bare file that card or --config say is such."""
    config = _find_config(source)
    if config is not None:
        return load_json(config).get("model_type") == "clip"
    return source.path.suffix in WEIGHTS and source.published == "hf-clip"


def convert(source: Source, folder: Path) -> Converted:
    """See `Form.convert`."""
    config = _find_config(source)
    weights = require_weights(source.path, _NAMES) if source.path.is_dir() else source.path
    found = convert_config(load_json(config)) if config is not None else {}
    model_cfg, _ = agree_on_model_cfg(found, source.description)
    if not model_cfg:
        raise FormRefused(f"{weights} says nothing of its architecture: name its config.json too.")
    processor = _find_processor(source)
    if processor is not None:
        _check_processor(load_json(processor), source.description.preprocessing)
    tensors = convert_clip(load_tensors(weights), model_cfg)
    write_open_clip(folder, model_cfg, source.description.preprocessing, tensors)
    read = tuple(path for path in (weights, config, processor) if path is not None)
    notes = () if config is not None else (_WITHOUT_CONFIG,)
    return Converted(read=read, notes=notes)


_WITHOUT_CONFIG = "No configuration came with the weights; the architecture is the card's."


def _find_config(source: Source) -> Path | None:
    if source.config is not None:
        return source.config
    path = source.path / _CONFIG
    return path if path.is_file() else None


def _find_processor(source: Source) -> Path | None:
    path = source.path / _PROCESSOR
    return path if path.is_file() else None


def _check_processor(found: dict[str, Any], preprocessing: Preprocessing) -> None:
    for key, expected in (("image_mean", preprocessing.mean), ("image_std", preprocessing.std)):
        if found.get(key) is not None and tuple(found[key]) != expected:
            raise ConfigMismatch(
                f"{_PROCESSOR}: {key}", expected=str(expected), found=str(tuple(found[key]))
            )


FORM = Form(
    name="hf-clip",
    looks_like=f"a folder with CLIPModel's {_CONFIG} and {' or '.join(_NAMES)}",
    architectures=("open_clip",),
    recognises=recognises,
    convert=convert,
    hub_files=(_CONFIG, _PROCESSOR),
    hub_weights=_NAMES,
)
