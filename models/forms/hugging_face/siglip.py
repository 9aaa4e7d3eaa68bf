"""The form of MedSigLIP and other SigLIPs: a folder saved by transformers' SiglipModel."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from models.catalogue.cards import ModelDescription
from models.catalogue.siglip_config import SiglipConfig, read_published
from models.catalogue.weights import ConfigMismatch, require_equal
from models.forms.bert_files import drop_derived
from models.forms.files import (
    INDEX,
    find_first,
    list_shards,
    load_json,
    load_tensors,
    read_bounded,
    require_weights,
)
from models.forms.form import Converted, Form, FormRefused, PublishedFiles
from models.forms.hugging_face.processor import PROCESSORS, agree_on_processor
from models.loading.siglip import create_siglip
from models.loading.state_dict import check_state_dict
from models.vlm.pooled.siglip_tokens import PIECES, WHOLE, create_siglip_tokenizer

_CONFIG = "config.json"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_NAMES = (
    "model.safetensors",
    "pytorch_model.bin",
    f"model.safetensors{INDEX}",
    f"pytorch_model.bin{INDEX}",
)
_TENSORS = "siglip.safetensors"
_MOST_TOKENIZER_BYTES = 64 * 2**20  # Gemma's tokenizer.json has about 34 MB
_SPIECE = {"do_lower_case": True, "eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}
_SIDE = {"padding_side": "right"}


def recognises(source: PublishedFiles) -> bool:
    """Recognises a folder with the configuration of a SiglipModel."""
    path = source.path / _CONFIG
    return path.is_file() and load_json(path).get("model_type") == "siglip"


def convert(source: PublishedFiles, folder: Path) -> Converted:
    """See `Form.convert`."""
    path, description = source.path, source.description
    config = read_published(_CONFIG, load_json(path / _CONFIG))
    _agree(config, description)
    processor, notes = _agree_on_processor(path, description)
    name, tokenizer, settings = _read_tokenizer(path)
    create_siglip_tokenizer(
        {name: tokenizer},
        vocab_size=config.text.vocab_size,
        context_length=description.context_length,
    )
    weights = require_weights(path, _NAMES)
    tensors = load_tensors(weights)
    for part, count in (
        ("text_model", config.text.max_position_embeddings),
        ("vision_model", (config.vision.image_size // config.vision.patch_size) ** 2),
    ):
        drop_derived(tensors, f"{part}.embeddings.position_ids", torch.arange(count))
    check_state_dict(create_siglip(config).state_dict(), tensors)
    (folder / SiglipConfig.FILE).write_bytes(config.dump())
    (folder / name).write_bytes(tokenizer)
    save_file({leaf: tensor.contiguous() for leaf, tensor in tensors.items()}, folder / _TENSORS)
    index = (weights,) if weights.name.endswith(INDEX) else ()
    read = (*list_shards(weights), *index, path / _CONFIG, path / name, *processor, *settings)
    return Converted(read=read, notes=notes)


def _agree(config: SiglipConfig, description: ModelDescription) -> None:
    """Passes if the configuration is the card's, which may state the architecture or not."""
    pinned = description.published.model_cfg if description.published else {}
    agreed: dict[str, tuple[object, object]] = {
        "text_config.max_position_embeddings": (
            description.context_length,
            config.text.max_position_embeddings,
        ),
        "vision_config.image_size": (description.preprocessing.size, config.vision.image_size),
    }
    if pinned:
        wanted = read_published("the card's model_cfg", pinned).model_dump()
        found = config.model_dump()
        agreed |= {
            f"{part}_config.{key}": (expected, found[part][key])
            for part, keys in wanted.items()
            for key, expected in keys.items()
        }
    require_equal({f"{_CONFIG}: {key}": pair for key, pair in agreed.items()})


def _agree_on_processor(
    path: Path, description: ModelDescription
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Compares the image processor with the card; returns the files read, and notes."""
    file = find_first(path, PROCESSORS)
    if file is None:
        return (), ("The folder says nothing of preprocessing; it is the card's.",)
    agree_on_processor(
        file.name,
        load_json(file),
        description.preprocessing,
        kinds=("SiglipImageProcessor",),
    )
    return (file,), ()


def _read_tokenizer(path: Path) -> tuple[str, bytes, tuple[Path, ...]]:
    """Returns the tokenizer's file by its name, and the settings file that was compared."""
    file = find_first(path, (PIECES, WHOLE))
    if file is None:
        raise FormRefused(f"Expected {PIECES} of SigLIP, or {WHOLE} of SigLIP 2, in {path}.")
    content = read_bounded(file, _MOST_TOKENIZER_BYTES)
    settings = path / _TOKENIZER_CONFIG
    if not settings.is_file():
        return file.name, content, ()
    _agree_on_tokenizer(load_json(settings), _SPIECE if file.name == PIECES else {})
    return file.name, content, (settings,)


def _agree_on_tokenizer(found: Mapping[str, Any], expected: Mapping[str, object]) -> None:
    """Passes if the settings ask for what `models.vlm.pooled.siglip_tokens` does."""
    for key, wanted in {**expected, **_SIDE}.items():
        value = found.get(key, wanted)
        plain = value.get("content") if isinstance(value, Mapping) else value
        if plain != wanted:
            raise ConfigMismatch(
                f"{_TOKENIZER_CONFIG}: {key}", expected=str(wanted), found=str(plain)[:60]
            )


FORM = Form(
    name="hf-siglip",
    looks_like=f"a folder with {_CONFIG} of a SiglipModel, its weights, and {PIECES} or {WHOLE}",
    architectures=("siglip",),
    recognises=recognises,
    convert=convert,
    hub_files=(_CONFIG, *PROCESSORS, PIECES, WHOLE, _TOKENIZER_CONFIG),
    hub_weights=_NAMES,
)
