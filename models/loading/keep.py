"""KEEP: timm's ViT-L/16 with LayerScale and a BERT, whose features meet on one sphere.

Weights keep the names that their authors gave them. The published file has timm's LayerScale under
another name than timm; the form gives it timm's.
"""

import math
from typing import Any, final

import torch
from torch import Tensor

from models.catalogue.keep_config import KeepConfig
from models.catalogue.weights import require_equal
from models.loading.config import ModelFiles
from models.loading.tensor_file import create_fitting, load_into
from models.vlm._imports import create_vit, get_transformers
from models.vlm.bert import BertTextTower, BertVLM
from models.vlm.vlm import VLM
from models.vlm.wordpiece import create_tokenizer

_LAYER_SCALE = 1e-5  # what LayerScale starts at, which the weights replace


@final
class Keep(torch.nn.Module):
    """The published module, with random weights, on the current default device."""

    def __init__(self, config: KeepConfig) -> None:
        super().__init__()
        transformers = get_transformers()
        width = config.embed_dim
        self.visual = create_vit(
            img_size=config.vision.image_size,
            patch_size=config.vision.patch_size,
            embed_dim=config.vision.width,
            depth=config.vision.layers,
            num_heads=config.vision.heads,
            mlp_ratio=config.vision.mlp_ratio,
            init_values=_LAYER_SCALE,
        )
        self.visual_head = torch.nn.Sequential(
            torch.nn.Linear(config.vision.width, width),
            torch.nn.GELU(),
            torch.nn.Linear(width, width),
        )
        self.text = transformers.BertModel(transformers.BertConfig(**config.text.model_dump()))
        self.logit_scale = torch.nn.Parameter(torch.tensor(math.log(1 / 0.04)))


@final
class KeepPooling(torch.nn.Module):
    """BERT's own pooler: a linear layer and tanh over [CLS]."""

    def forward(self, output: Any, mask: Tensor) -> Tensor:  # noqa: ARG002  # [CLS] is no padding
        """Returns features (C, D) from BERT's output."""
        features: Tensor = output.pooler_output
        return features


def load_keep(files: ModelFiles) -> VLM:
    """Loads the model onto its device.

    Raises:
        WeightsError: a file is missing, is not the one the card names, or does not fit the
            architecture.
    """
    card, config = files.card, files.read_config(KeepConfig)
    require_equal(
        {
            "vision.image_size": (card.preprocessing.size, config.vision.image_size),
            "context_length": (card.context_length, config.context_length),
            "text.hidden_size": (config.embed_dim, config.text.hidden_size),
        }
    )
    tokenizer = create_tokenizer(
        files.contents, vocab_size=config.text.vocab_size, context_length=card.context_length
    )
    keep = create_fitting(lambda: Keep(config), files.tensors, files.folder)
    load_into(keep.state_dict(), files.tensors, files.folder)
    fold_layer_scale(keep.visual)
    return BertVLM(
        card=card,
        image_tower=torch.nn.Sequential(keep.visual, keep.visual_head),
        text_tower=BertTextTower(bert=keep.text, head=KeepPooling(), tokenizer=tokenizer),
        logit_scale=math.exp(keep.logit_scale.item()),
        image_dtype=files.image_dtype,
        device=files.device,
    )


@torch.no_grad()
def fold_layer_scale(vit: Any) -> None:
    """Multiplies LayerScale into the layers before it, as OpenVINO would.

    OpenVINO keeps what it folds beside what it packs: a third more memory than the weights.
    """
    for block in vit.blocks:
        for name, layer in (("ls1", block.attn.proj), ("ls2", block.mlp.fc2)):
            gamma = getattr(block, name).gamma  # (width,)
            layer.weight.mul_(gamma[:, None])
            layer.bias.mul_(gamma)
            setattr(block, name, torch.nn.Identity())
