"""Parses and writes `medclip_config.json`, the architecture of a MedCLIP-ViT; no torch."""

import json
from typing import Any

from pydantic import Field, ValidationError

from models.catalogue.cards import Card
from models.catalogue.weights import UnreadableWeights
from models.files.untrusted_text import one_line, parse_json

CONFIG = "medclip_config.json"
_Sizes = tuple[int, ...]


class SwinShape(Card):
    """Swin-T as in `microsoft/swin-tiny-patch4-window7-224`, under transformers' names."""

    image_size: int = 224
    patch_size: int = 4
    embed_dim: int = 96
    depths: _Sizes = (2, 2, 6, 2)
    num_heads: _Sizes = (3, 6, 12, 24)
    window_size: int = 7
    mlp_ratio: float = 4.0
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5


class BertShape(Card):
    """BERT as in Bio_ClinicalBERT, under transformers' names."""

    vocab_size: int = 28996
    hidden_size: int = 768
    num_hidden_layers: int = Field(default=12, ge=2)  # hidden states 1 and 2 are pooled
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0


class MedClipConfig(Card):
    """A MedCLIP-ViT; the defaults are the published model (Wang et al., EMNLP 2022).

    `context_length` is part of the model, because features are means over all positions, including
    padding. Prompts for MedCLIP were learned with 25.
    """

    embed_dim: int = 512
    context_length: int = 25
    vision: SwinShape = SwinShape()
    text: BertShape = BertShape()

    def dump(self) -> bytes:
        """Returns the content of the file."""
        return (json.dumps(self.model_dump(mode="json"), indent=1) + "\n").encode()


def parse_medclip_config(content: bytes) -> MedClipConfig:
    """Returns the architecture in a file's content.

    Raises:
        UnreadableWeights: the content is not JSON, or a field is unknown or out of range.
    """
    try:
        fields: Any = parse_json(content)
        return MedClipConfig.model_validate(fields)
    except (ValueError, ValidationError) as error:
        raise UnreadableWeights(CONFIG, one_line(error)) from error
