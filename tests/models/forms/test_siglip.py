"""SigLIP as transformers saves it: the same features, or a refusal that names what differs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from published_siglip import (
    CARD,
    SMALL_TEXT,
    SMALL_VISION,
    TEXTS,
    compute_image_features,
    compute_text_features,
    describe,
    load_tokenizer,
    train_pieces,
    write_siglip,
)
from read_alike import find_refused
from safetensors.torch import load_file, save_file
from tokenizers.processors import TemplateProcessing
from two_shades import learn_two_shades

from models.catalogue import load_catalogue
from models.catalogue.cards import parse_description
from models.catalogue.text_width import find_text_width
from models.catalogue.weights import ConfigMismatch, StateDictMismatch, UnreadableWeights
from models.datasets.training_images import TrainingImages
from models.forms.form import FormRefused
from models.imaging.preprocess import preprocess
from models.installation.add import add_model
from models.learning.few_shot import learn_prompt
from models.learning.template_prompt import create_template_prompt
from models.learning.zero_shot import TuningStep, tune_prompt
from models.loading.loading import load_vlm
from models.prompts.learning_settings import create_learning_settings
from models.vlm._imports import get_transformers
from models.vlm.pooled.siglip_tokens import create_siglip_tokenizer
from worker.engine.shelf.runtime import CpuRuntime, load_served

CPU = torch.device("cpu")
PIXELS = torch.from_numpy(
    np.random.default_rng(2).integers(-200, 455, (20, 3, 28, 28)).astype(np.int16)
)


@pytest.fixture(scope="module")
def pieces() -> bytes:
    return train_pieces(160)


@pytest.fixture
def published(tmp_path, pieces):
    folder = tmp_path / "published"
    folder.mkdir()
    return folder, write_siglip(folder, pieces=pieces)


def add(folder: Path, tmp_path: Path, description=None):
    return add_model(description or describe(), folder, tmp_path / "models")


def test_features_are_those_of_its_own_library(published, tmp_path):
    folder, model = published
    added = add(folder, tmp_path)
    assert added.notes == ()
    vlm = load_vlm(added.card, added.folder, CPU)
    texts = compute_text_features(model, load_tokenizer(folder), TEXTS, 48)
    torch.testing.assert_close(vlm.encode_texts(TEXTS), texts, rtol=0, atol=1e-5)
    images = compute_image_features(model, PIXELS)
    torch.testing.assert_close(vlm.encode_images(PIXELS), images, rtol=0, atol=1e-5)
    assert vlm.logit_scale == pytest.approx(np.exp(2.3), rel=1e-6)
    assert find_text_width(added.card, added.folder) == vlm.text_width == 32
    # The shift of the sigmoid is one for all classes, so the class is the library's own.
    both = model.logit_scale.exp() * images @ texts.T + model.logit_bias
    assert torch.equal((vlm.encode_images(PIXELS) @ texts.T).argmax(dim=1), both.argmax(dim=1))


def test_tokens_are_those_of_its_own_library(published, pieces):
    folder, _ = published
    theirs = load_tokenizer(folder)
    ours = create_siglip_tokenizer({"spiece.model": pieces}, vocab_size=160, context_length=48)
    hard = [*TEXTS, "", " two  spaces\n", "Ünïcode – dash", "▁▁", "a▁b", "5.0 kV", "'s", "ﬁ"]
    for text in hard:
        wanted = theirs(text, padding="max_length", max_length=48)["input_ids"]
        assert ours([text])[0].tolist() == wanted, text


def test_marks_in_a_text_are_words_and_long_texts_are_refused(pieces):
    ours = create_siglip_tokenizer({"spiece.model": pieces}, vocab_size=160, context_length=48)
    assert 1 not in ours.encode("a </s> b")
    with pytest.raises(ValueError, match="A text has at most 48 tokens"):
        ours(["opacity " * 60])


def test_names_that_differ_in_what_training_left_out_are_refused(published, tmp_path):
    folder, _ = published
    added = add(folder, tmp_path)
    vlm = load_vlm(added.card, added.folder, CPU)
    refused = find_refused(vlm)
    assert {("HER2+", "HER2-"), ("+", "-"), ("stage I", "stage I."), ("naevus", "Naevus")} < refused
    assert refused.isdisjoint({("stage I", "stage II"), ("T1 N0", "T1N0"), ("lung", "lungs")})


def test_no_prompt_is_learned_for_names_that_are_read_alike(published, tmp_path):
    folder, _ = published
    added = add(folder, tmp_path)
    vlm = load_vlm(added.card, added.folder, CPU)
    pixels = np.zeros((4, 3, 28, 28), dtype=np.uint8)
    images = TrainingImages(pixels=pixels, classes=np.repeat([0, 1], 2))
    settings = replace(create_learning_settings("default", added.card.template), shots=2)
    with pytest.raises(ValueError, match=r"reads 'HER2\+' and 'HER2-' alike"):
        learn_prompt(vlm, images, ("HER2+", "HER2-"), settings)


def test_a_card_whose_names_are_read_alike_is_not_added(published, tmp_path):
    folder, _ = published
    alike = describe().model_copy(update={"class_names": ("HER2+", "HER2-")})
    with pytest.raises(ValueError, match=r"reads 'HER2\+' and 'HER2-' alike"):
        add(folder, tmp_path, alike)
    assert not (tmp_path / "models" / "small-siglip").exists()


def test_pixels_are_those_of_its_own_library(published):
    folder, _ = published
    image = np.random.default_rng(3).integers(0, 256, (45, 61, 3), dtype=np.uint8)
    theirs = get_transformers().SiglipImageProcessorPil.from_pretrained(folder)
    wanted = theirs(Image.fromarray(image), do_normalize=False, do_rescale=False)["pixel_values"]
    ours = preprocess(image, describe().preprocessing)
    assert np.array_equal(ours, np.asarray(wanted[0], dtype=np.uint8))


def test_openvino_serves_its_image_tower(published, tmp_path):
    folder, model = published
    added = add(folder, tmp_path)
    vlm = load_served(added.card, added.folder, CPU, CpuRuntime(name="openvino"))
    wanted = compute_image_features(model, PIXELS)
    torch.testing.assert_close(vlm.encode_images(PIXELS), wanted, rtol=0, atol=1e-5)


def test_a_row_depends_neither_on_its_place_nor_on_its_neighbours(published, tmp_path):
    folder, _ = published
    added = add(folder, tmp_path)
    vlm = load_vlm(added.card, added.folder, CPU)
    rows = PIXELS[:16]
    assert torch.equal(vlm.encode_images(rows.flip(0)), vlm.encode_images(rows).flip(0))


def test_vectors_enter_as_words_do_and_a_gradient_reaches_them(published, tmp_path):
    folder, _ = published
    added = add(folder, tmp_path)
    vlm = load_vlm(added.card, added.folder, CPU)
    names = added.card.class_names
    prompt = create_template_prompt(vlm, added.card.template, names)  # checks equal features
    ctx = torch.tensor(prompt.ctx, requires_grad=True)
    vlm.encode_prompts(ctx, names).sum().backward()
    assert ctx.grad.abs().sum() > 0
    step = TuningStep(steps=3, learning_rate=0.05)
    tuned = tune_prompt(vlm, vlm.encode_images(PIXELS), prompt, names, step)
    assert tuned.entropy_after < tuned.entropy_before


def test_a_prompt_is_learned_and_its_loss_falls(published, tmp_path):
    folder, _ = published
    added = add(folder, tmp_path)
    vlm = load_vlm(added.card, added.folder, CPU)
    losses = learn_two_shades(vlm)
    assert losses[-1] < losses[0]


def test_weights_in_shards_and_as_a_pickle_are_the_same_model(tmp_path, pieces):
    digests = set()
    for at, saving in enumerate(({}, {"max_shard_size": "20KB"})):
        folder = tmp_path / f"published-{at}"
        folder.mkdir()
        write_siglip(folder, pieces=pieces, **saving)
        digests.add(add_model(describe(), folder, tmp_path / f"models-{at}").card.sha256)
    torch.save(load_file(tmp_path / "published-0" / "model.safetensors"), tmp_path / "weights.bin")
    (tmp_path / "published-0" / "model.safetensors").unlink()
    (tmp_path / "weights.bin").rename(tmp_path / "published-0" / "pytorch_model.bin")
    digests.add(add_model(describe(), tmp_path / "published-0", tmp_path / "models-2").card.sha256)
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("leaf", "change"),
    [
        ("vision_model.head.probe", lambda t: t[..., :-1]),
        ("text_model.head.weight", lambda t: t.T[:-1]),
        ("logit_bias", None),
        ("vision_model.encoder.layers.1.mlp.fc1.weight", None),
    ],
)
def test_a_tensor_of_another_name_or_shape_is_refused(published, tmp_path, leaf, change):
    folder, _ = published
    tensors = load_file(folder / "model.safetensors")
    tensor = tensors.pop(leaf)
    if change is None:
        tensors[f"{leaf}s"] = tensor
    else:
        tensors[leaf] = change(tensor).contiguous()
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(StateDictMismatch, match=leaf):
        add(folder, tmp_path)


@pytest.mark.parametrize(
    ("name", "path", "value", "said"),
    [
        ("config.json", ("vision_config", "hidden_act"), "gelu", "hidden_act"),
        ("config.json", ("text_config", "hidden_act"), "quick_gelu", "hidden_act"),
        ("config.json", ("vision_config", "image_size"), 42, "image_size"),
        ("config.json", ("vision_config", "vision_use_head"), False, "vision_use_head"),
        ("config.json", ("text_config", "max_position_embeddings"), 64, "max_position"),
        ("config.json", ("text_config", "num_attention_heads"), 8, "num_attention_heads"),
        ("config.json", ("text_config", "layer_norm_eps"), 1e-5, "layer_norm_eps"),
        ("config.json", ("text_config", "projection_size"), 16, "features of images and texts"),
        ("preprocessor_config.json", ("resample",), 3, "resample"),
        ("preprocessor_config.json", ("image_mean",), [0.4, 0.5, 0.5], "image_mean"),
        ("preprocessor_config.json", ("size",), {"height": 42, "width": 42}, "size"),
        ("preprocessor_config.json", ("image_processor_type",), "CLIPImageProcessor", "Siglip"),
        ("tokenizer_config.json", ("do_lower_case",), False, "do_lower_case"),
        ("tokenizer_config.json", ("pad_token",), "<pad>", "pad_token"),
        ("tokenizer_config.json", ("padding_side",), "left", "padding_side"),
    ],
)
def test_a_configuration_with_another_value_is_refused(
    published, tmp_path, name, path, value, said
):
    folder, _ = published
    config = json.loads((folder / name).read_text())
    part = config
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    (folder / name).write_text(json.dumps(config))
    with pytest.raises(ConfigMismatch, match=said):
        add(folder, tmp_path)
    assert not list((tmp_path / "models").iterdir())


def test_a_whole_processors_configuration_is_read_and_named(published, tmp_path):
    """transformers 5 writes the image processor as a part of it, or leaves it out."""
    folder, _ = published
    alone = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    whole = folder / "processor_config.json"
    whole.write_text(json.dumps({"processor_class": "SiglipProcessor"}))
    add(folder, tmp_path / "silent")
    whole.write_text(json.dumps({"image_processor": {**alone, "size": 28}}))
    add(folder, tmp_path / "one-number")
    whole.write_text(json.dumps({"image_processor": {**alone, "resample": 3}}))
    with pytest.raises(ConfigMismatch, match=r"processor_config\.json: resample"):
        add(folder, tmp_path / "other")


def test_another_tokenizer_is_refused(published, tmp_path):
    folder, _ = published
    (folder / "spiece.model").write_bytes(train_pieces(150))
    with pytest.raises(ConfigMismatch, match="number of tokens: expected 160, found 150"):
        add(folder, tmp_path)
    (folder / "spiece.model").write_bytes(b"\n\x0anonsense" * 20)
    with pytest.raises(UnreadableWeights, match=r"spiece\.model"):
        add(folder, tmp_path)
    (folder / "spiece.model").unlink()
    with pytest.raises(FormRefused, match=r"Expected spiece\.model of SigLIP, or tokenizer\.json"):
        add(folder, tmp_path)


def write_siglip_2(folder: Path) -> None:
    """Replaces the tokenizer by one of SigLIP 2's kind, with the tokens that these texts need."""
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *"abcdefghijklmnopqrstuvwxyz.-&"]
    vocab = {piece: at for at, piece in enumerate([*pieces, "le", "lu", "▁p"])}
    merges = [("l", "e"), ("l", "u"), ("▁", "p")]
    tokenizer = get_transformers().Siglip2Tokenizer(
        vocab=vocab, merges=merges, padding_side="right"
    )

    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    (folder / "spiece.model").unlink()
    tokenizer.save_pretrained(folder)


def test_siglip_2_has_a_tokenizer_of_its_own(published, tmp_path):
    folder, model = published
    write_siglip_2(folder)
    added = add(folder, tmp_path)
    vlm = load_vlm(added.card, added.folder, CPU)
    theirs = get_transformers().Siglip2Tokenizer.from_pretrained(folder)
    texts = ["a Photo of PLEURAL effusion", "normal lung.", "x"]
    wanted = compute_text_features(model, theirs, texts, 48)
    torch.testing.assert_close(vlm.encode_texts(texts), wanted, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="must not contain start or end marks"):
        vlm.encode_texts(["a <eos> b"])
    create_template_prompt(vlm, "a photo of {}", added.card.class_names)


def test_a_card_that_states_no_architecture_takes_the_files(published, tmp_path):
    folder, _ = published
    card = parse_description(CARD[: CARD.index("[published]")])
    assert add(folder, tmp_path, card).card.architecture == "siglip"


def test_the_card_of_medsiglip_is_of_its_size():
    card = load_catalogue().describe("medsiglip-448")
    assert card.published.model_cfg["vision_config"]["image_size"] == card.preprocessing.size
    assert SMALL_TEXT.keys() <= card.published.model_cfg["text_config"].keys()
    assert SMALL_VISION.keys() == card.published.model_cfg["vision_config"].keys()
