"""Two small models."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from models.cards import ModelCard, Preprocessing, WeightFile
from models.loading import create_clip


@dataclass(frozen=True, kw_only=True)
class TinyClip:
    """A CLIP with random weights: its configuration, its tensors, and a way to write it."""

    config: dict
    tensors: dict[str, torch.Tensor]

    def write(self, folder: Path, **changes: object) -> ModelCard:
        """Writes both files and returns their card."""
        contents = {
            "open_clip_config.json": json.dumps({"model_cfg": self.config}).encode(),
            "open_clip_model.safetensors": save(self.tensors),
        }
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        files = tuple(
            WeightFile(
                name=name, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content)
            )
            for name, content in contents.items()
        )
        fields = {
            "id": "tiny",
            "name": "Tiny",
            "description": "Random weights.",
            "intended_use": "Tests.",
            "licence": "Apache-2.0",
            "source": "this test",
            "architecture": "open_clip",
            "files": files,
            "context_length": 16,
            "preprocessing": Preprocessing(size=32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3)),
            "class_names": ("adenocarcinoma", "benign tissue", "necrosis"),
            "template": "A {} image.",
        }
        return ModelCard(**(fields | changes))


@pytest.fixture
def tiny_clip() -> TinyClip:
    config = {
        "embed_dim": 24,
        "vision_cfg": {
            "image_size": 32,
            "patch_size": 8,
            "layers": 2,
            "width": 64,
            "head_width": 32,
        },
        "text_cfg": {"context_length": 16, "width": 32, "heads": 2, "layers": 2},
    }
    with torch.random.fork_rng():
        torch.manual_seed(5)
        clip = create_clip(config)
    return TinyClip(config=config, tensors=clip.state_dict())


@pytest.fixture
def sample_pixels() -> Callable[[int, int], torch.Tensor]:
    """Noisy integer images, some values outside 0..255."""

    def sample(count: int, size: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(count)
        grey = torch.randint(0, 256, (count, 3, size, size), generator=generator)
        noise = (60 * torch.randn(grey.shape, generator=generator)).round()
        return (grey + noise).to(torch.int16)

    return sample
