"""MedCLIP-ViT: Swin-T and Bio_ClinicalBERT, both projected to one sphere (Wang et al., EMNLP 2022).

Weights keep the names of the published file, which are those of transformers 4.24. Later versions
of transformers gave Swin's tensors other names; `get_published_name` is the way back.
"""

import math
from typing import Any, final

import torch
from torch import Tensor

from models.catalogue.medclip_config import MedClipConfig
from models.vlm._imports import get_transformers

_SWIN = "vision_model.model."
_RENAMED = (  # transformers 5, transformers 4.24
    (".attention.q_proj.", ".attention.self.query."),
    (".attention.k_proj.", ".attention.self.key."),
    (".attention.v_proj.", ".attention.self.value."),
    (".attention.o_proj.", ".attention.output.dense."),
    (".attention.relative_position_bias.", ".attention.self."),
    (".mlp.fc1.", ".intermediate.dense."),
    (".mlp.fc2.", ".output.dense."),
)
_LARGEST_LOGIT_SCALE = 4.6052  # MedCLIP clamps the logarithm to [0, 4.6052] before each use


@final
class MedClip(torch.nn.Module):
    """The published module: two towers, two projections without bias, a temperature.

    Random weights, on the current default device.
    """

    def __init__(self, config: MedClipConfig) -> None:
        super().__init__()
        transformers = get_transformers()
        vision, text = config.vision.model_dump(), config.text.model_dump()
        vision |= {key: list(vision[key]) for key in ("depths", "num_heads")}
        swin = transformers.SwinModel(transformers.SwinConfig(**vision))
        bert = transformers.BertModel(transformers.BertConfig(**text))
        self.vision_model = MedClipVision(swin, swin.num_features, config.embed_dim)
        self.text_model = MedClipText(bert, config.text.hidden_size, config.embed_dim)
        self.logit_scale = torch.nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def get_published_state(self) -> dict[str, Tensor]:
        """The tensors themselves, under the names of the published file."""
        return {get_published_name(name): leaf for name, leaf in self.state_dict().items()}

    def get_logit_scale(self) -> float:
        """The factor between cosine similarity and logit, as MedCLIP computes it."""
        return math.exp(min(max(self.logit_scale.item(), 0.0), _LARGEST_LOGIT_SCALE))


@final
class MedClipVision(torch.nn.Module):
    """Swin's mean over its last 7 × 7 positions, projected."""

    def __init__(self, swin: torch.nn.Module, width: int, embed_dim: int) -> None:
        super().__init__()
        self.model = swin
        self.projection_head = torch.nn.Linear(width, embed_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised pixels (B, 3, H, W) to features (B, D), not normalised."""
        features: Tensor = self.projection_head(self.model(x).pooler_output)
        return features


@final
class MedClipText(torch.nn.Module):
    """BERT and its projection; `models.vlm.bert` runs the one, `MedClipPooling` the other."""

    def __init__(self, bert: torch.nn.Module, width: int, embed_dim: int) -> None:
        super().__init__()
        self.model = bert
        self.projection_head = torch.nn.Linear(width, embed_dim, bias=False)


@final
class MedClipPooling(torch.nn.Module):
    """The mean of hidden states 1, 2 and last over all positions, padding included; projected."""

    def __init__(self, projection: torch.nn.Module) -> None:
        super().__init__()
        self.projection = projection

    def forward(self, output: Any, mask: Tensor) -> Tensor:  # noqa: ARG002  # padding counts
        """BERT's output to features (C, D)."""
        states = output.hidden_states  # of the embeddings, then of each layer
        chosen = torch.stack([states[1], states[2], states[-1]], dim=1)  # (C, 3, length, width)
        features: Tensor = self.projection(chosen.mean(dim=2).mean(dim=1))
        return features


def get_published_name(name: str) -> str:
    """The name that the published file has for a tensor of `MedClip`."""
    if name.startswith(_SWIN):
        for today, then in _RENAMED:
            name = name.replace(today, then)
    return name
