"""The configuration of the BERT inside an open_clip model, `bert_config.json`. No torch."""

import json
from typing import Any

from models.weights import ConfigMismatch, UnreadableWeights

BERT_CONFIG = "bert_config.json"


def parse_bert_config(content: bytes) -> dict[str, Any]:
    """A BERT's configuration in transformers' words, without what does not shape the tower.

    Raises:
        UnreadableWeights: no JSON, or no object.
        ConfigMismatch: another kind of model, or one that brings code of its own.
    """
    try:
        config = json.loads(content)
    except ValueError as error:
        raise UnreadableWeights(BERT_CONFIG, str(error)) from error
    if not isinstance(config, dict):
        raise UnreadableWeights(BERT_CONFIG, f"an object was expected, {config!r:.40} came")
    plain = {
        "model_type": "bert",
        "auto_map": None,
        "is_decoder": False,
        "position_embedding_type": "absolute",
    }
    for key, expected in plain.items():
        found = config.get(key, None if key == "model_type" else expected)
        if found != expected:
            raise ConfigMismatch(f"{BERT_CONFIG}: {key}", expected=str(expected), found=str(found))
    return {key: value for key, value in config.items() if key not in ("dtype", "torch_dtype")}
