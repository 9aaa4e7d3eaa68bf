"""Parses and writes `medclip_config.json`, the architecture of a MedCLIP-ViT; no torch."""

from typing import Annotated

from pydantic import Field

from models.catalogue.cards import Card
from models.catalogue.config_file import ConfigFile

_Sizes = Annotated[
    tuple[Annotated[int, Field(ge=1, le=256)], ...], Field(min_length=1, max_length=8)
]


class SwinShape(Card):
    """Swin-T as in `microsoft/swin-tiny-patch4-window7-224`, under transformers' names."""

    image_size: int = Field(default=224, ge=1, le=2048)
    patch_size: int = Field(default=4, ge=1, le=2048)
    embed_dim: int = Field(default=96, ge=1, le=2**12)
    depths: _Sizes = (2, 2, 6, 2)
    num_heads: _Sizes = (3, 6, 12, 24)
    window_size: int = Field(default=7, ge=1, le=2048)
    mlp_ratio: float = Field(default=4.0, gt=0, le=64)
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5


class BertShape(Card):
    """BERT as in Bio_ClinicalBERT, under transformers' names."""

    vocab_size: int = Field(default=28996, ge=2, le=2**22)
    hidden_size: int = Field(default=768, ge=1, le=2**14)
    num_hidden_layers: int = Field(default=12, ge=2, le=256)  # hidden states 1 and 2 are pooled
    num_attention_heads: int = Field(default=12, ge=1, le=256)
    intermediate_size: int = Field(default=3072, ge=1, le=2**16)
    hidden_act: str = "gelu"
    max_position_embeddings: int = Field(default=512, ge=1, le=2**14)
    type_vocab_size: int = Field(default=2, ge=1, le=2**10)
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0


class MedClipConfig(ConfigFile):
    """A MedCLIP-ViT; the defaults are the published model (Wang et al., EMNLP 2022).

    `context_length` is part of the model, because features are means over all positions, including
    padding. Prompts for MedCLIP were learned with 25.
    """

    FILE = "medclip_config.json"

    embed_dim: int = Field(default=512, ge=1, le=2**14)
    context_length: int = Field(default=25, ge=1, le=2**14)
    vision: SwinShape = SwinShape()
    text: BertShape = BertShape()
