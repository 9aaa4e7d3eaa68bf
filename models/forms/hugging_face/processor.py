"""Checks that a CLIPImageProcessor's configuration agrees with the card's preprocessing.

Missing keys have transformers' defaults (CLIPImageProcessor). Old files give a size as one number
and have no `do_rescale`; both are read as transformers reads them today.
"""

import math
from collections.abc import Mapping
from typing import Any

from models.catalogue.cards import Preprocessing
from models.catalogue.weights import ConfigMismatch
from models.forms.files import get_part

PROCESSORS = (
    "preprocessor_config.json",
    "processor_config.json",
)  # the latter since transformers 5
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
_DEFAULTS: dict[str, Any] = {
    "do_resize": True,
    "size": {"shortest_edge": 224},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": 224,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": _MEAN,
    "image_std": _STD,
    "do_convert_rgb": True,
}
_RESAMPLE = {"bilinear": 2, "bicubic": 3}  # Pillow's numbers
_KINDS = ("image_processor_type", "feature_extractor_type")
_PART = "image_processor"
_CLIPS = ("CLIPImageProcessor", "CLIPFeatureExtractor")


def agree_on_processor(name: str, config: Mapping[str, Any], preprocessing: Preprocessing) -> None:
    """Passes if the configuration in the file `name` agrees with the card's preprocessing.

    transformers 5 writes the image processor as a part of the whole processor's configuration. A
    whole one without that part says nothing of images.

    Raises:
        ConfigMismatch: a key differs or asks for something that the card does not describe, or the
            configuration belongs to another processor.
    """
    found = get_part(config, _PART, name) if name == PROCESSORS[1] else config
    if name == PROCESSORS[1] and not found:
        return
    for key in _KINDS:
        kind = found.get(key)
        if kind is not None and not str(kind).startswith(_CLIPS):
            _refuse(name, key, _CLIPS[0], kind)
    said = {key: value for key, value in found.items() if value is not None}
    for key, value in said.items():
        if key.startswith("do_") and key not in _DEFAULTS and value:
            _refuse(name, key, False, value)
    whole = {**_DEFAULTS, **said}
    for key, expected in _expect(whole, preprocessing).items():
        if not _same(key, whole[key], expected):
            _refuse(name, key, expected, whole[key])


def _expect(whole: Mapping[str, Any], preprocessing: Preprocessing) -> dict[str, Any]:
    """Returns the values that the card requires for the keys that matter."""
    side = preprocessing.size
    square = {"height": side, "width": side}
    expected: dict[str, Any] = {"do_convert_rgb": True, "do_resize": True}
    match preprocessing.resize:
        case "shortest":
            expected |= {"size": {"shortest_edge": side}, "do_center_crop": True}
        case "squash":
            expected |= {"size": square}
        case "pad":
            expected |= {"size": "a padded square, which no CLIPImageProcessor makes"}
    if expected.get("do_center_crop") or whole["do_center_crop"]:
        expected |= {"crop_size": square}
    if preprocessing.grey:
        expected["do_convert_rgb"] = "a grey image, which no CLIPImageProcessor makes"
    return expected | {
        "resample": _RESAMPLE[preprocessing.interpolation],
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
    }


def _same(key: str, found: object, expected: object) -> bool:
    if isinstance(expected, dict):
        return _spell_size(key, found) == expected
    if isinstance(expected, float):
        return isinstance(found, float | int) and math.isclose(found, expected, rel_tol=1e-9)
    return (list(found) if isinstance(found, tuple) else found) == expected


def _spell_size(key: str, found: object) -> object:
    """Spells out a size given as one number: the shorter edge, or a square's side for a crop."""
    if not isinstance(found, int):
        return found
    return {"shortest_edge": found} if key == "size" else {"height": found, "width": found}


def _refuse(name: str, key: str, expected: object, found: object) -> None:
    raise ConfigMismatch(f"{name}: {key}", expected=str(expected), found=str(found)[:80])
