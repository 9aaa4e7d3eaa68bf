"""CONCH and SigLIP at their published sizes, with random weights: make test-models."""

import gc
from pathlib import Path

import conch_recipe
import pytest
import torch
from published_conch import draw_tensors
from published_siglip import (
    TEXTS,
    compute_image_features,
    compute_text_features,
    describe,
    load_tokenizer,
    write_siglip,
)
from published_vlms import CHOSEN_POOLED, check_learning

from models.catalogue import load_catalogue
from models.catalogue.cards import ModelDescription
from models.catalogue.conch_config import ConchConfig
from models.installation.add import add_model
from models.loading.loading import load_vlm
from models.vlm.pooled.conch_tokens import FILE

pytestmark = [pytest.mark.real_size, pytest.mark.usefixtures("no_network")]
CPU = torch.device("cpu")
BASE: dict[str, dict[str, int]] = {
    "text_config": {"vocab_size": 32000, "hidden_size": 768, "max_position_embeddings": 64},
    "vision_config": {"hidden_size": 768, "image_size": 224, "patch_size": 16},
}


def describe_siglip(model_id: str) -> ModelDescription:
    """The card of a known SigLIP, or one of SigLIP-B/16."""
    if model_id != "siglip-b16":
        return load_catalogue().describe(model_id)
    small = describe()
    return small.model_copy(
        update={
            "context_length": 64,
            "preprocessing": small.preprocessing.model_copy(update={"size": 224}),
            "published": small.published.model_copy(update={"model_cfg": BASE}),
        }
    )


@pytest.mark.parametrize("model_id", ["siglip-b16", *set(CHOSEN_POOLED) - {"conch"}])
def test_siglip_has_the_features_of_transformers_own_class(
    model_id, tmp_path, sample_pixels, run_check
):
    described = describe_siglip(model_id)
    published = tmp_path / "published"
    sizes = described.published.model_cfg
    model = write_siglip(published, sizes["text_config"], sizes["vision_config"])
    pixels = sample_pixels(2, described.preprocessing.size)
    images = compute_image_features(model, pixels)
    texts = compute_text_features(model, load_tokenizer(published), TEXTS, 64)
    del model
    gc.collect()
    added = add_model(described, published, tmp_path / "models")
    vlm = load_vlm(added.card, added.folder, CPU)
    torch.testing.assert_close(vlm.encode_images(pixels), images, atol=1e-5, rtol=0)
    torch.testing.assert_close(vlm.encode_texts(TEXTS), texts, atol=1e-5, rtol=0)
    check_learning(vlm)
    del vlm
    gc.collect()
    run_check(tmp_path / "models", added.card.id)


@pytest.mark.skipif("conch" not in CHOSEN_POOLED, reason="REAL_SIZE does not name conch")
def test_conch_learns_tunes_and_certifies(tmp_path, run_check):
    """Its features are compared at a small size (test_conch.py)."""
    published = write_conch(tmp_path / "published")
    added = add_model(load_catalogue().describe("conch"), published, tmp_path / "models")
    vlm = load_vlm(added.card, added.folder, CPU)
    check_learning(vlm)
    del vlm
    gc.collect()
    run_check(tmp_path / "models", "conch")


def write_conch(folder: Path) -> Path:
    """Random weights, and a tokenizer with as many tokens as the published one."""
    folder.mkdir()
    config = ConchConfig()
    torch.save(draw_tensors(config), folder / "pytorch_model.bin")
    tokenizer = conch_recipe.create_tokenizer(config.text_cfg.vocab_size)
    (folder / FILE).write_bytes(tokenizer)
    return folder
