import pytest
import torch
from read_alike import find_refused

from models.catalogue import load_catalogue
from models.loading.loading import load_vlm
from models.prompts.prompt import Prompt
from models.vlm._imports import get_open_clip
from models.vlm.base_classifier import (
    BaseClassifier,
    check_bank,
    create_base_classifier,
    create_prompted_classifier,
)
from models.vlm.vlm import PixelNormalisation

CPU = torch.device("cpu")
BATCH = 64


@pytest.fixture(params=["tiny", "tiny in bf16", "bundled-2"])
def vlm(request, tiny_clip, tmp_path):
    if request.param != "bundled-2":
        precision = {"cpu": "bf16" if "bf16" in request.param else "fp32"}
        return load_vlm(tiny_clip.write(tmp_path, precision=precision), tmp_path, CPU)
    catalogue = load_catalogue()
    return load_vlm(catalogue.get("bundled-2"), catalogue.folder("bundled-2"), CPU)


def test_first_layer_scales_the_integers_and_normalises_each_channel(tiny_clip, tmp_path):
    card = tiny_clip.write(tmp_path)  # mean 0.5, 0.4, 0.3; std 0.2, 0.25, 0.3
    pixels = torch.zeros(1, 3, 32, 32, dtype=torch.int16)
    pixels[0, :, 0, 0] = torch.tensor([255, -51, 510])
    layer = PixelNormalisation(card.preprocessing, CPU)
    expected = [(1 - 0.5) / 0.2, (-0.2 - 0.4) / 0.25, (2 - 0.3) / 0.3]
    assert layer(pixels)[0, :, 0, 0].tolist() == pytest.approx(expected, rel=1e-6)


def test_image_features_are_open_clips_on_normalised_pixels(tiny_clip, tmp_path, sample_pixels):
    vlm = load_vlm(tiny_clip.write(tmp_path), tmp_path, CPU)
    pixels = sample_pixels(4, 32)
    by_hand = (pixels.double() / 255).sub(vlm.normalise.mean).div(vlm.normalise.std).float()
    expected = vlm.clip.encode_image(by_hand, normalize=True)
    torch.testing.assert_close(vlm.encode_images(pixels), expected, atol=1e-5, rtol=0)


def test_image_tower_in_bf16_computes_nearly_the_same(tiny_clip, tmp_path, sample_pixels):
    vlms = [
        load_vlm(tiny_clip.write(tmp_path, precision={"cpu": precision}), tmp_path, CPU)
        for precision in ("fp32", "bf16")
    ]
    assert vlms[1].clip.visual.conv1.weight.dtype == torch.bfloat16
    exact, rounded = (vlm.encode_images(sample_pixels(8, 32)) for vlm in vlms)
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(exact, rounded, atol=0.02, rtol=0)
    texts = [vlm.encode_texts(["a necrosis"]) for vlm in vlms]
    assert torch.equal(*texts)


def test_features_are_float32_of_unit_length(vlm, sample_pixels):
    images = vlm.encode_images(sample_pixels(3, vlm.card.preprocessing.size))
    texts = vlm.encode_texts(["necrosis", "A chest CT image."])
    for features in (images, texts):
        assert features.dtype == torch.float32
        torch.testing.assert_close(features.norm(dim=1), torch.ones(len(features)))


def test_logits_are_the_scaled_cosines(tiny_clip, tmp_path, sample_pixels):
    tiny_clip.tensors["logit_scale"] = torch.tensor(3.0)
    vlm = load_vlm(tiny_clip.write(tmp_path), tmp_path, CPU)
    classifier = create_base_classifier(vlm, "A {}.", ["cat", "dog", "eel"])
    pixels = sample_pixels(5, 32)
    images = vlm.encode_images(pixels).double()
    texts = vlm.encode_texts(["A cat.", "A dog.", "A eel."]).double()
    expected = 20.085536923187668 * images @ texts.T  # exp(3)
    torch.testing.assert_close(classifier(pixels).double(), expected, atol=1e-4, rtol=0)


def test_text_features_are_computed_once_for_a_prompt(tiny_clip, tmp_path, sample_pixels):
    vlm = load_vlm(tiny_clip.write(tmp_path), tmp_path, CPU)
    passes = []
    vlm.clip.transformer.register_forward_hook(lambda *_: passes.append(1))
    classifier = create_base_classifier(vlm, vlm.card.template, vlm.card.class_names)
    for _ in range(3):
        classifier(sample_pixels(BATCH, 32))
    assert passes == [1]


@pytest.mark.parametrize("num_classes", [2, 3, 9, 16])
def test_logits_of_a_row_depend_on_neither_place_nor_neighbours(vlm, sample_pixels, num_classes):
    size = vlm.card.preprocessing.size
    names = [f"tissue {i}" for i in range(num_classes)]
    classifier = create_base_classifier(vlm, "A {}.", names)
    pixels = sample_pixels(BATCH, size)
    logits = classifier(pixels)
    for seed in range(3):
        order = torch.randperm(BATCH, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(classifier(pixels[order]), logits[order])
    padded = torch.zeros_like(pixels)
    padded[:5] = pixels[20:25]
    assert torch.equal(classifier(padded)[:5], logits[20:25])


@pytest.mark.parametrize(
    "pixels",
    [
        torch.zeros(2, 3, 32, 32, dtype=torch.uint8),
        torch.zeros(2, 3, 32, 32),
        torch.zeros(3, 32, 32, dtype=torch.int16),
        torch.zeros(2, 1, 32, 32, dtype=torch.int16),
        torch.zeros(2, 3, 32, 16, dtype=torch.int16),
    ],
)
def test_pixels_of_another_kind_are_refused(tiny_clip, tmp_path, pixels):
    vlm = load_vlm(tiny_clip.write(tmp_path), tmp_path, CPU)
    with pytest.raises(ValueError, match=r"int16 of shape \(B, 3, 32, 32\); got "):
        vlm.encode_images(pixels)


def test_text_longer_than_the_context_is_refused(tiny_clip, tmp_path):
    vlm = load_vlm(tiny_clip.write(tmp_path), tmp_path, CPU)
    fits = " ".join(["a"] * 14)  # and the two marks around it: 16
    vlm.encode_texts([fits])
    with pytest.raises(ValueError, match=r"at most 16 tokens; .* has 17"):
        vlm.encode_texts(["a", fits + " a"])
    with pytest.raises(ValueError, match=r"; '.{59}…' has 502"):
        vlm.encode_texts(["a " * 500])


@pytest.mark.parametrize(
    ("template", "names", "sentence"),
    [
        ("A cell.", ["cat", "dog"], "exactly once"),
        ("A {}.", ["cat"], "at least two"),
        ("A {}.", ["cat", "cat"], "occurs more than once"),
    ],
)
def test_prompt_that_makes_no_classifier_is_refused(tiny_clip, tmp_path, template, names, sentence):
    vlm = load_vlm(tiny_clip.write(tmp_path), tmp_path, CPU)
    with pytest.raises(ValueError, match=sentence):
        create_base_classifier(vlm, template, names)


@pytest.mark.parametrize("shape", [(24,), (1, 24), (3, 25)])
def test_text_features_of_another_shape_are_refused(tiny_clip, tmp_path, shape):
    vlm = load_vlm(tiny_clip.write(tmp_path), tmp_path, CPU)
    with pytest.raises(ValueError, match=r"\(C, 24\) with C > 1"):
        BaseClassifier(vlm=vlm, text_features=torch.ones(shape))


def test_names_that_would_be_cut_off_alike_are_refused(tiny_clip, tmp_path):
    vlm = load_vlm(tiny_clip.write(tmp_path), tmp_path, CPU)
    long = " ".join(["a"] * 14)  # and the two marks around it: 16
    names = (f"{long} b", f"{long} c")
    with pytest.raises(ValueError, match="at most 16 tokens"):
        create_base_classifier(vlm, "{}", names)
    prompt = Prompt(ctx=torch.zeros(5, vlm.text_width).numpy(), suffix="")
    with pytest.raises(ValueError, match="at most 16 tokens"):
        create_prompted_classifier(vlm, prompt, [name[10:] for name in names])


def test_names_are_refused_or_have_features_that_lie_apart(vlm):
    refused = find_refused(vlm)
    assert {("naevus", "Naevus"), ("lung", "lung "), ("x & y", "x &amp; y")} < refused
    assert ("HER2+", "HER2-") not in refused


def test_names_that_the_text_tower_computes_alike_are_refused(tiny_clip, tmp_path):
    tokens = get_open_clip().SimpleTokenizer().encode("b c")
    embeddings = tiny_clip.tensors["token_embedding.weight"]
    embeddings[tokens[0]] = embeddings[tokens[1]]
    vlm = load_vlm(tiny_clip.write(tmp_path), tmp_path, CPU)
    with pytest.raises(ValueError, match="the same features for 'b' and 'c'"):
        create_base_classifier(vlm, "A {}.", ("b", "c"))


@pytest.mark.parametrize(
    "names",
    [("benign", "Benign"), ("a b", "a  b"), ("naevus", "naevus "), ("x & y", "x &amp; y")],
)
def test_names_that_the_tokenizer_reads_alike_are_refused(tiny_clip, tmp_path, names):
    vlm = load_vlm(tiny_clip.write(tmp_path), tmp_path, CPU)
    with pytest.raises(ValueError, match=r"reads .* alike"):
        create_base_classifier(vlm, "An image of {}.", ("other", *names))
    ctx = vlm.embed_text("An image of").numpy()
    with pytest.raises(ValueError, match=r"reads .* alike"):
        create_prompted_classifier(vlm, Prompt(ctx=ctx, suffix="."), ("other", *names))


def test_prompts_of_a_bank_that_the_tokenizer_reads_alike_are_refused(tiny_clip, tmp_path):
    vlm = load_vlm(tiny_clip.write(tmp_path), tmp_path, CPU)
    ctx = vlm.embed_text("An image of").numpy()
    prompt, spaced = Prompt(ctx=ctx, suffix=" seen."), Prompt(ctx=ctx, suffix="  Seen.")
    other = Prompt(ctx=ctx + 1, suffix=" seen.")
    check_bank(vlm, ("A {}.", "A {} seen.", prompt, other), ("b", "c"))
    with pytest.raises(ValueError, match=r"reads 'A \{\}\.' and 'a  \{\}\.' alike"):
        check_bank(vlm, ("A {}.", prompt, "a  {}."), ("b", "c"))
    with pytest.raises(ValueError, match=f"'{prompt.sha256[:12]}' and '{spaced.sha256[:12]}'"):
        check_bank(vlm, (prompt, other, spaced), ("b", "c"))
