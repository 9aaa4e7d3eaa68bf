"""UniMed-CLIP: a checkpoint alone, with open_clip's image tower and a BERT under another name."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from published_vlms import UniMedClip, learn_and_tune, normalise, write_checkpoint

from models.catalogue import load_catalogue
from models.catalogue.cards import ModelDescription, Published
from models.catalogue.text_width import find_text_width
from models.catalogue.weights import ConfigMismatch, StateDictMismatch, UnreadableWeights
from models.forms.form import FormRefused, PublishedFiles
from models.forms.registry import choose_form
from models.installation.add import Added, add_model
from models.loading.loading import load_vlm

pytestmark = pytest.mark.usefixtures("no_network")
CPU = torch.device("cpu")
SIZE, CONTEXT_LENGTH, WIDTH, EMBED_DIM = 32, 24, 32, 16
_WORDS = "[PAD] [UNK] [CLS] [SEP] a the image of lung opacity normal chest . , x ray - heart"
TEXTS = ["A chest X-ray of the heart.", "normal lung, opacity"]
BERT = {
    "model_type": "bert",
    "vocab_size": len(_WORDS.split()),
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
}
NAME = "unimed-clip-vit-b16.pt"


@dataclass
class PublishedCheckpoint:
    """UniMed-CLIP's files, smaller: the checkpoint, and PubMedBERT's vocabulary beside it."""

    path: Path
    reference: UniMedClip
    tensors: dict[str, torch.Tensor]
    bert: dict = field(default_factory=lambda: dict(BERT))
    model_cfg: dict = field(
        default_factory=lambda: {
            "embed_dim": EMBED_DIM,
            "quick_gelu": True,
            "vision_cfg": {"image_size": SIZE, "layers": 2, "width": 64, "patch_size": 8},
            "text_cfg": {
                "hf_model_name": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
                "hf_proj_type": "mlp",
                "hf_pooler_type": "cls_last_hidden_state_pooler",
                "context_length": CONTEXT_LENGTH,
            },
        }
    )

    def write(self) -> Path:
        self.path.mkdir(exist_ok=True)
        (self.path / "vocab.txt").write_text("\n".join(_WORDS.split()) + "\n")
        (self.path / "config.json").write_text(json.dumps(self.bert))
        tensors = {f"module.{name}": leaf for name, leaf in self.tensors.items()}
        write_checkpoint(self.path / NAME, tensors)
        return self.path / NAME

    def describe(self, **changes: object) -> ModelDescription:
        """The shipped card, of this smaller architecture."""
        shipped = load_catalogue().describe("unimed-clip-b16")
        published = Published(form="open-clip-bert", weights=NAME, model_cfg=self.model_cfg)
        fields = {
            "context_length": CONTEXT_LENGTH,
            "preprocessing": shipped.preprocessing.model_copy(update={"size": SIZE}),
            "published": published,
        }
        return shipped.model_copy(update=fields | changes)

    def add(self, models: Path, **changes: object) -> Added:
        return add_model(self.describe(**changes), self.write(), models)


@pytest.fixture
def published(tmp_path) -> PublishedCheckpoint:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        vision = {"image_size": SIZE, "layers": 2, "width": 64, "patch_size": 8}
        reference = UniMedClip(vision, BERT, EMBED_DIM)
    tensors = {name: leaf.clone() for name, leaf in reference.state_dict().items()}
    positions = torch.arange(BERT["max_position_embeddings"])[None]
    tensors["text_encoder.transformer.embeddings.position_ids"] = positions
    return PublishedCheckpoint(tmp_path / "published", reference, tensors)


def test_features_are_those_of_the_published_parts(published, tmp_path, sample_pixels):
    added = published.add(tmp_path / "models")
    vlm = load_vlm(added.card, added.folder, CPU)
    pixels = sample_pixels(3, SIZE)
    inputs = (pixels.double() / 255).sub(vlm.normalise.mean).div(vlm.normalise.std).float()
    expected = normalise(published.reference.visual(inputs))
    torch.testing.assert_close(vlm.encode_images(pixels), expected, atol=1e-5, rtol=0)
    ids = vlm.text_tower.tokenizer(TEXTS).ids
    expected = normalise(published.reference.encode_ids(ids))
    torch.testing.assert_close(vlm.encode_texts(TEXTS), expected, atol=1e-5, rtol=0)
    assert vlm.logit_scale == pytest.approx(50.0, rel=1e-5)
    assert find_text_width(added.card, added.folder) == vlm.text_width == WIDTH


def test_a_learned_prompt_finds_something_and_a_tuned_one_too(published, tmp_path):
    added = published.add(tmp_path / "models")
    losses, tuned = learn_and_tune(load_vlm(added.card, added.folder, CPU))
    assert losses[-1] < losses[0]
    assert tuned.entropy_after < tuned.entropy_before


def test_what_was_assumed_is_said_and_every_file_that_was_read_is_named(published, tmp_path):
    added = published.add(tmp_path / "models")
    assert added.notes == (
        "No configuration came with the weights; the architecture is the card's.",
        "The configuration says nothing of preprocessing; it is the card's.",
    )
    assert [file.name for file in added.card.origin.files] == [NAME, "vocab.txt", "config.json"]


def test_a_folder_with_the_cards_own_weights_is_the_same_model(published, tmp_path):
    """As `models pull` leaves it."""
    alone = published.add(tmp_path / "a").card
    folder = add_model(published.describe(), published.path, tmp_path / "b").card
    assert folder.files == alone.files
    source = PublishedFiles(path=published.path, description=published.describe())
    assert choose_form(source).name == "open-clip-bert"
    (published.path / NAME).unlink()
    with pytest.raises(FormRefused, match="none of them"):
        choose_form(source)


def test_the_vocabulary_must_lie_beside_the_checkpoint(published, tmp_path):
    path = published.write()
    (published.path / "vocab.txt").unlink()
    with pytest.raises(FormRefused, match=r"Expected vocab\.txt, the vocabulary of the BERT"):
        add_model(published.describe(), path, tmp_path / "models")
    assert not list(tmp_path.glob("models/*"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda t: t.update({"text_encoder.proj.3.weight": t.pop("text_encoder.proj.2.weight")}),
            r"text\.proj\.2\.weight .* found no such tensor",
        ),
        (
            lambda t: t.update({"text.proj.2.weight": t.pop("text_encoder.proj.2.weight")}),
            r"text\.proj\.0\.weight .* found no such tensor",
        ),
        (
            lambda t: t.update({"visual.proj": t["visual.proj"].T}),
            r"visual\.proj .* \(64, 16\), found .* \(16, 64\)",
        ),
        (
            lambda t: t.update({"text_encoder.transformer.pooler.dense.bias": torch.zeros(32)}),
            r"pooler\.dense\.bias .* expected no such tensor",
        ),
    ],
    ids=["renamed", "under two names", "shape", "pooler"],
)
def test_tensors_of_another_model_are_refused(published, tmp_path, change, said):
    change(published.tensors)
    with pytest.raises(StateDictMismatch, match=said):
        published.add(tmp_path / "models")
    assert not list(tmp_path.glob("models/*"))


@pytest.mark.parametrize(
    ("part", "change", "kind", "said"),
    [
        ("vision_cfg", {"image_size": 40}, StateDictMismatch, r"visual\.positional_embedding"),
        ("text_cfg", {"hf_pooler_type": "cls_pooler"}, StateDictMismatch, r"text\..*pooler"),
        ("text_cfg", {"hf_pooler_type": "max"}, ConfigMismatch, "hf_pooler_type: expected"),
        ("text_cfg", {"context_length": 48}, ConfigMismatch, "context_length: expected 24"),
        ("", {"quick_gelu": False}, ConfigMismatch, "quick_gelu: expected quick_gelu, found gelu"),
    ],
    ids=["image size", "pooling", "unknown pooling", "context length", "activation"],
)
def test_card_of_another_architecture_is_refused(published, tmp_path, part, change, kind, said):
    (published.model_cfg[part] if part else published.model_cfg).update(change)
    with pytest.raises(kind, match=said):
        published.add(tmp_path / "models")
    assert not list(tmp_path.glob("models/*"))


def test_the_shipped_cards_refuse_a_smaller_model(published, tmp_path):
    """The BERT is PubMedBERT's, whose configuration is known here, unless one lies beside it."""
    path = published.write()
    (published.path / "config.json").unlink()
    for model_id in ("unimed-clip-b16", "unimed-clip-l14"):
        with pytest.raises(ConfigMismatch, match=r"tokens in vocab\.txt: expected 30522, found 18"):
            add_model(load_catalogue().describe(model_id), path, tmp_path / "models")


def test_weights_cut_short_are_refused(published, tmp_path):
    path = published.write()
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UnreadableWeights, match=f"{NAME} cannot be read"):
        add_model(published.describe(), path, tmp_path / "models")


def test_biomedclips_weights_alone_need_their_configuration(published, tmp_path):
    shipped = load_catalogue().describe("biomedclip")
    with pytest.raises(FormRefused, match=r"state no architecture; give their open_clip_config"):
        add_model(shipped, published.write(), tmp_path / "models")
