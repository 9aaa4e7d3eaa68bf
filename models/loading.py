"""From a card and its files to a model: strict, checked, without the network."""

import copy
import io
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from models._open_clip import get_open_clip
from models.cards import ModelCard
from models.linear_vlm import LinearVLM
from models.open_clip_vlm import OpenClipVLM
from models.vlm import VLM
from models.weights import ConfigMismatch, StateDictMismatch, UnreadableWeights, load_file

_CONFIG = "open_clip_config.json"
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def load_vlm(card: ModelCard, folder: Path, device: torch.device) -> VLM:
    """Loads a model onto a device, frozen and in eval mode.

    The bytes whose SHA-256 was compared with the card are the bytes that are used.

    Raises:
        WeightsError: a file is missing or another one, or it does not fit the architecture.
        ValueError: a device of a class that cards do not speak of.
    """
    if device.type not in card.precision:
        known = " or ".join(sorted(card.precision))
        raise ValueError(f"A model runs on {known}; the device {device} came.")
    contents = {file.name: load_file(file, folder) for file in card.files}
    match card.architecture:
        case "linear":
            return _create_linear(card, contents, device)
        case "open_clip":
            return _create_open_clip(card, contents, device)


def _create_linear(card: ModelCard, contents: Mapping[str, bytes], device: torch.device) -> VLM:
    size = card.preprocessing.size
    tensors = _parse_tensors(contents)
    expected = {
        "weight": torch.empty(3, size, size, dtype=torch.float64),
        "threshold": torch.empty((), dtype=torch.float64),
    }
    check_state_dict(expected, tensors)
    return LinearVLM(
        card=card, weight=tensors["weight"], threshold=tensors["threshold"], device=device
    )


def _create_open_clip(card: ModelCard, contents: Mapping[str, bytes], device: torch.device) -> VLM:
    open_clip = get_open_clip()
    config = _parse_config(card, contents)
    image_dtype = _DTYPES[card.precision["cuda" if device.type == "cuda" else "cpu"]]
    clip = create_clip(config, image_dtype)
    tensors = _parse_tensors(contents)
    check_state_dict(clip.state_dict(), tensors)
    clip.load_state_dict(tensors, strict=True)
    if image_dtype != torch.float32:
        _lower_precision(clip.visual, image_dtype)
    return OpenClipVLM(
        card=card,
        clip=clip,
        tokenizer=open_clip.SimpleTokenizer(context_length=card.context_length),
        image_dtype=image_dtype,
        device=device,
    )


def create_clip(config: Mapping[str, Any], image_dtype: torch.dtype = torch.float32) -> Any:
    """open_clip's model of a `model_cfg`, with random weights, on the CPU in float32.

    Its layer norms compute in float32 whatever `image_dtype` the image tower gets later.

    Raises:
        ConfigMismatch: a part that is not open_clip's own or a key that open_clip does not know.
    """
    open_clip = get_open_clip()
    arguments = copy.deepcopy(dict(config))
    custom_text = arguments.pop("custom_text", False)
    if foreign := sorted(key for key in arguments.get("text_cfg", {}) if key.startswith("hf_")):
        raise ConfigMismatch("text_cfg", expected="open_clip's text tower", found=foreign[0])
    if arguments.get("vision_cfg", {}).get("timm_model_name"):
        arguments["vision_cfg"]["timm_model_pretrained"] = False  # no download
    cast_dtype = None if image_dtype == torch.float32 else image_dtype
    model_class = open_clip.CustomTextCLIP if custom_text else open_clip.CLIP
    try:
        return model_class(**arguments, cast_dtype=cast_dtype)
    except TypeError as error:
        raise ConfigMismatch(
            "model_cfg", expected="keys open_clip knows", found=str(error)
        ) from error


def check_state_dict(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Passes when both have the same names, and each name the same shape and kind of number.

    Floating point tensors may differ in precision: float16 files load into float32.

    Raises:
        StateDictMismatch: the first name, in alphabetical order, where they differ.
    """
    for leaf in sorted(expected.keys() | found.keys()):
        want, have = _describe(expected.get(leaf)), _describe(found.get(leaf))
        if want != have:
            raise StateDictMismatch(leaf, expected=want, found=have)


def _describe(tensor: Tensor | None) -> str:
    if tensor is None:
        return "no such tensor"
    kind = "floating point" if tensor.is_floating_point() else str(tensor.dtype)
    return f"{kind} of shape {tuple(tensor.shape)}"


def _parse_config(card: ModelCard, contents: Mapping[str, bytes]) -> dict[str, Any]:
    """The `model_cfg` of the configuration file, which must agree with the card."""
    try:
        config: dict[str, Any] = json.loads(contents[_CONFIG])["model_cfg"]
        image_size = config["vision_cfg"]["image_size"]
        context_length = config["text_cfg"]["context_length"]
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableWeights(_CONFIG, f"{type(error).__name__}: {error}") from error
    agreed = {
        "vision_cfg.image_size": (card.preprocessing.size, image_size),
        "text_cfg.context_length": (card.context_length, context_length),
    }
    for key, (expected, found) in agreed.items():
        if expected != found:
            raise ConfigMismatch(key, expected=str(expected), found=str(found))
    return config


def _parse_tensors(contents: Mapping[str, bytes]) -> dict[str, Tensor]:
    names = [name for name in contents if name != _CONFIG]
    if len(names) != 1:
        raise UnreadableWeights(", ".join(names), "exactly one file of tensors is expected")
    (name,) = names
    try:
        if name.endswith(".safetensors"):
            return load_safetensors(contents[name])
        # A pickle, read without running what it says.
        return dict(torch.load(io.BytesIO(contents[name]), map_location="cpu", weights_only=True))
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, ValueError) as error:
        raise UnreadableWeights(name, str(error)) from error


def _lower_precision(visual: torch.nn.Module, dtype: torch.dtype) -> None:
    open_clip = get_open_clip()
    if isinstance(visual, open_clip.transformer.VisionTransformer):
        open_clip.convert_weights_to_lp(visual, dtype)  # leaves the layer norms in float32
    else:
        visual.to(dtype)
