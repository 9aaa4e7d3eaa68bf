"""open_clip's folders and checkpoints, as QuiltNet is published."""

import json
from pathlib import Path

import pytest
import torch

from models.catalogue import load_catalogue
from models.catalogue.cards import ModelDescription, Published, load_card
from models.catalogue.weights import ConfigMismatch, StateDictMismatch, UnreadableWeights
from models.forms.form import FormRefused
from models.installation.add import add_model
from models.installation.folder import ModelTaken
from models.loading.loading import create_clip, load_vlm

pytestmark = pytest.mark.usefixtures("no_network")
CPU = torch.device("cpu")


@pytest.fixture
def described(tiny_clip, tmp_path) -> ModelDescription:
    """What a card says of `tiny_clip`; as QuiltNet's it pins quick GELU."""
    fields = tiny_clip.write(tmp_path).model_dump(exclude={"files", "origin"})
    model_cfg = {**tiny_clip.config, "quick_gelu": True}
    published = Published(form="open-clip", model_cfg=model_cfg)
    return ModelDescription(**(fields | {"activation": "quick_gelu", "published": published}))


@pytest.fixture
def published(tiny_clip, tmp_path) -> Path:
    """The folder, whose configuration leaves quick GELU out as QuiltNet's is said to."""
    folder = tmp_path / "published"
    folder.mkdir()
    tiny_clip.write(folder)
    return folder


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    for key, value in changes.items():
        part, _, name = key.partition("__")
        target = config[part] if name else config
        target[name or part] = value
    path.write_text(json.dumps(config))


def prepared(**changes: object) -> dict:
    """A configuration's preprocessing as the card has it, but for these."""
    card = {
        "size": 32,
        "mode": "RGB",
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.25, 0.3],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
        "fill_color": 0,
    }
    return {"preprocess_cfg": card | changes}


def test_card_fills_the_activation_that_a_configuration_leaves_out(described, published, tmp_path):
    added = add_model(described, published, tmp_path / "models")
    assert added.notes == (
        "The configuration leaves out quick_gelu; the card of tiny supplies it.",
        "The configuration says nothing of preprocessing; it is the card's.",
    )
    config = json.loads((added.folder / "open_clip_config.json").read_text())
    assert config["model_cfg"]["quick_gelu"] is True
    names = {
        type(module).__name__ for module in load_vlm(added.card, added.folder, CPU).clip.modules()
    }
    assert "QuickGELU" in names
    assert "GELU" not in names


def test_folder_keeps_every_number(described, published, tmp_path, tiny_clip):
    added = add_model(described, published, tmp_path / "models")
    loaded = load_vlm(added.card, added.folder, CPU).clip.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tiny_clip.tensors.items())
    assert loaded.keys() == tiny_clip.tensors.keys()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model_cfg__quick_gelu": False}, "quick_gelu: expected True, found False"),
        ({"model_cfg__embed_dim": 25}, "embed_dim: expected 24, found 25"),
        (
            {"preprocess_cfg": {"mean": [0.5, 0.5, 0.5]}},
            r"preprocess_cfg.mean: expected \[0.5, 0.4, 0.3\], found \[0.5, 0.5, 0.5\]",
        ),
        (
            {"preprocess_cfg": {"interpolation": "bicubic"}},
            r"preprocess_cfg.mean: .* found \[0.481",
        ),
        (prepared(resize_mode="squash"), "resize_mode: expected shortest, found squash"),
        (prepared(resize_mode="longest"), "resize_mode: expected shortest, found longest"),
        (prepared(interpolation="bilinear"), "interpolation: expected bicubic, found bilinear"),
        (prepared(size=[32, 48]), r"preprocess_cfg.size: expected 32, found \[32, 48\]"),
        (prepared(mode="L"), "preprocess_cfg.mode: expected RGB, found L"),
        (prepared(fill_color=255), "preprocess_cfg.fill_color: expected 0, found 255"),
        ({"preprocess_cfg": ["mean"]}, r"preprocess_cfg must be an object, got \['mean'\]"),
        ({"model_cfg": []}, r"model_cfg must be an object, got \[\]"),
        ({"model_cfg__text_cfg": "CLIP"}, "text_cfg must be an object, got 'CLIP'"),
        ({"model_cfg__vision_cfg": 7}, "vision_cfg: expected an object, found 7"),
        ({"model_cfg__colour": 1}, "colour: expected None, found 1"),
    ],
)
def test_configuration_that_contradicts_the_card_is_refused(
    described, published, tmp_path, changes, sentence
):
    change_config(published, **changes)
    with pytest.raises((ConfigMismatch, UnreadableWeights), match=sentence):
        add_model(described, published, tmp_path / "models")
    assert not list(tmp_path.glob("models/*"))


def test_preprocessing_that_a_configuration_leaves_out_is_open_clips_default(
    described, published, tmp_path
):
    """Both spell the same transform: one in full, one by leaving out what is open_clip's."""
    change_config(published, **prepared())
    whole = add_model(described, published, tmp_path / "a")
    assert not any("preprocessing" in note for note in whole.notes)
    change_config(published, preprocess_cfg={"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3]})
    assert add_model(described, published, tmp_path / "b").card == whole.card.model_copy(
        update={"origin": load_card(tmp_path / "b" / "tiny" / "card.toml").origin}
    )


def test_the_same_model_has_one_digest_however_its_configuration_is_written(
    described, published, tmp_path, tiny_clip
):
    """Key order, defaults written out, whole numbers for floats, sizes as pairs: one model."""
    first = add_model(described, published, tmp_path / "a").card
    config = tiny_clip.config
    vision = {"timm_drop": 0, "mlp_ratio": 4, **reversed_keys(config["vision_cfg"])}
    text = {"no_causal_mask": False, **reversed_keys(config["text_cfg"]), "vocab_size": 49408}
    model_cfg = {"text_cfg": text, "vision_cfg": vision, "embed_dim": 24, "quick_gelu": True}
    (published / "open_clip_config.json").write_text(
        json.dumps({"preprocess_cfg": prepared(size=[32, 32])["preprocess_cfg"]})[:-1]
        + f', "model_cfg": {json.dumps(model_cfg)}}}'
    )
    second = add_model(described, published, tmp_path / "b").card
    torch.save(tiny_clip.tensors, tmp_path / "bare.pt")
    third = add_model(described, tmp_path / "bare.pt", tmp_path / "c").card
    unpinned = described.model_copy(update={"published": None})
    fourth = add_model(unpinned, published, tmp_path / "d").card
    assert {first.sha256, second.sha256, third.sha256, fourth.sha256} == {first.sha256}
    assert first.weights_sha256 == fourth.weights_sha256


def reversed_keys(part: dict) -> dict:
    return dict(reversed(part.items()))


def test_text_key_that_open_clip_would_obey_silently_is_refused(described, published, tmp_path):
    path = published / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {"clean": "canonicalize"}
    path.write_text(json.dumps(config))
    with pytest.raises(ConfigMismatch, match=r"tokenizer_kwargs: expected None, found \{'clean'"):
        add_model(described, published, tmp_path / "models")
    free = described.model_copy(update={"published": None, "activation": None})
    with pytest.raises(ConfigMismatch, match=r"tokenizer_kwargs: expected None, found \{'clean'"):
        add_model(free, published, tmp_path / "models")


def test_checkpoint_alone_takes_the_architecture_of_the_card(
    described, published, tmp_path, tiny_clip
):
    checkpoint = tmp_path / "epoch_9.pt"
    torch.save(tiny_clip.tensors, checkpoint)
    whole = add_model(described, published, tmp_path / "a").card
    assert add_model(described, checkpoint, tmp_path / "b").card.files == whole.files
    del tiny_clip.tensors["visual.proj"]
    torch.save(tiny_clip.tensors, checkpoint)
    with pytest.raises(StateDictMismatch, match=r"The tensor visual.proj .* found no such tensor"):
        add_model(described, checkpoint, tmp_path / "c")


def test_id_that_is_taken_is_not_written_over(described, published, tmp_path):
    add_model(described, published, tmp_path / "models")
    with pytest.raises(ModelTaken, match="Run promptsmooth models remove tiny first"):
        add_model(described, published, tmp_path / "models")


def test_folder_of_nothing_that_is_known_is_refused(described, tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(FormRefused, match=r"'tiny' come as a folder with .*/other is none of them"):
        add_model(described, tmp_path / "other", tmp_path / "models")
    (tmp_path / "other" / "open_clip_config.json").write_text('{"model_cfg": {}}')
    with pytest.raises(FormRefused, match=r"as one of: open_clip_model"):
        add_model(described, tmp_path / "other", tmp_path / "models")


@pytest.mark.real_size
@pytest.mark.parametrize("model_id", ["quiltnet-b32", "quiltnet-b16"])
def test_real_size_quiltnet_keeps_every_number(model_id, tmp_path, run_check):
    """From the form it is published in: a configuration that leaves quick GELU out."""
    described = load_catalogue().describe(model_id)
    model_cfg = dict(described.published.model_cfg)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tensors = create_clip(model_cfg).state_dict()
    del model_cfg["quick_gelu"]
    card = described.preprocessing
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": model_cfg, "preprocess_cfg": {"mean": card.mean, "std": card.std}})
    )
    torch.save(tensors, tmp_path / "published" / "open_clip_pytorch_model.bin")
    added = add_model(described, tmp_path / "published", tmp_path / "models")
    loaded = load_vlm(added.card, added.folder, CPU).clip.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())
    run_check(tmp_path / "models", model_id)
