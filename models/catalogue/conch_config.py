"""Parses and writes `conch_config.json`, the architecture of CONCH; no torch."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from models.catalogue.cards import Card
from models.catalogue.config_file import ConfigFile, choose_known


class ConchVision(Card):
    """The image tower under its authors' names: a ViT whose output one learned query pools."""

    layers: int = Field(default=12, ge=1, le=256)
    width: int = Field(default=768, ge=1, le=2**14)
    num_heads: int = Field(default=12, ge=1, le=256)
    mlp_ratio: int = Field(default=4, ge=1, le=64)
    patch_size: int = Field(default=16, ge=1, le=2048)
    image_size: int = Field(default=448, ge=1, le=2048)
    attentional_pool_contrast: Literal[True] = True
    n_queries_contrast: Literal[1] = 1
    attn_pooler_heads: Literal[8] = 8


class ConchText(Card):
    """The text tower under its authors' names; `embed_cls`: a learned last token is the feature."""

    context_length: int = Field(default=128, ge=4, le=2**14)
    vocab_size: int = Field(default=32007, ge=8, le=2**22)
    width: int = Field(default=768, ge=1, le=2**14)
    heads: int = Field(default=12, ge=1, le=256)
    layers: int = Field(default=12, ge=1, le=256)
    ls_init_value: None = None
    embed_cls: Literal[True] = True
    pad_id: Literal[0] = 0


class ConchConfig(ConfigFile):
    """CONCH; the defaults are the published model (Lu et al., Nature Medicine 2024)."""

    FILE = "conch_config.json"

    embed_dim: int = Field(default=512, ge=8, le=2**14, multiple_of=8)
    vision_cfg: ConchVision = ConchVision()
    text_cfg: ConchText = ConchText()


def read_published(name: str, config: Mapping[str, Any]) -> ConchConfig:
    """Returns the architecture that a configuration of the authors' code states.

    Keys that shape neither tower, such as those of captions, are dropped.

    Raises:
        ConfigMismatch: a part is not an object, or a value is not one that a CONCH has here.
    """
    fields: dict[str, Any] = {key: config[key] for key in ("embed_dim",) if key in config}
    fields["vision_cfg"] = choose_known(name, config, "vision_cfg", ConchVision)
    fields["text_cfg"] = choose_known(name, config, "text_cfg", ConchText)
    return ConchConfig.translate(name, fields)
