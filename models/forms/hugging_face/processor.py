"""Checks that an image processor's configuration agrees with the card's preprocessing.

XrayCLIP is published with a BlipImageProcessor, and SigLIPs with a SiglipImageProcessor: both make
a square without cropping it. Missing keys have transformers' defaults of the processor that is
named, or of the family's own. Old files give a size as one number and have no `do_rescale`; both
are read as transformers reads them today.
"""

import math
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

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
_OTHERWISE: dict[str, dict[str, Any]] = {  # what other processors assume, which make a square
    "BlipImageProcessor": {"size": 384, "do_center_crop": False},
    "SiglipImageProcessor": {
        "size": 224,
        "do_center_crop": False,
        "image_mean": (0.5, 0.5, 0.5),
        "image_std": (0.5, 0.5, 0.5),
    },
}
_RESAMPLE = {"bilinear": 2, "bicubic": 3}  # Pillow's numbers
_KINDS = ("image_processor_type", "feature_extractor_type")
_PART = "image_processor"
_OF_CLIP = ("CLIPImageProcessor", "CLIPFeatureExtractor", "BlipImageProcessor")


def agree_on_processor(
    name: str,
    config: Mapping[str, Any],
    preprocessing: Preprocessing,
    *,
    kinds: tuple[str, ...] = _OF_CLIP,
) -> None:
    """Passes if the configuration in the file `name` agrees with the card's preprocessing.

    transformers 5 writes the image processor as a part of the whole processor's configuration. A
    whole one without that part says nothing of images.

    Args:
        name: the file's name.
        config: its content.
        preprocessing: the card's.
        kinds: the processors that are taken; the first is assumed where none is named.

    Raises:
        ConfigMismatch: a key differs or asks for something that the card does not describe, or the
            configuration belongs to another processor.
    """
    found = get_part(config, _PART, name) if name == PROCESSORS[1] else config
    if name == PROCESSORS[1] and not found:
        return
    for key in _KINDS:
        kind = found.get(key)
        if kind is not None and not str(kind).startswith(kinds):
            _refuse(name, key, kinds[0], kind)
    said = {key: value for key, value in found.items() if value is not None}
    for key, value in said.items():
        if key.startswith("do_") and key not in _DEFAULTS and value:
            _refuse(name, key, False, value)
    whole = _complete(said, kinds[0])
    for key, expected in _expect(whole, preprocessing).items():
        if not _same(key, whole[key], expected):
            _refuse(name, key, expected, whole[key])


def read_preprocessing(name: str, config: Mapping[str, Any]) -> Preprocessing:
    """Returns the preprocessing that the configuration in the file `name` asks for.

    Raises:
        ConfigMismatch: it asks for something that no card describes, or belongs to another
            processor.
    """
    found = get_part(config, _PART, name) if name == PROCESSORS[1] else config
    said = {key: value for key, value in found.items() if value is not None}
    whole = _complete(said, _OF_CLIP[0])
    size = _spell_size("size", whole["size"])
    named = size if isinstance(size, dict) else {}
    sides = set(named.values())
    kinds = {number: kind for kind, number in _RESAMPLE.items()}
    if len(sides) != 1 or whole["resample"] not in kinds:
        _refuse(name, "size, resample", "one side; 2 or 3", (whole["size"], whole["resample"]))
    try:
        preprocessing = Preprocessing(
            size=sides.pop(),
            resize="shortest" if "shortest_edge" in named else "squash",
            interpolation=kinds[whole["resample"]],
            mean=whole["image_mean"],
            std=whole["image_std"],
        )
    except ValidationError as error:
        raise ConfigMismatch(
            name, expected="a CLIPImageProcessor", found=str(error)[:80]
        ) from error
    agree_on_processor(name, config, preprocessing)
    return preprocessing


def _complete(said: Mapping[str, Any], assumed: str) -> dict[str, Any]:
    """Returns the configuration with the defaults of the processor that it names."""
    named = next((str(said[key]) for key in _KINDS if key in said), assumed)
    for kind, otherwise in _OTHERWISE.items():
        if named.startswith(kind):
            whole = {**_DEFAULTS, **otherwise, **said}
            if isinstance(side := whole["size"], int):  # here one number is both sides
                whole["size"] = {"height": side, "width": side}
            return whole
    return {**_DEFAULTS, **said}


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
