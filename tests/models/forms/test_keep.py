"""KEEP: timm's ViT with LayerScale, a head of two layers and a BERT with its pooler."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from published_vlms import Keep, create_keep_config, learn_and_tune, normalise
from safetensors.torch import save_file

from models.catalogue import load_catalogue
from models.catalogue.cards import ModelCard
from models.catalogue.keep_config import KeepConfig, KeepVision
from models.catalogue.medclip_config import BertShape
from models.catalogue.text_width import find_text_width
from models.catalogue.weights import (
    ConfigMismatch,
    DigestMismatch,
    StateDictMismatch,
    UnreadableWeights,
)
from models.forms.form import FormRefused, PublishedFiles
from models.forms.hugging_face.keep import convert_keep
from models.forms.registry import choose_form
from models.installation.add import add_model
from models.installation.folder import describe_file
from models.loading.loading import load_vlm
from models.vlm._imports import get_transformers
from models.vlm.base_classifier import create_base_classifier

pytestmark = pytest.mark.usefixtures("no_network")
CPU = torch.device("cpu")
SIZE, CONTEXT_LENGTH, WIDTH = 32, 24, 32
_WORDS = "[PAD] [UNK] [CLS] [SEP] a an the image of tissue normal carcinoma . , h & e"
TEXTS = ["An H&E image of carcinoma.", "normal tissue"]
TEXT = BertShape(
    vocab_size=len(_WORDS.split()),
    hidden_size=WIDTH,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=48,
    max_position_embeddings=40,
)
SMALL = KeepConfig(
    embed_dim=WIDTH,
    context_length=CONTEXT_LENGTH,
    vision=KeepVision(image_size=SIZE, patch_size=8, width=48, layers=2, heads=3),
    text=TEXT,
)
POSITIONS = "text.embeddings.position_ids"


@dataclass
class PublishedFolder:
    """KEEP's folder, smaller."""

    path: Path
    config: dict
    reference: Keep
    tensors: dict[str, torch.Tensor]

    def write(self) -> Path:
        self.path.mkdir(exist_ok=True)
        (self.path / "config.json").write_text(json.dumps(self.config))
        (self.path / "vocab.txt").write_text("\n".join(_WORDS.split()) + "\n")
        (self.path / "tokenizer_config.json").write_text('{"do_lower_case": true}')
        torch.save(self.tensors, self.path / "pytorch_model.bin")
        return self.path

    def convert(self, folder: Path) -> ModelCard:
        shipped = load_catalogue().describe("keep")
        folder.mkdir()
        convert_keep(PublishedFiles(path=self.write(), description=shipped), folder, SMALL)
        files = tuple(describe_file(path) for path in sorted(folder.iterdir()))
        fields = {
            "files": files,
            "context_length": CONTEXT_LENGTH,
            "preprocessing": shipped.preprocessing.model_copy(update={"size": SIZE}),
        }
        return ModelCard(**(shipped.model_dump() | fields))


@pytest.fixture
def published(tmp_path) -> PublishedFolder:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        sizes = {"embed_dim": 48, "depth": 2, "num_heads": 3}
        reference = Keep(SMALL, "vit_tiny_patch16_224", **sizes)
    tensors = reference.save() | {POSITIONS: torch.arange(TEXT.max_position_embeddings)[None]}
    return PublishedFolder(tmp_path / "published", create_keep_config(SMALL), reference, tensors)


@pytest.fixture
def vlm(published, tmp_path):
    return load_vlm(published.convert(tmp_path / "model"), tmp_path / "model", CPU)


def test_features_are_those_of_the_published_parts(published, vlm, sample_pixels):
    pixels = sample_pixels(3, SIZE)
    inputs = (pixels.double() / 255).sub(vlm.normalise.mean).div(vlm.normalise.std).float()
    expected = normalise(published.reference.encode_image(inputs))
    torch.testing.assert_close(vlm.encode_images(pixels), expected, atol=1e-5, rtol=0)
    tokenizer = get_transformers().BertTokenizer.from_pretrained(published.path)
    ids = tokenizer(
        TEXTS, max_length=CONTEXT_LENGTH, padding="max_length", truncation=True, return_tensors="pt"
    )["input_ids"]
    assert ids.tolist() == vlm.text_tower.tokenizer(TEXTS).ids.tolist()
    expected = normalise(published.reference.encode_ids(ids))
    torch.testing.assert_close(vlm.encode_texts(TEXTS), expected, atol=1e-5, rtol=0)
    assert vlm.logit_scale == pytest.approx(25.0, rel=1e-5)


def test_words_as_context_vectors_are_the_words_and_a_gradient_reaches_them(vlm, tmp_path):
    ctx = vlm.embed_text("an h&e image of")
    found = vlm.encode_prompts(ctx, ["normal tissue."])
    expected = vlm.encode_texts(["an H&E image of normal tissue."])
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert find_text_width(vlm.card, tmp_path / "model") == vlm.text_width == WIDTH
    learned = ctx.clone().requires_grad_()
    vlm.encode_prompts(learned, ["carcinoma"])[0, 0].backward()
    assert learned.grad.abs().sum() > 0


def test_a_learned_prompt_finds_something_and_a_tuned_one_too(vlm):
    losses, tuned = learn_and_tune(vlm)
    assert losses[-1] < losses[0]
    assert tuned.entropy_after < tuned.entropy_before


def test_logits_of_a_row_depend_on_neither_place_nor_neighbours(vlm, sample_pixels):
    classifier = create_base_classifier(vlm, "A {}.", ["normal tissue", "carcinoma"])
    pixels = sample_pixels(64, SIZE)
    logits = classifier(pixels)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(classifier(pixels[order]), logits[order])


def test_the_same_model_has_one_digest_however_it_was_published(published, tmp_path):
    """LayerScale under timm's name or the authors', positions or none, a pickle or safetensors."""
    first = published.convert(tmp_path / "a")
    del published.tensors[POSITIONS]
    published.tensors = dict(published.reference.state_dict())
    assert published.convert(tmp_path / "b").files == first.files
    published.write = lambda: published.path
    (published.path / "pytorch_model.bin").unlink()
    (published.path / "tokenizer_config.json").unlink()
    save_file(published.reference.save(), published.path / "model.safetensors")
    assert published.convert(tmp_path / "c").files == first.files


def test_the_form_is_recognised_and_the_shipped_card_refuses_a_smaller_model(published, tmp_path):
    shipped = load_catalogue().describe("keep")
    source = PublishedFiles(path=published.write(), description=shipped)
    assert choose_form(source).name == "keep"
    with pytest.raises(
        ConfigMismatch, match=r"vision_config\.hidden_size: expected 1024, found 48"
    ):
        add_model(shipped, published.path, tmp_path / "models")
    assert not list(tmp_path.glob("models/*"))
    with pytest.raises(FormRefused, match=r"KEEP's folder with config\.json"):
        add_model(shipped, published.path / "pytorch_model.bin", tmp_path / "models")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda t: t.update({"visual.blocks.0.ls3.weight": t.pop("visual.blocks.0.ls1.weight")}),
            r"visual\.blocks\.0\.ls1\.gamma .* found no such tensor",
        ),
        (lambda t: t.pop("text.pooler.dense.bias"), r"text\.pooler\.dense\.bias .* no such tensor"),
        (
            lambda t: t.update({"visual_head.2.weight": t["visual_head.2.weight"][:16]}),
            r"visual_head\.2\.weight .* \(32, 32\), found .* \(16, 32\)",
        ),
        (
            lambda t: t.update({POSITIONS: t[POSITIONS] + 1}),
            r"position_ids .* expected the 40 numbers that follow",
        ),
    ],
    ids=["renamed", "without pooler", "shape", "positions"],
)
def test_tensors_of_another_model_are_refused(published, tmp_path, change, said):
    change(published.tensors)
    with pytest.raises(StateDictMismatch, match=said):
        published.convert(tmp_path / "model")


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("vision_config", {"img_size": 64}, "vision_config.img_size: expected 32, found 64"),
        ("vision_config", {"num_heads": 6}, "vision_config.num_heads: expected 3, found 6"),
        ("vision_config", {"num_classes": 10}, "vision_config.num_classes: expected 0, found 10"),
        (
            "text_config",
            {"hidden_act": "relu"},
            "text_config: hidden_act: expected gelu, found rel",
        ),
        ("text_config", {"model_type": "roberta"}, "model_type: expected bert, found roberta"),
        ("text_config", {"max_position_embeddings": 64}, "max_position_embeddings: expected 40"),
        ("text_config", {"layer_norm_eps": 1e-5}, "layer_norm_eps: expected 1e-12, found 1e-05"),
        (None, {"projection_dim": 512}, "projection_dim: expected 32, found 512"),
    ],
)
def test_configuration_of_another_architecture_is_refused(published, tmp_path, part, change, said):
    (published.config[part] if part else published.config).update(change)
    with pytest.raises(ConfigMismatch, match=said):
        published.convert(tmp_path / "model")


def test_missing_files_are_named(published, tmp_path):
    published.write()
    published.write = lambda: published.path
    for name, said in (
        ("vocab.txt", "Expected vocab.txt"),
        ("pytorch_model.bin", "Expected weigh"),
    ):
        content = (published.path / name).read_bytes()
        (published.path / name).unlink()
        with pytest.raises(FormRefused, match=said):
            published.convert(tmp_path / f"without {name}")
        (published.path / name).write_bytes(content)


def test_a_card_must_agree_with_the_files_that_it_names(published, tmp_path):
    card = published.convert(tmp_path / "model")
    longer = card.model_copy(update={"context_length": 40})
    with pytest.raises(ConfigMismatch, match="context_length: expected 40, found 24"):
        load_vlm(longer, tmp_path / "model", CPU)
    wide = card.preprocessing.model_copy(update={"size": 64})
    with pytest.raises(ConfigMismatch, match=r"vision\.image_size: expected 64, found 32"):
        load_vlm(card.model_copy(update={"preprocessing": wide}), tmp_path / "model", CPU)
    fewer = tuple(file for file in card.files if file.name != "keep_config.json")
    with pytest.raises(UnreadableWeights, match=r"keep_config\.json cannot be read: the card does"):
        load_vlm(card.model_copy(update={"files": fewer}), tmp_path / "model", CPU)
    path = tmp_path / "model" / "keep_config.json"
    path.write_bytes(path.read_bytes().replace(b'"layers": 2', b'"layers": 3'))
    with pytest.raises(DigestMismatch, match=r"keep_config\.json"):
        load_vlm(card, tmp_path / "model", CPU)


@pytest.mark.parametrize("field", ["width", "layers", "image_size"])
def test_a_configuration_that_asks_for_any_size_is_refused(field):
    config = json.loads(SMALL.dump())
    config["vision"][field] = 10**9
    with pytest.raises(UnreadableWeights, match="less than or equal to"):
        KeepConfig.parse(json.dumps(config).encode())
