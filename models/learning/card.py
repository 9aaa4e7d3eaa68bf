"""Creates the card of a learned prompt, with everything needed to learn the same vectors again."""

from dataclasses import asdict
from datetime import datetime

import torch

from models.catalogue.cards import TrainingSet
from models.datasets.training_images import TrainingImages
from models.imaging.pixels.digest import digest_image
from models.learning.few_shot import Learned
from models.prompts.cards import Learning, PromptCard
from models.prompts.learning_settings import LearningSettings
from models.vlm.provenance import find_versions, get_device_name
from models.vlm.vlm import VLM

_PACKAGES = (
    "promptsmooth-service",
    "torch",
    "open_clip_torch",
    "timm",
    "transformers",
    "tokenizers",
    "numpy",
)
_ON_THE_CARD_ITSELF = ("ctx_init", "n_ctx", "suffix", "template")


def create_learned_card(
    learned: Learned,
    *,
    prompt_id: str,
    vlm: VLM,
    images: TrainingImages,
    class_names: tuple[str, ...],
    settings: LearningSettings,
    created_at: datetime,
    description: str = "",
    licence: str = "",
    source: str = "",
    training_data: tuple[TrainingSet, ...] = (),
) -> PromptCard:
    """Returns the card for a result of `learn_prompt` with this model, these images and settings.

    Raises:
        ValueError: a card cannot hold the id or one of the texts.
    """
    prompt = learned.prompt
    return PromptCard(
        id=prompt_id,
        model=vlm.card.id,
        weights_sha256=vlm.card.weights_sha256,
        method="few-shot",
        class_names=class_names,
        n_ctx=prompt.n_ctx,
        width=prompt.width,
        suffix=prompt.suffix,
        ctx_init=settings.ctx_init,
        template=settings.template,
        sha256=prompt.sha256,
        created_at=created_at,
        description=description,
        licence=licence,
        source=source,
        training_data=training_data,
        learning=_create_learning(learned, vlm, images, settings),
    )


def _create_learning(
    learned: Learned, vlm: VLM, images: TrainingImages, settings: LearningSettings
) -> Learning:
    fields = {k: v for k, v in asdict(settings).items() if k not in _ON_THE_CARD_ITSELF}
    return Learning(
        **fields,
        images_sha256=images.sha256,
        images=tuple(sorted(set(map(digest_image, images.pixels)))),
        loss=learned.curve[-1].loss,
        accuracy=learned.curve[-1].accuracy,
        device=get_device_name(vlm.device),
        threads=torch.get_num_threads(),
        seconds=sum(epoch.seconds for epoch in learned.curve),
        versions=find_versions(*_PACKAGES),
    )
