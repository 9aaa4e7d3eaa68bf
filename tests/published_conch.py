"""The small CONCH of `conch_recipe` as it is published, and its card."""

import json
from pathlib import Path

import conch_recipe as recipe
import torch

from models.catalogue import load_catalogue
from models.catalogue.cards import ModelDescription
from models.catalogue.conch_config import ConchConfig, read_published
from models.vlm.pooled.conch import Conch
from models.vlm.pooled.conch_tokens import FILE


def describe(**changes: object) -> ModelDescription:
    shipped = load_catalogue().describe("conch")
    small = {
        "embed_dim": recipe.EMBED_DIM,
        "vision_cfg": recipe.VISION,
        "text_cfg": recipe.TEXT,
    }
    size = {"size": recipe.VISION["image_size"]}
    fields = {
        "preprocessing": shipped.preprocessing.model_copy(update=size),
        "context_length": recipe.CONTEXT_LENGTH,
        "published": shipped.published.model_copy(update={"model_cfg": small}),
        "class_names": ("normal tissue", "carcinoma"),
        "batch_size": {"cpu": 16, "cuda": 16},
    }
    return shipped.model_copy(update=fields | changes)


def draw_tensors(config: ConchConfig | None = None) -> dict[str, torch.Tensor]:
    """Weights of a CONCH; without a configuration, of the recipe's size."""
    config = config or read_published("recipe", json.loads(recipe.dump_config()))
    with torch.device("meta"):
        shapes = {name: tuple(leaf.shape) for name, leaf in Conch(config).state_dict().items()}
    return {name: torch.from_numpy(recipe.draw(name, s)) for name, s in shapes.items()}


def write_published(
    folder: Path, *, tensors: dict[str, torch.Tensor] | None = None, config: bool = True
) -> Path:
    folder.mkdir()
    torch.save(draw_tensors() if tensors is None else tensors, folder / "pytorch_model.bin")
    (folder / FILE).write_bytes(recipe.create_tokenizer())
    if config:
        (folder / "conch_ViT-B-16.json").write_text(recipe.dump_config())
    return folder
