"""A denoiser before a model: known denoisers, and a row that no other row changes."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.catalogue.cards import DENOISER_FILE, DenoiserShape, ModelCard
from models.catalogue.weights import DigestMismatch, UnreadableWeights
from models.installation.folder import describe_file, format_model_card
from models.loading.loading import load_vlm
from models.testing import create_linear_model, write_linear_model
from models.vlm.denoised import DenoisedVLM, Denoiser

CPU = torch.device("cpu")
SHAPE = DenoiserShape(sigma=0.5, width=8, layers=3)


def create_denoiser(*, shift: float = 0, seed: int | None = None) -> Denoiser:
    """One that subtracts `shift` everywhere, or one with random weights."""
    denoiser = Denoiser(width=SHAPE.width, layers=SHAPE.layers)
    torch.nn.init.dirac_(denoiser.filter.weight, groups=3)
    torch.nn.init.constant_(denoiser.convolutions[-1].bias, -shift)
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        for leaf in denoiser.parameters():
            leaf.data.normal_(std=0.1, generator=generator)
    return denoiser


def write_denoised(folder: Path, card: ModelCard, denoiser: Denoiser) -> ModelCard:
    """Puts a denoiser beside the weights of a model; returns the card of both."""
    save_file(denoiser.state_dict(), folder / DENOISER_FILE)
    files = (*card.files, describe_file(folder / DENOISER_FILE))
    return card.model_copy(update={"files": files, "denoiser": SHAPE})


def test_before_training_a_pixel_becomes_the_mean_around_it():
    """Noise keeps a 25th of its variance, and at the border the outermost pixels count on."""
    denoiser = Denoiser(width=4, layers=2)
    pixels = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = denoiser(pixels)
    assert torch.allclose(found[:, :, 4, 3], pixels[:, :, 2:7, 1:6].mean(dim=(2, 3)), atol=1e-6)
    corner = torch.nn.functional.pad(pixels, (2, 2, 2, 2), mode="replicate")[:, :, :5, :5]
    assert torch.allclose(found[:, :, 0, 0], corner.mean(dim=(2, 3)), atol=1e-6)


def test_a_denoiser_that_removes_nothing_changes_nothing(tiny_clip, tmp_path, sample_pixels):
    card, pixels = tiny_clip.write(tmp_path), sample_pixels(6, 32)
    plain = load_vlm(card, tmp_path, CPU)
    denoised = load_vlm(write_denoised(tmp_path, card, create_denoiser()), tmp_path, CPU)
    assert torch.equal(denoised.encode_images(pixels), plain.encode_images(pixels))
    ctx = torch.randn(3, plain.text_width, generator=torch.Generator().manual_seed(1))
    for texts in (["necrosis"], ["benign tissue", "necrosis"]):
        assert torch.equal(denoised.encode_texts(texts), plain.encode_texts(texts))
        assert torch.equal(denoised.encode_prompts(ctx, texts), plain.encode_prompts(ctx, texts))
    assert torch.equal(denoised.embed_text("necrosis"), plain.embed_text("necrosis"))


def test_the_model_sees_what_the_denoiser_leaves_in_whole_levels(
    tiny_clip, tmp_path, sample_pixels
):
    """A denoiser that subtracts 40.3 levels moves every pixel by 40."""
    card, pixels = tiny_clip.write(tmp_path), sample_pixels(5, 32)
    plain = load_vlm(card, tmp_path, CPU)
    denoised = DenoisedVLM(plain, create_denoiser(shift=40.3 / 255))
    assert torch.equal(denoised.encode_images(pixels), plain.encode_images(pixels - 40))


def test_a_row_depends_neither_on_its_place_nor_on_its_neighbours(
    tiny_clip, tmp_path, sample_pixels
):
    card, pixels = tiny_clip.write(tmp_path), sample_pixels(64, 32)
    denoised = DenoisedVLM(load_vlm(card, tmp_path, CPU), create_denoiser(seed=3))
    features = denoised.encode_images(pixels)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(2))
    assert torch.equal(denoised.encode_images(pixels[order]), features[order])
    others = pixels.clone()
    others[1:] = sample_pixels(63, 32)
    assert torch.equal(denoised.encode_images(others)[0], features[0])


def test_the_digest_of_the_model_covers_the_denoiser(tiny_clip, tmp_path):
    plain = tiny_clip.write(tmp_path)
    first = write_denoised(tmp_path, plain, create_denoiser(seed=1))
    second = write_denoised(tmp_path, plain, create_denoiser(seed=2))
    digests = {card.sha256 for card in (plain, first, second)}
    digests |= {plain.model_copy(update={"denoiser": SHAPE}).sha256}
    assert len(digests) == 4
    assert len({card.weights_sha256 for card in (plain, first, second)}) == 3
    with pytest.raises(DigestMismatch, match=DENOISER_FILE):
        load_vlm(first, tmp_path, CPU)


def test_a_card_without_the_denoisers_file_is_refused(tiny_clip, tmp_path):
    card = tiny_clip.write(tmp_path).model_copy(update={"denoiser": SHAPE})
    with pytest.raises(UnreadableWeights, match="the card does not name it"):
        load_vlm(card, tmp_path, CPU)


def test_images_of_odd_size_are_refused(tmp_path):
    card = write_linear_model(tmp_path, create_linear_model(size=7))
    with pytest.raises(ValueError, match="even size; linear takes 7 pixels"):
        DenoisedVLM(load_vlm(card, tmp_path / "linear", CPU), create_denoiser())


def test_a_card_with_a_denoiser_is_written_and_read(tiny_clip, tmp_path):
    from models.catalogue.cards import parse_card

    card = write_denoised(tmp_path, tiny_clip.write(tmp_path), create_denoiser())
    assert parse_card(format_model_card(card)) == card
