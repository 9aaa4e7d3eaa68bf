"""A MedCLIP-ViT from its files."""

from collections.abc import Mapping
from pathlib import Path

import torch

from models.catalogue.cards import ModelCard, WeightFile
from models.catalogue.medclip_config import CONFIG, MedClipConfig, parse_medclip_config
from models.catalogue.weights import ConfigMismatch, UnreadableWeights
from models.loading.tensor_file import load_into
from models.vlm.bert import BertTextTower, BertVLM
from models.vlm.medclip import MedClip, MedClipPooling
from models.vlm.vlm import VLM
from models.vlm.wordpiece import create_tokenizer


def load_medclip(
    card: ModelCard,
    folder: Path,
    *,
    tensors: WeightFile,
    contents: Mapping[str, bytes],
    image_dtype: torch.dtype,
    device: torch.device,
) -> VLM:
    """Loads the model onto a device.

    Args:
        tensors: which of the card's files holds them.
        contents: those of the other files.

    Raises:
        WeightsError: a file is missing or another one, or it does not fit the architecture.
    """
    config = _parse_config(card, contents)
    tokenizer = create_tokenizer(
        contents, vocab_size=config.text.vocab_size, context_length=card.context_length
    )
    clip = MedClip(config)
    load_into(clip.get_published_state(), tensors, folder)
    head = MedClipPooling(clip.text_model.projection_head)
    return BertVLM(
        card=card,
        image_tower=clip.vision_model,
        text_tower=BertTextTower(bert=clip.text_model.model, head=head, tokenizer=tokenizer),
        logit_scale=clip.get_logit_scale(),
        image_dtype=image_dtype,
        device=device,
    )


def _parse_config(card: ModelCard, contents: Mapping[str, bytes]) -> MedClipConfig:
    """The architecture, which must agree with the card."""
    if CONFIG not in contents:
        raise UnreadableWeights(CONFIG, "the card does not name it")
    config = parse_medclip_config(contents[CONFIG])
    agreed = {
        "vision.image_size": (card.preprocessing.size, config.vision.image_size),
        "context_length": (card.context_length, config.context_length),
    }
    for key, (expected, found) in agreed.items():
        if expected != found:
            raise ConfigMismatch(key, expected=str(expected), found=str(found))
    return config
