"""A CLIPModel of transformers with random weights, to be written as such models are published."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from models.catalogue import load_catalogue
from models.catalogue.cards import ModelDescription
from models.vlm._imports import get_open_clip


@dataclass(frozen=True, kw_only=True)
class HfClip:
    """transformers' CLIPModel with random weights: what published forms are made from.

    `model` is the reference; `description` is what a card would say of it.
    """

    model: Any
    description: ModelDescription

    def write(self, folder: Path, *, weights: str = "model.safetensors") -> Path:
        """Writes the folder that CLIPModel is published in."""
        self.model.save_pretrained(folder)
        if weights == "pytorch_model.bin":
            (folder / "model.safetensors").unlink()
            torch.save(self.state_dict(), folder / weights)
        return folder

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The tensors as older releases saved them, with both position_ids."""
        text, vision = self.model.config.text_config, self.model.config.vision_config
        patches = (vision.image_size // vision.patch_size) ** 2
        return {
            **self.model.state_dict(),
            "text_model.embeddings.position_ids": torch.arange(text.max_position_embeddings)[None],
            "vision_model.embeddings.position_ids": torch.arange(patches + 1)[None],
        }


def describe_hf(config: Any, **changes: object) -> ModelDescription:
    """The card of `plip`, for an architecture as small as `config`."""
    text, vision = config.text_config, config.vision_config
    plip = load_catalogue().describe("plip")
    model_cfg = {
        "embed_dim": config.projection_dim,
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": vision.image_size,
            "layers": vision.num_hidden_layers,
            "width": vision.hidden_size,
            "patch_size": vision.patch_size,
            "head_width": vision.hidden_size // vision.num_attention_heads,
        },
        "text_cfg": {
            "context_length": text.max_position_embeddings,
            "vocab_size": text.vocab_size,
            "width": text.hidden_size,
            "heads": text.num_attention_heads,
            "layers": text.num_hidden_layers,
        },
    }
    fields = plip.model_dump() | {
        "id": "small-plip",
        "context_length": text.max_position_embeddings,
        "preprocessing": plip.preprocessing.model_copy(update={"size": vision.image_size}),
        "published": {"form": "hf-clip", "repository": "vinid/plip", "model_cfg": model_cfg},
    }
    return ModelDescription.model_validate(fields | changes)


def create_hf_clip(**parts: dict) -> HfClip:
    """A CLIPModel whose random weights are large enough for a wrong step to show."""
    get_open_clip()  # makes torchvision importable, which transformers wants
    from transformers import CLIPConfig, CLIPModel

    config = CLIPConfig(**parts, attn_implementation="eager")
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(7)
        model = CLIPModel(config).eval()
        for name, leaf in model.named_parameters():
            if name != "logit_scale":
                around = 1.0 if "norm" in name and name.endswith("weight") else 0.0
                leaf.copy_(around + torch.randn_like(leaf) * max(leaf.shape[-1], 64) ** -0.5)
    return HfClip(model=model, description=describe_hf(config))


def create_small_hf_clip() -> HfClip:
    """Two layers each, narrow, with the real vocabulary and length of texts."""
    return create_hf_clip(
        text_config={
            "hidden_size": 32,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
        },
        vision_config={
            "hidden_size": 64,
            "intermediate_size": 256,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
        },
        projection_dim=24,
    )
