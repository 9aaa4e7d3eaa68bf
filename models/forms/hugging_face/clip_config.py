"""Converts the configuration of a Hugging Face CLIPModel to open_clip's; no torch."""

from collections.abc import Mapping
from typing import Any

from models.catalogue.weights import ConfigMismatch

# The values that transformers assumes for missing keys (CLIPTextConfig, CLIPVisionConfig).
_TEXT = {
    "vocab_size": 49408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
_VISION = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
_ACTIVATIONS = {"quick_gelu": True, "gelu": False}  # open_clip's quick_gelu
_HEAD_WIDTH, _MLP_RATIO = 64, 4.0  # open_clip's defaults, not written where they apply


def convert_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns open_clip's `model_cfg` for a CLIPModel's config.json.

    Raises:
        ConfigMismatch: the configuration is not a CLIPModel's, or open_clip cannot compute that
            model. The error names the key.
    """
    _require(config, "model_type", "clip")
    try:
        return _convert(config)
    except (ArithmeticError, AttributeError, TypeError, ValueError) as error:
        raise ConfigMismatch(
            "config.json", expected="a CLIPModel's sizes", found=str(error)[:80]
        ) from error


def _convert(config: Mapping[str, Any]) -> dict[str, Any]:
    text, vision = (
        _read_part(config, "text_config", _TEXT),
        _read_part(config, "vision_config", _VISION),
    )
    for name, part in (("text_config", text), ("vision_config", vision)):
        _require(part, "layer_norm_eps", 1e-5, name)
    _require(vision, "num_channels", 3, "vision_config")
    _require(text, "hidden_act", vision["hidden_act"], "text_config")
    if vision["hidden_act"] not in _ACTIVATIONS:
        expected = " or ".join(_ACTIVATIONS)
        raise ConfigMismatch("hidden_act", expected=expected, found=str(vision["hidden_act"]))
    return {
        "embed_dim": config.get("projection_dim", 512),
        "quick_gelu": _ACTIVATIONS[vision["hidden_act"]],
        "vision_cfg": _convert_vision(vision),
        "text_cfg": _convert_text(text),
    }


def _read_part(config: Mapping[str, Any], name: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Returns one tower's keys; a copy under `<name>_dict`, as in old files, must agree."""
    part = {**defaults, **(config.get(name) or {})}
    for key, value in (config.get(f"{name}_dict") or {}).items():
        if key in defaults and part[key] != value:
            raise ConfigMismatch(
                f"{name}_dict.{key}", expected=f"{part[key]}, as {name} says", found=str(value)
            )
    return {key: part[key] for key in defaults}


def _convert_vision(vision: Mapping[str, Any]) -> dict[str, Any]:
    width, heads = vision["hidden_size"], vision["num_attention_heads"]
    converted = {
        "image_size": vision["image_size"],
        "layers": vision["num_hidden_layers"],
        "width": width,
        "patch_size": vision["patch_size"],
    }
    if width != heads * _HEAD_WIDTH:
        converted["head_width"] = width // heads
    return converted | _convert_mlp(vision)


def _convert_text(text: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "context_length": text["max_position_embeddings"],
        "vocab_size": text["vocab_size"],
        "width": text["hidden_size"],
        "heads": text["num_attention_heads"],
        "layers": text["num_hidden_layers"],
    } | _convert_mlp(text)


def _convert_mlp(part: Mapping[str, Any]) -> dict[str, Any]:
    ratio = part["intermediate_size"] / part["hidden_size"]
    return {} if ratio == _MLP_RATIO else {"mlp_ratio": ratio}


def _require(part: Mapping[str, Any], key: str, expected: object, name: str = "") -> None:
    if part.get(key) != expected:
        where = f"{name}.{key}" if name else key
        raise ConfigMismatch(where, expected=str(expected), found=str(part.get(key)))
