"""Parses and writes `keep_config.json`, the architecture of KEEP; no torch."""

from pydantic import Field

from models.catalogue.cards import Card
from models.catalogue.config_file import ConfigFile
from models.catalogue.medclip_config import BertShape


class KeepVision(Card):
    """A vision transformer with LayerScale; timm's `vit_large_patch16_224`."""

    image_size: int = Field(default=224, ge=1, le=2048)
    patch_size: int = Field(default=16, ge=1, le=2048)
    width: int = Field(default=1024, ge=1, le=2**14)
    layers: int = Field(default=24, ge=1, le=256)
    heads: int = Field(default=16, ge=1, le=256)
    mlp_ratio: float = Field(default=4.0, gt=0, le=64)


class KeepConfig(ConfigFile):
    """KEEP; the defaults are the published model (Zhou et al., Cancer Cell 2026).

    `embed_dim` is the width of the image tower's head and of the BERT, whose pooled output is the
    text feature.
    """

    FILE = "keep_config.json"

    embed_dim: int = Field(default=768, ge=1, le=2**14)
    context_length: int = Field(default=256, ge=1, le=2**14)
    vision: KeepVision = KeepVision()
    text: BertShape = BertShape(vocab_size=30522)
