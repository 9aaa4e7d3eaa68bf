"""SigLIP-B/16 at its published size, with random weights: make test-models."""

import gc

import pytest
import torch
from published_siglip import (
    TEXTS,
    compute_image_features,
    compute_text_features,
    describe,
    load_tokenizer,
    write_siglip,
)

from models.installation.add import add_model
from models.loading.loading import load_vlm

pytestmark = [pytest.mark.real_size, pytest.mark.usefixtures("no_network")]
CPU = torch.device("cpu")
BASE: dict[str, dict[str, int]] = {
    "text_config": {"vocab_size": 32000, "hidden_size": 768, "max_position_embeddings": 64},
    "vision_config": {"hidden_size": 768, "image_size": 224, "patch_size": 16},
}


def test_siglip_has_the_features_of_transformers_own_class(tmp_path, sample_pixels, run_check):
    small = describe()
    described = small.model_copy(
        update={
            "context_length": 64,
            "preprocessing": small.preprocessing.model_copy(update={"size": 224}),
            "published": small.published.model_copy(update={"model_cfg": BASE}),
        }
    )
    published = tmp_path / "published"
    model = write_siglip(published, BASE["text_config"], BASE["vision_config"])
    pixels = sample_pixels(2, 224)
    images = compute_image_features(model, pixels)
    texts = compute_text_features(model, load_tokenizer(published), TEXTS, 64)
    del model
    gc.collect()
    added = add_model(described, published, tmp_path / "models")
    run_check(tmp_path / "models", added.card.id)
    vlm = load_vlm(added.card, added.folder, CPU)
    torch.testing.assert_close(vlm.encode_images(pixels), images, atol=1e-5, rtol=0)
    torch.testing.assert_close(vlm.encode_texts(TEXTS), texts, atol=1e-5, rtol=0)
