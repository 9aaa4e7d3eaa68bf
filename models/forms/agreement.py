"""Checks that a published configuration agrees with the card."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from models.catalogue.cards import ModelDescription, Preprocessing
from models.catalogue.weights import ConfigMismatch
from models.forms.canonical import complete_model_cfg, require_parts
from models.vlm._imports import get_open_clip

_SILENT = "The configuration says nothing of preprocessing; it is the card's."


def agree_on_model_cfg(
    found: Mapping[str, Any], description: ModelDescription
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Returns the architecture, and the keys that the configuration left out and the card filled.

    Raises:
        ConfigMismatch: the card and the configuration differ in a key, or one of them names a key
            that the other leaves at open_clip's default.
    """
    pinned = dict(description.published.model_cfg) if description.published else {}
    if not pinned:
        return dict(found), ()
    require_parts(found)
    merged = _merge(pinned, found)
    wanted, have = _flatten(complete_model_cfg(pinned)), _flatten(complete_model_cfg(merged))
    for key in sorted(wanted.keys() | have.keys()):
        if wanted.get(key) != have.get(key):
            raise ConfigMismatch(key, expected=str(wanted.get(key)), found=str(have.get(key)))
    left_out = _flatten(pinned).keys() - _flatten(found).keys()
    filled = sorted(key for key in left_out if found)
    return merged, tuple(filled)


def agree_on_preprocessing(
    found: Mapping[str, Any], preprocessing: Preprocessing
) -> tuple[str, ...]:
    """Passes if open_clip's `preprocess_cfg` agrees with the card's preprocessing.

    Keys that it leaves out have open_clip's defaults, as they do in open_clip. If it is empty, the
    card decides everything, and the returned note says so.

    Raises:
        ConfigMismatch: a key differs.
    """
    said = {key: value for key, value in found.items() if value is not None}
    if not said:
        return (_SILENT,)
    whole = {**asdict(get_open_clip().transform.PreprocessCfg(size=preprocessing.size)), **said}
    card = {
        "size": preprocessing.size,
        "mode": "RGB",
        "mean": preprocessing.mean,
        "std": preprocessing.std,
        "interpolation": preprocessing.interpolation,
        "resize_mode": preprocessing.resize,
        "fill_color": 0,
    }
    for key, expected in card.items():
        if _plain(whole[key]) != _plain(expected):
            raise ConfigMismatch(
                f"preprocess_cfg.{key}",
                expected=str(_plain(expected)),
                found=str(_plain(whole[key]))[:80],
            )
    return ()


def _plain(value: object) -> object:
    """Turns tuples into lists, and a size with two equal sides into one number."""
    if not isinstance(value, list | tuple):
        return value
    pair = len(value) == 2 and value[0] == value[1]  # height and width
    return value[0] if pair else list(value)


def _merge(pinned: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**pinned, **found}
    for part in ("vision_cfg", "text_cfg"):
        merged[part] = {**pinned.get(part, {}), **found.get(part, {})}
    return merged


def _flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and key in ("vision_cfg", "text_cfg"):
            flat |= {f"{key}.{inner}": v for inner, v in value.items()}
        else:
            flat[key] = value
    return flat
