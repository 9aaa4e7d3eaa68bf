"""A prompt learned to tell dark images from bright ones, by any VLM with two classes."""

from dataclasses import replace

import numpy as np

from models.datasets.training_images import TrainingImages
from models.learning.few_shot import learn_prompt
from models.prompts.learning_settings import create_learning_settings
from models.vlm.vlm import VLM


def learn_two_shades(vlm: VLM) -> list[float]:
    """The losses, an epoch each."""
    size = vlm.card.preprocessing.size
    dark = np.random.default_rng(4).integers(0, 90, (4, 3, size, size), dtype=np.uint8)
    images = TrainingImages(pixels=np.concatenate([dark, 255 - dark]), classes=np.repeat([0, 1], 4))
    settings = replace(
        create_learning_settings("default", vlm.card.template),
        shots=4,
        epochs=12,
        noise_levels=(0.1,),
        learning_rate=0.05,
        batch_size=8,
    )
    learned = learn_prompt(vlm, images, vlm.card.class_names, settings)
    return [epoch.loss for epoch in learned.curve]
