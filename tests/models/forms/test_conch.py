"""CONCH as it is published: the features of the authors' code, or a refusal that says why."""

import importlib
import json
from pathlib import Path

import conch_recipe as recipe
import numpy as np
import pytest
import torch
from PIL import Image
from published_conch import describe, draw_tensors, write_published
from read_alike import find_refused
from two_shades import learn_two_shades

from models.catalogue.text_width import find_text_width
from models.catalogue.weights import ConfigMismatch, StateDictMismatch, UnreadableWeights
from models.forms.form import FormRefused
from models.imaging.preprocess import preprocess
from models.installation.add import add_model
from models.learning.template_prompt import create_template_prompt
from models.learning.zero_shot import TuningStep, tune_prompt
from models.loading.loading import load_vlm
from models.vlm._imports import get_open_clip
from models.vlm.pooled.conch_tokens import FILE, create_conch_tokenizer
from worker.engine.shelf.runtime import CpuRuntime, load_served

CPU = torch.device("cpu")
REFERENCE = json.loads(Path(__file__).with_name("conch_reference.json").read_text())
PIXELS = torch.from_numpy(recipe.draw_pixels())
CAPTIONS = {
    "text_decoder.ln_final.weight": (48,),
    "visual.attn_pool_caption.query": (8, 48),
    "visual.ln_caption.bias": (48,),
}


@pytest.fixture(scope="module")
def added(tmp_path_factory):
    place = tmp_path_factory.mktemp("conch")
    return add_model(describe(), write_published(place / "published"), place / "models")


@pytest.fixture(scope="module")
def vlm(added):
    return load_vlm(added.card, added.folder, CPU)


def close(found: torch.Tensor, name: str) -> None:
    torch.testing.assert_close(found, torch.tensor(REFERENCE[name]), rtol=0, atol=1e-5)


def test_features_are_those_of_the_authors_code(added, vlm):
    close(vlm.encode_images(PIXELS), "images")
    close(vlm.encode_texts(recipe.TEXTS), "texts")
    with torch.no_grad():
        close(vlm.encode_prompts(torch.from_numpy(recipe.draw_ctx()), recipe.SUFFIXES), "prompts")
    assert vlm.logit_scale == pytest.approx(REFERENCE["logit_scale"], rel=1e-6)
    assert find_text_width(added.card, added.folder) == vlm.text_width == 32


def test_names_that_are_read_alike_are_refused(vlm):
    refused = find_refused(vlm)
    assert ("naevus", "Naevus") in refused
    assert ("HER2+", "HER2-") not in refused


def test_tokens_are_those_of_the_authors_code():
    tokenizer = create_conch_tokenizer(
        {FILE: recipe.create_tokenizer()},
        vocab_size=recipe.VOCAB_SIZE,
        context_length=recipe.CONTEXT_LENGTH,
    )
    found = tokenizer(recipe.TEXTS).ids
    assert [[*row, 0] for row in found.tolist()] == REFERENCE["tokens"]
    with pytest.raises(ValueError, match="A text has at most 39 tokens"):
        tokenizer(["tissue " * 60])
    with pytest.raises(ValueError, match="must not contain start or end marks"):
        tokenizer(["a <end_of_text> b"])


def test_pixels_are_those_of_the_published_transform():
    image = np.random.default_rng(3).integers(0, 256, (75, 101, 3), dtype=np.uint8)
    get_open_clip()  # before torchvision, which may lack its own operators
    torchvision = importlib.import_module("torchvision.transforms")
    bicubic = torchvision.InterpolationMode.BICUBIC
    resize, crop = torchvision.Resize(64, interpolation=bicubic), torchvision.CenterCrop(64)
    wanted = np.asarray(crop(resize(Image.fromarray(image)))).transpose(2, 0, 1)
    assert np.array_equal(preprocess(image, describe().preprocessing), wanted)


def test_openvino_serves_its_image_tower(added):
    served = load_served(added.card, added.folder, CPU, CpuRuntime(name="openvino"))
    close(served.encode_images(PIXELS), "images")


def test_a_row_depends_neither_on_its_place_nor_on_its_neighbours(vlm):
    rows = torch.from_numpy(recipe.draw_pixels(16))
    assert torch.equal(vlm.encode_images(rows.flip(0)), vlm.encode_images(rows).flip(0))


def test_vectors_enter_as_words_do_and_tuning_lowers_the_entropy(vlm):
    names = vlm.card.class_names
    prompt = create_template_prompt(vlm, vlm.card.template, names)  # checks equal features
    copies = vlm.encode_images(torch.from_numpy(recipe.draw_pixels(16)))
    tuned = tune_prompt(vlm, copies, prompt, names, TuningStep(steps=3, learning_rate=0.02))
    assert tuned.entropy_after < tuned.entropy_before


def test_a_prompt_is_learned_and_its_loss_falls(vlm):
    losses = learn_two_shades(vlm)
    assert losses[-1] < losses[0]


def test_parts_for_captions_are_left_out_and_said(added, tmp_path):
    more = draw_tensors() | {n: torch.from_numpy(recipe.draw(n, s)) for n, s in CAPTIONS.items()}
    published = write_published(tmp_path / "published", tensors=more, config=False)
    again = add_model(describe(), published, tmp_path / "models")
    assert again.notes == ("3 tensors that make captions are left out; no feature needs them.",)
    assert again.card.sha256 == added.card.sha256


@pytest.mark.parametrize(
    ("leaf", "shape"),
    [
        ("visual.attn_pool_contrast.query", (2, 32)),
        ("visual.trunk.pos_embed", (1, 26, 48)),
        ("text.cls_emb", None),
        ("visual.proj_contrast", None),
    ],
)
def test_a_tensor_of_another_name_or_shape_is_refused(tmp_path, leaf, shape):
    tensors = draw_tensors()
    tensor = tensors.pop(leaf)
    tensors[leaf if shape else f"{leaf}s"] = torch.zeros(shape) if shape else tensor
    published = write_published(tmp_path / "published", tensors=tensors)
    with pytest.raises(StateDictMismatch, match=leaf):
        add_model(describe(), published, tmp_path / "models")


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("vision_cfg", "image_size", 80),
        ("vision_cfg", "attentional_pool_contrast", False),
        ("vision_cfg", "num_heads", 8),
        ("vision_cfg", "attn_pooler_heads", 4),
        ("text_cfg", "context_length", 77),
        ("text_cfg", "embed_cls", False),
        ("text_cfg", "pad_id", 1),
    ],
)
def test_a_configuration_with_another_value_is_refused(tmp_path, part, key, value):
    published = write_published(tmp_path / "published")
    config = json.loads(recipe.dump_config())
    config[part][key] = value
    (published / "conch_ViT-B-16.json").write_text(json.dumps(config))
    with pytest.raises(ConfigMismatch, match=key):
        add_model(describe(), published, tmp_path / "models")
    assert not list((tmp_path / "models").iterdir())


def test_another_card_or_tokenizer_is_refused(tmp_path):
    published = write_published(tmp_path / "published", config=False)
    with pytest.raises(ConfigMismatch, match="context_length"):
        add_model(describe(context_length=128), published, tmp_path / "models")
    (published / FILE).write_bytes(b'{"version": "1.0"}')
    with pytest.raises(UnreadableWeights, match=FILE):
        add_model(describe(), published, tmp_path / "models")
    (published / FILE).unlink()
    with pytest.raises(FormRefused, match="of its authors' code"):
        add_model(describe(), published, tmp_path / "models")
