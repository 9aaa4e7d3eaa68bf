"""The BERT inside an open_clip model: BiomedCLIP's text tower.

open_clip asks the hub for a BERT's configuration even where the weights are local. Here it lies in
the model's folder, as `bert_config.json`, with the tokenizer's files beside it; the names that
open_clip's configuration gives for them are not looked up.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from models.catalogue.bert_config import parse_bert_config
from models.catalogue.weights import ConfigMismatch
from models.vlm._imports import get_open_clip
from models.vlm.bert import BertTextTower
from models.vlm.wordpiece import create_tokenizer

_POOLERS = ("cls_last_hidden_state_pooler", "cls_pooler", "mean_pooler")
_TOKENIZER_OPTIONS = ("tokenizer_mode", "tokenizer_kwargs")


@final
class OpenClipPooling(torch.nn.Module):
    """open_clip's pooling of a BERT's output, and its projection."""

    def __init__(self, pooler: Any, projection: torch.nn.Module) -> None:
        super().__init__()
        self.pooler = pooler
        self.projection = projection

    def forward(self, output: Any, mask: Tensor) -> Tensor:
        """BERT's output and which positions are no padding, to features (C, D)."""
        features: Tensor = self.projection(self.pooler(output, mask))
        return features


def create_hf_text_tower(
    text: Any, contents: Mapping[str, bytes], context_length: int
) -> BertTextTower:
    """The text tower of open_clip's `HFTextEncoder` from embeddings instead of tokens.

    Raises:
        WeightsError: the tokenizer's files are not there, or are another BERT's.
    """
    config = text.config
    if context_length > config.max_position_embeddings:
        raise ConfigMismatch(
            "text_cfg.context_length",
            expected=f"at most {config.max_position_embeddings}, the positions of the BERT",
            found=str(context_length),
        )
    open_clip = get_open_clip()
    tokenizer = create_tokenizer(
        contents,
        vocab_size=config.vocab_size,
        context_length=context_length,
        clean=open_clip.tokenizer.get_clean_fn("whitespace"),  # what `HFTokenizer` does
    )
    head = OpenClipPooling(text.pooler, text.proj)
    return BertTextTower(bert=text.transformer, head=head, tokenizer=tokenizer)


def create_text_cfg(text_cfg: Mapping[str, Any], content: bytes, folder: Path) -> dict[str, Any]:
    """The `text_cfg` that makes open_clip build the BERT of a configuration, without the hub.

    Args:
        text_cfg: open_clip's, with `hf_model_name`.
        content: that of `bert_config.json`.
        folder: an empty one, which open_clip reads the configuration from.

    Raises:
        WeightsError: no configuration of a plain BERT, or a part this code does not know.
    """
    config = parse_bert_config(content)
    pooler = text_cfg.get("hf_pooler_type", "mean_pooler")
    if pooler not in _POOLERS:
        raise ConfigMismatch(
            "text_cfg.hf_pooler_type", expected=" or ".join(_POOLERS), found=str(pooler)
        )
    for key in _TOKENIZER_OPTIONS:
        if text_cfg.get(key):
            raise ConfigMismatch(f"text_cfg.{key}", expected="none", found=str(text_cfg[key]))
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return {**text_cfg, "hf_model_name": str(folder), "hf_model_pretrained": False}
