"""Loads a model from its card and files, with strict checks and without the network."""

import copy
import math
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from models.catalogue.bert_config import BERT_CONFIG
from models.catalogue.cards import (
    DENOISER_FILE,
    QUANTIZED_WEIGHTS,
    DenoiserShape,
    ModelCard,
    Precision,
    WeightFile,
)
from models.catalogue.weights import (
    ConfigMismatch,
    UnreadableWeights,
    check_size,
    load_file,
    require_equal,
)
from models.files.untrusted_text import parse_json
from models.loading.conch import load_conch
from models.loading.config import ModelFiles
from models.loading.hf_text import create_hf_text_tower, create_text_cfg
from models.loading.keep import load_keep
from models.loading.medclip import load_medclip
from models.loading.quantized import load_quantized
from models.loading.siglip import load_siglip
from models.loading.tensor_file import create_fitting, load_into
from models.vlm._imports import get_open_clip
from models.vlm.bert import BertVLM
from models.vlm.compiled import CannotCompile, CompiledVLM
from models.vlm.denoised import DenoisedVLM, Denoiser
from models.vlm.linear_toy import LinearVLM
from models.vlm.open_clip import OpenClipVLM
from models.vlm.vlm import VLM

CONFIG = "open_clip_config.json"
_VOCABULARY = 49408
# Of torch's own tower. That of a quantized model is for gradients and learning.
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.float32}


def load_vlm(
    card: ModelCard,
    folder: Path,
    device: torch.device,
    *,
    compiled: Precision | None = None,
    aside: Path | None = None,
) -> VLM:
    """Loads a model onto a device, frozen and in eval mode.

    The bytes that are used are the bytes whose SHA-256 was compared with the card.

    Args:
        compiled: the precision in which OpenVINO computes the image tower on a CPU. None: torch
            computes it in the card's. OpenVINO computes an ONNX network in any case.
        aside: as in `CompiledVLM`.

    Raises:
        CannotCompile: as `CompiledVLM`.
        WeightsError: a file is missing, is not the one the card names, or does not fit the
            architecture.
        ValueError: the device belongs to no device class of the card.
    """
    if device.type not in card.precision:
        known = " or ".join(sorted(card.precision))
        raise ValueError(f"A model runs on {known}; got the device {device}.")
    for file in card.files:
        check_size(file, folder)  # before spending time on building a model
    vlm = _load(card, folder, device, compiled, aside)
    if card.denoiser is None:
        return vlm
    return DenoisedVLM(vlm, _load_denoiser(card, card.denoiser, folder))


def _load(
    card: ModelCard,
    folder: Path,
    device: torch.device,
    compiled: Precision | None,
    aside: Path | None,
) -> VLM:
    if card.architecture == "onnx":
        from models.loading.onnx.load import load_onnx

        return load_onnx(card, folder, device, compiled)
    image_dtype = torch.float32 if compiled else _get_image_dtype(card, device)
    vlm = _load_towers(card, folder, device, image_dtype)
    if compiled is None:
        return vlm
    if not isinstance(vlm, OpenClipVLM | BertVLM):
        raise CannotCompile(f"the architecture {card.architecture} has no image tower")
    quantized = None
    if compiled == "int8":
        quantized = load_quantized(card, folder, aside, embed_dim=vlm.embed_dim)
    return CompiledVLM(vlm, compiled, aside=aside, quantized=quantized)


def _load_denoiser(card: ModelCard, shape: DenoiserShape, folder: Path) -> Denoiser:
    files = [file for file in card.files if file.name == DENOISER_FILE]
    if not files:
        raise UnreadableWeights(DENOISER_FILE, "the card does not name it")
    denoiser = Denoiser(width=shape.width, layers=shape.layers)
    load_into(denoiser.state_dict(), files[0], folder)
    return denoiser


def _load_towers(
    card: ModelCard, folder: Path, device: torch.device, image_dtype: torch.dtype
) -> VLM:
    match card.architecture:
        case "onnx":
            raise AssertionError("an ONNX network has no towers")
        case "linear":
            return _create_linear(card, folder, device)
        case "open_clip":
            return _create_open_clip(card, folder, device, image_dtype)
        case kind:
            load = {
                "medclip": load_medclip,
                "keep": load_keep,
                "siglip": load_siglip,
                "conch": load_conch,
            }[kind]
            return load(
                ModelFiles(
                    card=card,
                    folder=folder,
                    tensors=_find_tensors(card),
                    contents=_load_small(card, folder),
                    image_dtype=image_dtype,
                    device=device,
                )
            )


def _create_linear(card: ModelCard, folder: Path, device: torch.device) -> VLM:
    size = card.preprocessing.size
    tensors = {
        "weight": torch.empty(3, size, size, dtype=torch.float64),
        "threshold": torch.empty((), dtype=torch.float64),
    }
    load_into(tensors, _find_tensors(card), folder)
    return LinearVLM(
        card=card, weight=tensors["weight"], threshold=tensors["threshold"], device=device
    )


def _create_open_clip(
    card: ModelCard, folder: Path, device: torch.device, image_dtype: torch.dtype
) -> VLM:
    config = _load_config(card, folder)
    bert = bool(config["text_cfg"].get("hf_model_name"))
    contents = _load_small(card, folder) if bert else {}
    bert_config = _get_bert_config(contents) if bert else None
    tensors = _find_tensors(card)
    clip = create_fitting(
        lambda: create_clip(config, image_dtype, bert_config=bert_config), tensors, folder
    )
    load_into(clip.state_dict(), tensors, folder)
    if image_dtype != torch.float32:
        _lower_precision(clip.visual, image_dtype)
    if bert:
        return BertVLM(
            card=card,
            image_tower=clip.visual,
            text_tower=create_hf_text_tower(clip.text, contents, card.context_length),
            logit_scale=math.exp(clip.logit_scale.item()),
            image_dtype=image_dtype,
            device=device,
        )
    return OpenClipVLM(
        card=card,
        clip=clip,
        tokenizer=get_open_clip().SimpleTokenizer(context_length=card.context_length),
        image_dtype=image_dtype,
        device=device,
    )


def create_clip(
    config: Mapping[str, Any],
    image_dtype: torch.dtype = torch.float32,
    *,
    bert_config: bytes | None = None,
) -> Any:
    """Returns open_clip's model for a `model_cfg`, with random weights, on the CPU in float32.

    Its layer norms compute in float32, whatever `image_dtype` the image tower gets later.

    Args:
        bert_config: the content of `bert_config.json`, if the text tower is a BERT.

    Raises:
        ConfigMismatch: a part is not open_clip's own, or open_clip does not know a key.
    """
    if bert_config is None:
        return _create_clip(config, image_dtype, foreign=("hf_",))
    with tempfile.TemporaryDirectory() as folder:  # open_clip reads a BERT's shape from a folder
        text_cfg = create_text_cfg(config["text_cfg"], bert_config, Path(folder))
        arguments = {**config, "custom_text": True, "text_cfg": text_cfg}
        return _create_clip(arguments, image_dtype, foreign=())


def _create_clip(
    config: Mapping[str, Any], image_dtype: torch.dtype, *, foreign: tuple[str, ...]
) -> Any:
    open_clip = get_open_clip()
    arguments = copy.deepcopy(dict(config))
    custom_text = arguments.pop("custom_text", False)
    if found := sorted(key for key in arguments.get("text_cfg", {}) if key.startswith(foreign)):
        raise ConfigMismatch("text_cfg", expected="open_clip's text tower", found=found[0])
    if name := arguments.get("vision_cfg", {}).get("timm_model_name"):
        if not re.fullmatch(r"[a-z0-9_.]+", str(name)):  # hf-hub:… would be looked up online
            raise ConfigMismatch(
                "vision_cfg.timm_model_name", expected="a name of timm's own", found=str(name)[:60]
            )
        arguments["vision_cfg"]["timm_model_pretrained"] = False  # no download
    cast_dtype = None if image_dtype == torch.float32 else image_dtype
    model_class = open_clip.CustomTextCLIP if custom_text else open_clip.CLIP
    try:
        return model_class(**arguments, cast_dtype=cast_dtype)
    except TypeError as error:
        raise ConfigMismatch(
            "model_cfg", expected="keys open_clip knows", found=str(error)
        ) from error
    except (ArithmeticError, AssertionError, AttributeError, LookupError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise ConfigMismatch(
            "model_cfg", expected="a shape open_clip builds", found=reason
        ) from error


def _load_config(card: ModelCard, folder: Path) -> dict[str, Any]:
    """Returns the `model_cfg` of the configuration file, which must agree with the card."""
    files = [file for file in card.files if file.name == CONFIG]
    if not files:
        raise UnreadableWeights(CONFIG, "the card does not name it")
    try:
        config: dict[str, Any] = parse_json(load_file(files[0], folder))["model_cfg"]
        vision, text = config["vision_cfg"], config["text_cfg"]
        image_size, context_length = vision["image_size"], text["context_length"]
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableWeights(CONFIG, f"{type(error).__name__}: {error}") from error
    agreed: dict[str, tuple[object, object]] = {
        "vision_cfg.image_size": (card.preprocessing.size, image_size),
        "text_cfg.context_length": (card.context_length, context_length),
        # The tokens are those of CLIP's own tokenizer, which comes with open_clip.
        "text_cfg.vocab_size": (_VOCABULARY, text.get("vocab_size", _VOCABULARY)),
        "text_cfg.tokenizer_kwargs": (None, text.get("tokenizer_kwargs")),
    }
    if card.activation is not None:
        activation = "quick_gelu" if config.get("quick_gelu") else "gelu"
        agreed["quick_gelu"] = (card.activation, activation)
    require_equal(agreed)
    return config


def _get_bert_config(contents: Mapping[str, bytes]) -> bytes:
    if BERT_CONFIG not in contents:
        raise UnreadableWeights(
            BERT_CONFIG, f"the card does not name it, but {CONFIG} asks for a BERT"
        )
    return contents[BERT_CONFIG]


def _get_image_dtype(card: ModelCard, device: torch.device) -> torch.dtype:
    return _DTYPES[card.precision["cuda" if device.type == "cuda" else "cpu"]]


def _load_small(card: ModelCard, folder: Path) -> dict[str, bytes]:
    """Returns the contents of all files except the tensors."""
    small = [file for file in card.files if not file.holds_tensors]
    return {file.name: load_file(file, folder) for file in small}


def _find_tensors(card: ModelCard) -> WeightFile:
    apart = (DENOISER_FILE, QUANTIZED_WEIGHTS)
    names = [file for file in card.files if file.holds_tensors and file.name not in apart]
    if len(names) != 1:
        listed = ", ".join(file.name for file in names)
        raise UnreadableWeights(listed, "exactly one file of tensors is expected")
    return names[0]


def _lower_precision(visual: torch.nn.Module, dtype: torch.dtype) -> None:
    open_clip = get_open_clip()
    if isinstance(visual, open_clip.transformer.VisionTransformer):
        open_clip.convert_weights_to_lp(visual, dtype)  # leaves the layer norms in float32
    else:
        visual.to(dtype)
