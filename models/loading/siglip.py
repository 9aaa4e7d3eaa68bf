"""Loads a SigLIP from its files."""

import math
from typing import Any

import torch

from models.catalogue.siglip_config import SiglipConfig
from models.catalogue.weights import require_equal
from models.loading.config import ModelFiles
from models.loading.tensor_file import create_fitting, load_into
from models.vlm._imports import get_transformers
from models.vlm.bert import BertVLM
from models.vlm.pooled.siglip import SiglipImageTower, SiglipTextTower
from models.vlm.pooled.siglip_tokens import create_siglip_tokenizer
from models.vlm.vlm import VLM


def create_siglip(config: SiglipConfig) -> Any:
    """Returns transformers' SiglipModel without weights: its tensors are on the `meta` device."""
    transformers = get_transformers()
    whole = transformers.SiglipConfig(
        text_config=config.text.model_dump(), vision_config=config.vision.model_dump()
    )
    with torch.device("meta"):
        return transformers.SiglipModel(whole)


def load_siglip(files: ModelFiles) -> VLM:
    """Loads the model onto its device.

    Raises:
        WeightsError: a file is missing, is not the one the card names, or does not fit the
            architecture.
    """
    card, config = files.card, files.read_config(SiglipConfig)
    require_equal(
        {
            "vision.image_size": (card.preprocessing.size, config.vision.image_size),
            "text.max_position_embeddings": (
                card.context_length,
                config.text.max_position_embeddings,
            ),
        }
    )
    tokenizer = create_siglip_tokenizer(
        files.contents, vocab_size=config.text.vocab_size, context_length=card.context_length
    )
    fitting = create_fitting(lambda: create_siglip(config), files.tensors, files.folder)
    model = fitting.to_empty(device="cpu")
    load_into(model.state_dict(), files.tensors, files.folder)
    for part in (model.text_model.embeddings, model.vision_model.embeddings):
        part.position_ids.copy_(torch.arange(part.position_ids.shape[1]))  # in no file
    return BertVLM(
        card=card,
        image_tower=SiglipImageTower(model.vision_model),
        text_tower=SiglipTextTower(model.text_model, tokenizer),
        logit_scale=math.exp(model.logit_scale.item()),
        image_dtype=files.image_dtype,
        device=files.device,
    )
