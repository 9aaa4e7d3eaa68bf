"""Does a published configuration say what the card says?"""

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
    """The architecture, and the keys in which the card filled what the configuration left out.

    Raises:
        ConfigMismatch: both speak of a key and differ, or one names what the other leaves at
            open_clip's default.
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
    """Passes when open_clip's `preprocess_cfg` is the card's preprocessing.

    What it leaves out is open_clip's default, as it is to open_clip. One that says nothing at all
    leaves everything to the card, and the sentence returned says so.

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
    """Lists and tuples alike; a size of both sides as that of one where they are equal."""
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
