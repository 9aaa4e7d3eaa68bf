"""Parses `bert_config.json`, the configuration of the BERT inside an open_clip model; no torch."""

from collections.abc import Mapping
from typing import Any

from models.catalogue.weights import ConfigMismatch, parse_object

BERT_CONFIG = "bert_config.json"
_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
    "pad_token_id",
)


def parse_bert_config(content: bytes) -> dict[str, Any]:
    """Returns the settings that shape the text tower, under transformers' names.

    All other keys are dropped: some of them select code to run and where to download it.

    Raises:
        UnreadableWeights: the content is not a JSON object.
        ConfigMismatch: the configuration is of another kind of model, brings its own code, or has
            an invalid size.
    """
    return check_bert_config(BERT_CONFIG, parse_object(BERT_CONFIG, content))


def check_bert_config(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a configuration that was parsed already; `name` is what messages call it.

    Raises:
        ConfigMismatch: as `parse_bert_config`.
    """
    plain = {
        "model_type": "bert",
        "auto_map": None,
        "is_decoder": False,
        "position_embedding_type": "absolute",
        "hidden_act": "gelu",
    }
    for key, expected in plain.items():
        found = config.get(key, None if key == "model_type" else expected)
        if found != expected:
            raise ConfigMismatch(f"{name}: {key}", expected=str(expected), found=str(found))
    sizes = {key: config[key] for key in _SIZES if key in config}
    for key, size in sizes.items():
        if type(size) is not int or size < 0:
            raise ConfigMismatch(f"{name}: {key}", expected="a whole number", found=repr(size)[:40])
    epsilon = {
        key: config[key] for key in ("layer_norm_eps",) if isinstance(config.get(key), float)
    }
    return {"model_type": "bert", **sizes, **epsilon}
