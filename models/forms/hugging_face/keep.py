"""The form of KEEP: a folder with a configuration, weights and the BERT's vocabulary.

The folder also brings code of its authors, which is not read. That code names one architecture of
timm and takes the image size, the patch size and the number of classes from the configuration.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from models.catalogue.bert_config import check_bert_config
from models.catalogue.keep_config import KeepConfig
from models.catalogue.weights import ConfigMismatch
from models.forms.bert_files import TOKENIZER_DEFAULT, drop_derived, spell_tokenizer
from models.forms.files import find_weights, get_part, load_json, load_tensors
from models.forms.form import Converted, Form, FormRefused, PublishedFiles
from models.loading.keep import Keep
from models.loading.state_dict import check_state_dict
from models.vlm.wordpiece import TOKENIZER_CONFIG, VOCAB, create_tokenizer

_CONFIG = "config.json"
_NAMES = ("model.safetensors", "pytorch_model.bin")
_POSITIONS = "text.embeddings.position_ids"
_SCALES = (".ls1.", ".ls2.")  # LayerScale, whose tensor is `gamma` in timm and in older files
_THEIRS, _OURS = "weight", "gamma"
_TENSORS = "keep.safetensors"
# What `vision_config` calls the sizes; and what its other keys must say, where they are there.
_VISION = {
    "img_size": "image_size",
    "patch_size": "patch_size",
    "hidden_size": "width",
    "num_layers": "layers",
    "num_heads": "heads",
    "mlp_ratio": "mlp_ratio",
}
_FIXED = {"num_classes": 0, "qkv_bias": True, "drop_rate": 0.0, "attn_drop_rate": 0.0}


def recognises(source: PublishedFiles) -> bool:
    """Recognises a folder whose configuration says that it is KEEP."""
    config = source.find_config(_CONFIG)
    return config is not None and load_json(config).get("model_type") == "keep"


def convert(source: PublishedFiles, folder: Path) -> Converted:
    """See `Form.convert`."""
    return convert_keep(
        source, folder, KeepConfig(context_length=source.description.context_length)
    )


def convert_keep(source: PublishedFiles, folder: Path, config: KeepConfig) -> Converted:
    """Writes tensors, architecture and tokenizer of a model that has this architecture.

    Raises:
        FormRefused: a file is missing.
        WeightsError: a file is damaged, the published configuration is another architecture's, a
            tensor is missing, unexpected or of another shape, or the vocabulary is another BERT's.
    """
    stated = source.find_config(_CONFIG)
    if stated is None:
        raise FormRefused(f"Expected {_CONFIG} of KEEP in {source.path}.")
    _agree(load_json(stated), config)
    weights = find_weights(source, _NAMES)
    small = tuple(stated.with_name(name) for name in (VOCAB, TOKENIZER_CONFIG))
    contents = {path.name: path.read_bytes() for path in small if path.is_file()}
    if VOCAB not in contents:
        raise FormRefused(f"Expected {VOCAB}, the vocabulary of the BERT, in {stated.parent}.")
    contents = {TOKENIZER_CONFIG: TOKENIZER_DEFAULT, **contents}
    create_tokenizer(
        contents, vocab_size=config.text.vocab_size, context_length=config.context_length
    )
    tensors = _rename_scales(load_tensors(weights))
    drop_derived(tensors, _POSITIONS, torch.arange(config.text.max_position_embeddings))
    with torch.device("meta"):
        check_state_dict(Keep(config).state_dict(), tensors)
    for name, content in {KeepConfig.FILE: config.dump(), **spell_tokenizer(contents)}.items():
        (folder / name).write_bytes(content)
    save_file({name: leaf.contiguous() for name, leaf in tensors.items()}, folder / _TENSORS)
    return Converted(read=(weights, stated, *filter(Path.is_file, small)))


def _agree(found: Mapping[str, Any], config: KeepConfig) -> None:
    """Passes if what the published configuration states is this architecture."""
    vision = get_part(found, "vision_config", _CONFIG)
    ours = config.vision.model_dump()
    expected = {key: ours[name] for key, name in _VISION.items()} | _FIXED
    _require("vision_config", vision, expected)
    text = {"model_type": "bert", **get_part(found, "text_config", _CONFIG)}
    bert = check_bert_config("text_config", text)
    _require("text_config", bert, config.text.model_dump())
    _require("", found, {"projection_dim": config.embed_dim})


def _require(part: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Compares the keys that are there; those left out have the published model's values."""
    for key in sorted(found.keys() & expected.keys()):
        if found[key] != expected[key]:
            where = f"{part}.{key}" if part else key
            raise ConfigMismatch(where, expected=str(expected[key]), found=str(found[key])[:80])


def _rename_scales(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors with timm's name for those of LayerScale."""
    return {
        name.removesuffix(_THEIRS) + _OURS
        if name.endswith(_THEIRS) and any(scale in name for scale in _SCALES)
        else name: leaf
        for name, leaf in tensors.items()
    }


FORM = Form(
    name="keep",
    looks_like=f"KEEP's folder with {_CONFIG}, {' or '.join(_NAMES)} and {VOCAB}",
    architectures=("keep",),
    recognises=recognises,
    convert=convert,
    hub_files=(_CONFIG, VOCAB, TOKENIZER_CONFIG),
    hub_weights=_NAMES,
)
