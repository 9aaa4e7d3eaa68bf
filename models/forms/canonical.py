"""Writes an architecture in canonical form, so a model has one digest however it was published."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from models.catalogue.bert_config import BERT_CONFIG
from models.catalogue.weights import ConfigMismatch
from models.vlm._imports import get_open_clip

_TOP = {"quick_gelu": False, "custom_text": False}
# Keys of open_clip's own towers that are always written, even at open_clip's defaults.
_SHAPES = {
    "vision_cfg": ("image_size", "layers", "patch_size", "width"),
    "text_cfg": ("context_length", "heads", "layers", "vocab_size", "width"),
}
_FOREIGN = {"vision_cfg": "timm_model_name", "text_cfg": "hf_model_name"}
_NEEDED = {"vision_cfg": ("image_size",), "text_cfg": ("context_length",)}


def complete_model_cfg(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the configuration with open_clip's defaults written out.

    Raises:
        ConfigMismatch: a tower's part is not an object, or has a key that open_clip does not know.
    """
    model = get_open_clip().model
    require_parts(config)
    try:
        return {
            **_TOP,
            **config,
            "vision_cfg": asdict(model.CLIPVisionCfg(**config.get("vision_cfg", {}))),
            "text_cfg": asdict(model.CLIPTextCfg(**config.get("text_cfg", {}))),
        }
    except TypeError as error:
        raise ConfigMismatch(
            "model_cfg", expected="keys open_clip knows", found=str(error)
        ) from error


def require_parts(config: Mapping[str, Any]) -> None:
    """Passes if each tower's part of a `model_cfg` is an object or missing."""
    for part in _SHAPES:
        if not isinstance(config.get(part, {}), Mapping):
            raise ConfigMismatch(
                f"model_cfg.{part}", expected="an object", found=repr(config[part])[:40]
            )


def spell_model_cfg(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a `model_cfg` in canonical form: the shape and what differs from the defaults.

    It leaves out the name of a BERT on the Hub: the BERT used is the one beside the configuration.
    """
    whole, defaults = complete_model_cfg(config), complete_model_cfg({})
    spelled = {
        key: value
        for key, value in whole.items()
        if key == "quick_gelu" or (key not in _SHAPES and value != _TOP.get(key))
    }
    for part in _SHAPES:
        spelled[part] = _spell_part(part, whole[part], defaults[part])
    if spelled["text_cfg"].get("hf_model_name"):
        spelled["text_cfg"]["hf_model_name"] = BERT_CONFIG
        spelled["text_cfg"].pop("hf_tokenizer_name", None)
        spelled.pop("custom_text", None)  # implied by a BERT
    return spelled


def _spell_part(
    part: str, found: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, object]:
    kept = _NEEDED[part] if found.get(_FOREIGN[part]) else _SHAPES[part]
    return {
        key: float(value) if isinstance(defaults[key], float) else value  # 3 and 3.0 are equal
        for key, value in found.items()
        if key in kept or value != defaults[key]
    }


def dump_canonical(value: Mapping[str, Any]) -> bytes:
    """Returns indented JSON with sorted keys."""
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()
