"""Does a published configuration say what the card says?"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from models._open_clip import get_open_clip
from models.cards import ModelDescription, Preprocessing
from models.weights import ConfigMismatch

_TOP = {"quick_gelu": False, "custom_text": False}


def agree_on_model_cfg(
    found: Mapping[str, Any], description: ModelDescription
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The architecture, and the keys in which the card filled what the configuration left out.

    Raises:
        ConfigMismatch: both speak of a key and differ, or one names what the other leaves at
            open_clip's default.
    """
    pinned = dict(description.published.model_cfg) if description.published else {}
    if not pinned:
        return dict(found), ()
    merged = _merge(pinned, found)
    wanted, have = _flatten(_complete(pinned)), _flatten(_complete(merged))
    for key in sorted(wanted.keys() | have.keys()):
        if wanted.get(key) != have.get(key):
            raise ConfigMismatch(key, expected=str(wanted.get(key)), found=str(have.get(key)))
    left_out = _flatten(pinned).keys() - _flatten(found).keys()
    filled = sorted(key for key in left_out if found)
    return merged, tuple(filled)


def agree_on_preprocessing(found: Mapping[str, Any], preprocessing: Preprocessing) -> None:
    """Passes when open_clip's `preprocess_cfg`, as far as it goes, is the card's preprocessing.

    Raises:
        ConfigMismatch: a key differs.
    """
    card = {
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
        "interpolation": preprocessing.interpolation,
        "resize_mode": preprocessing.resize,
    }
    for key, expected in card.items():
        if found.get(key) is not None and found[key] != expected:
            raise ConfigMismatch(
                f"preprocess_cfg.{key}", expected=str(expected), found=str(found[key])
            )


def _merge(pinned: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**pinned, **found}
    for part in ("vision_cfg", "text_cfg"):
        merged[part] = {**pinned.get(part, {}), **found.get(part, {})}
    return merged


def _complete(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with open_clip's defaults written out."""
    model = get_open_clip().model
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


def _flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and key in ("vision_cfg", "text_cfg"):
            flat |= {f"{key}.{inner}": v for inner, v in value.items()}
        else:
            flat[key] = value
    return flat
