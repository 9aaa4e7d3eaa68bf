"""Small models, and where there is no network."""

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from published_clip import HfClip, create_hf_clip, create_small_hf_clip
from safetensors.torch import save

from models.catalogue.cards import ModelCard, Preprocessing, WeightFile
from models.loading.loading import create_clip

REPOSITORY = Path(__file__).parents[2]
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")


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


@pytest.fixture(scope="session")
def hf_clip() -> HfClip:
    """A small one, as it is published."""
    return create_small_hf_clip()


@pytest.fixture(scope="session")
def real_hf_clip() -> HfClip:
    """ViT-B/32 of the size that PLIP has."""
    return create_hf_clip(text_config={}, vision_config={})


@pytest.fixture
def sample_pixels() -> Callable[[int, int], torch.Tensor]:
    """Noisy integer images, some values outside 0..255."""

    def sample(count: int, size: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(count)
        grey = torch.randint(0, 256, (count, 3, size, size), generator=generator)
        noise = (60 * torch.randn(grey.shape, generator=generator)).round()
        return (grey + noise).to(torch.int16)

    return sample


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket but one between processes here can be made, and nobody was told to be offline."""

    class Local(socket.socket):
        def __init__(self, family: int = -1, *rest: Any, **named: Any) -> None:
            if family != socket.AF_UNIX:
                raise AssertionError("a socket was asked for")
            super().__init__(family, *rest, **named)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was asked for")

    for name in OFFLINE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket, "socket", Local)
    for name in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)


@pytest.fixture
def run_check() -> Callable[[Path, str], str]:
    """`promptsmooth models check` in a process of its own, as an operator runs it.

    Shows and returns its table. Memory was at most 1.2 times the weights, and 200 MB of OpenVINO's.
    """

    def run(models: Path, model_id: str) -> str:
        environment = {name: value for name, value in os.environ.items() if name not in OFFLINE}
        environment |= {"PROMPTSMOOTH_MODELS": str(models), "COLUMNS": "100"}
        command = [sys.executable, "-m", "app.cli", "models", "check", model_id]
        ended = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            check=False,
            cwd=REPOSITORY,
            env=environment,
        )
        assert ended.returncode == 0, ended.stderr
        sys.stdout.write(f"\n{ended.stdout}")
        shown = " ".join(ended.stdout.replace("│", " ").split())
        found = re.search(r"([0-9.]+) MB for weights of ([0-9.]+) MB", shown)
        assert found is not None
        assert float(found[1]) <= 1.2 * float(found[2]) + 200
        return ended.stdout

    return run
