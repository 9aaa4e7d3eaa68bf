"""Parses and writes `siglip_config.json`, the architecture of a SigLIP; no torch."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from models.catalogue.cards import Card
from models.catalogue.config_file import ConfigFile, choose_known

PARTS = ("text_config", "vision_config")
_Length = Field(ge=1, le=2**20)


class SiglipText(Card):
    """The text tower under transformers' names; the defaults are those of SiglipTextConfig.

    Every position attends to every other, padding included, and the last one is pooled.
    """

    vocab_size: int = Field(default=32000, ge=2, le=2**22)
    hidden_size: int = Field(default=768, ge=1, le=2**14)
    intermediate_size: int = Field(default=3072, ge=1, le=2**16)
    num_hidden_layers: int = Field(default=12, ge=1, le=256)
    num_attention_heads: int = Field(default=12, ge=1, le=256)
    max_position_embeddings: int = Field(default=64, ge=2, le=2**14)
    hidden_act: Literal["gelu_pytorch_tanh"] = "gelu_pytorch_tanh"
    layer_norm_eps: float = 1e-6
    projection_size: int = Field(default=0, ge=0, le=2**14)

    @model_validator(mode="before")
    @classmethod
    def _project(cls, fields: Any) -> Any:
        """Without a projection size, features are as wide as the tower."""
        if isinstance(fields, Mapping) and not fields.get("projection_size"):
            return {**fields, "projection_size": fields.get("hidden_size", 768)}
        return fields


class SiglipVision(Card):
    """The image tower under transformers' names; the defaults are those of SiglipVisionConfig.

    A learned query attends to all patches, which makes the feature.
    """

    hidden_size: int = Field(default=768, ge=1, le=2**14)
    intermediate_size: int = Field(default=3072, ge=1, le=2**16)
    num_hidden_layers: int = Field(default=12, ge=1, le=256)
    num_attention_heads: int = Field(default=12, ge=1, le=256)
    num_channels: Literal[3] = 3
    image_size: int = Field(default=224, ge=1, le=2048)
    patch_size: int = Field(default=16, ge=1, le=2048)
    hidden_act: Literal["gelu_pytorch_tanh"] = "gelu_pytorch_tanh"
    layer_norm_eps: float = 1e-6
    vision_use_head: Literal[True] = True


class SiglipConfig(ConfigFile):
    """A SigLIP (Zhai et al., ICCV 2023), or a SigLIP 2 of one resolution (2025)."""

    FILE = "siglip_config.json"

    text: SiglipText = SiglipText()
    vision: SiglipVision = SiglipVision()

    @model_validator(mode="after")
    def _meet(self) -> Self:
        if self.text.projection_size != self.vision.hidden_size:
            raise ValueError("features of images and texts must have one length")
        for part in (self.text, self.vision):
            if part.hidden_size % part.num_attention_heads:
                raise ValueError("the width must be a multiple of the number of heads")
        return self


def read_published(name: str, config: Mapping[str, Any]) -> SiglipConfig:
    """Returns the architecture that a SiglipConfig of transformers states.

    Keys that shape nothing are dropped, and null counts as the default.

    Raises:
        ConfigMismatch: a part is not an object, or a value is not one that a SigLIP has here.
    """
    kinds: tuple[type[Card], ...] = (SiglipText, SiglipVision)
    stated = {key: value for key, value in config.items() if value is not None}
    fields: dict[str, Any] = {}
    for part, kind in zip(PARTS, kinds, strict=True):
        known = choose_known(name, stated, part, kind)
        fields[part.removesuffix("_config")] = {k: v for k, v in known.items() if v is not None}
    return SiglipConfig.translate(name, fields)
