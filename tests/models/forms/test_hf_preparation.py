"""How a published CLIPModel wants images and texts prepared: the card's way, or it is refused."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from models.catalogue.cards import Preprocessing
from models.catalogue.weights import ConfigMismatch, UnreadableWeights
from models.forms.hugging_face.processor import agree_on_processor, read_preprocessing
from models.forms.hugging_face.tokenizer import agree_on_tokenizer
from models.installation.add import add_model
from models.vlm._imports import get_open_clip

CARD = Preprocessing(
    size=32,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)
NAME, WHOLE = "preprocessor_config.json", "processor_config.json"
OLD = {  # as transformers wrote it before sizes were objects
    "crop_size": 32,
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "resample": 3,
    "size": 32,
}


@pytest.fixture(scope="module")
def transformers() -> SimpleNamespace:
    get_open_clip()  # makes torchvision importable, which transformers wants
    from transformers import BlipImageProcessor, CLIPImageProcessor, CLIPTokenizer

    return SimpleNamespace(
        processor=CLIPImageProcessor, blip=BlipImageProcessor, tokenizer=CLIPTokenizer
    )


@pytest.fixture(scope="module")
def whole(transformers, tmp_path_factory) -> dict:
    """What CLIPImageProcessor itself writes for this card."""
    folder = tmp_path_factory.mktemp("processor")
    transformers.processor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(folder)
    written: dict = json.loads((folder / "preprocessor_config.json").read_text())
    return written


def test_what_transformers_writes_agrees_and_so_does_an_old_file(whole):
    agree_on_processor(NAME, whole, CARD)
    agree_on_processor(NAME, OLD, CARD)
    agree_on_processor(NAME, {}, CARD.model_copy(update={"size": 224}))  # all of it default
    squash = {**whole, "size": {"height": 32, "width": 32}, "do_center_crop": False}
    agree_on_processor(NAME, squash, CARD.model_copy(update={"resize": "squash"}))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"resample": 2}, "resample: expected 3, found 2"),
        ({"size": 36}, r"size: expected \{'shortest_edge': 32\}, found 36"),
        ({"size": {"height": 32, "width": 32}}, r"size: .*shortest_edge.* found \{'height'"),
        ({"size": {"shortest_edge": 36}}, r"size: .* found \{'shortest_edge': 36\}"),
        ({"size": None}, r"size: .* found \{'shortest_edge': 224\}"),
        ({"crop_size": 28}, r"crop_size: expected \{'height': 32, 'width': 32\}, found 28"),
        ({"do_center_crop": False}, "do_center_crop: expected True, found False"),
        ({"do_resize": False}, "do_resize: expected True, found False"),
        ({"do_rescale": False}, "do_rescale: expected True, found False"),
        ({"rescale_factor": 1 / 127.5}, "rescale_factor: expected 0.0039.*, found 0.0078"),
        ({"do_normalize": False}, "do_normalize: expected True, found False"),
        ({"do_convert_rgb": False}, "do_convert_rgb: expected True, found False"),
        ({"do_pad": True}, "do_pad: expected False, found True"),
        ({"image_mean": [0.5, 0.5, 0.5]}, r"image_mean: expected \[0\.48.* found \[0\.5, 0\.5"),
        ({"image_std": [0.5, 0.5, 0.5]}, r"image_std: expected \[0\.26.* found \[0\.5, 0\.5"),
        ({"image_processor_type": "ViTImageProcessor"}, "expected CLIPImageProcessor, found ViT"),
    ],
)
def test_another_preparation_of_images_is_refused(whole, change, sentence):
    with pytest.raises(ConfigMismatch, match=f"preprocessor_config.json: .*{sentence}"):
        agree_on_processor(NAME, whole | change, CARD)


@pytest.mark.parametrize(
    ("changes", "key"),
    [({"resize": "squash"}, "size"), ({"resize": "pad"}, "size"), ({"grey": True}, "do_convert")],
)
def test_a_card_that_no_processor_of_clips_is_like_is_not_vouched_for(whole, changes, key):
    with pytest.raises(ConfigMismatch, match=f"preprocessor_config.json: {key}"):
        agree_on_processor(NAME, whole, CARD.model_copy(update=changes))


def test_the_square_of_a_blip_processor_agrees_and_nothing_else_does(transformers, tmp_path):
    """XrayCLIP's: the whole image, not cropped; keys left out have that processor's defaults."""
    square = CARD.model_copy(update={"resize": "squash"})
    transformers.blip(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    written = json.loads((tmp_path / NAME).read_text())
    short = {"image_processor_type": "BlipImageProcessor", "size": 32}
    for config in (written, short):
        agree_on_processor(NAME, config, square)
        assert read_preprocessing(NAME, config) == square
    bare = {"image_processor_type": "BlipImageProcessor"}
    agree_on_processor(NAME, bare, square.model_copy(update={"size": 384}))
    with pytest.raises(ConfigMismatch, match=r"size: expected \{'shortest_edge': 32\}, found"):
        agree_on_processor(NAME, written, CARD)
    for change, said in (
        ({"size": {"height": 48, "width": 48}}, "size: expected .* 32.* found .* 48"),
        ({"do_center_crop": True, "crop_size": 28}, "crop_size: expected .* found 28"),
        ({"resample": 2}, "resample: expected 3, found 2"),
    ):
        with pytest.raises(ConfigMismatch, match=said):
            agree_on_processor(NAME, written | change, square)


def test_a_folder_that_prepares_otherwise_is_not_added(hf_clip, whole, tmp_path):
    published = hf_clip.write(tmp_path / "published")
    (published / "preprocessor_config.json").write_text(json.dumps(whole))
    added = add_model(hf_clip.description, published, tmp_path / "models")
    assert added.notes == ("No tokenizer came with the weights; CLIP's own tokenizer is used.",)
    changed = whole | {"resample": 2}
    (published / "preprocessor_config.json").write_text(json.dumps(changed))
    with pytest.raises(ConfigMismatch, match="resample: expected 3, found 2"):
        add_model(hf_clip.description, published, tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []


@pytest.fixture
def old_tokenizer(tmp_path) -> Path:
    """CLIP's own, in the two files that PLIP has."""
    clip = get_open_clip().SimpleTokenizer()
    marks = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    ids = {marks.get(token, token): at for token, at in clip.encoder.items()}
    merges = "\n".join(" ".join(pair) for pair in clip.bpe_ranks)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "vocab.json").write_text(json.dumps(ids))
    (tmp_path / "old" / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    return tmp_path / "old"


@pytest.fixture
def tokenizer(old_tokenizer, transformers, tmp_path) -> Path:
    """The same, as transformers writes it today."""
    loaded = transformers.tokenizer.from_pretrained(old_tokenizer)
    clip = get_open_clip().SimpleTokenizer()
    text = "An H&E image patch of colorectal  adenocarcinoma, Ki-67"
    assert loaded(text)["input_ids"][1:-1] == clip.encode(text)
    loaded.save_pretrained(tmp_path / "new")
    return tmp_path / "new"


def change_json(path: Path, change) -> None:
    value = json.loads(path.read_text("utf-8"))
    change(value)
    path.write_text(json.dumps(value))


def test_clips_own_tokenizer_agrees_in_both_forms(old_tokenizer, tokenizer):
    assert {path.name for path in agree_on_tokenizer(old_tokenizer)} == {"vocab.json", "merges.txt"}
    named = {path.name for path in agree_on_tokenizer(tokenizer)}
    assert named == {"tokenizer.json", "tokenizer_config.json"}


def swap_ids(ids: dict) -> None:
    ids["a</w>"], ids["b</w>"] = ids["b</w>"], ids["a</w>"]


def swap_merges(value: dict) -> None:
    merges = value["model"]["merges"]
    merges[7], merges[8] = merges[8], merges[7]


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("tokenizer.json", lambda v: swap_ids(v["model"]["vocab"]), r"id of 'a</w>': expected 320"),
        ("tokenizer.json", swap_merges, "tokenizer.json: merge 8: expected '"),
        ("tokenizer.json", lambda v: v["model"]["merges"].pop(), "merge 48894: .* found none"),
        ("tokenizer.json", lambda v: v.update(normalizer=None), "normalizer: .*found null"),
        ("tokenizer.json", lambda v: v.update(model=[]), "model must be an object"),
        ("tokenizer_config.json", lambda v: v.update(do_lower_case=False), "do_lower_case: exp"),
        ("tokenizer_config.json", lambda v: v.update(tokenizer_class="T5Tokenizer"), "found T5Tok"),
        ("vocab.json", swap_ids, r"vocab.json: the id of 'a</w>': expected 320, found 321"),
        ("vocab.json", lambda ids: ids.update(zzz9=49408), "the id of 'zzz9': expected none, fou"),
        ("vocab.json", lambda ids: ids.pop("a</w>"), "the id of 'a</w>': expected 320, found none"),
    ],
)
def test_another_tokenizer_is_refused(old_tokenizer, tokenizer, name, change, sentence):
    folder = old_tokenizer if name == "vocab.json" else tokenizer
    change_json(folder / name, change)
    with pytest.raises((ConfigMismatch, UnreadableWeights), match=sentence):
        agree_on_tokenizer(folder)


def test_another_order_of_merges_is_refused_and_nothing_is_added(hf_clip, old_tokenizer, tmp_path):
    published = hf_clip.write(tmp_path / "published")
    for path in old_tokenizer.iterdir():
        path.rename(published / path.name)
    card = add_model(hf_clip.description, published, tmp_path / "models").card
    assert {"vocab.json", "merges.txt"} <= {file.name for file in card.origin.files}
    head, *lines = (published / "merges.txt").read_text(encoding="utf-8").splitlines()
    lines[0], lines[1] = lines[1], lines[0]
    (published / "merges.txt").write_text("\n".join([head, *lines]), encoding="utf-8")
    with pytest.raises(ConfigMismatch, match=r"merges.txt: merge 1: expected 'i n', found 't h'"):
        add_model(hf_clip.description, published, tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []


def test_processor_of_transformers_5_is_compared_as_a_part(whole) -> None:
    agree_on_processor(WHOLE, {"image_processor": whole, "processor_class": "CLIPProcessor"}, CARD)
    agree_on_processor(WHOLE, {"processor_class": "CLIPProcessor"}, CARD)  # says nothing of images
    for change in (
        {"image_mean": [0.5, 0.5, 0.5]},
        {"resample": 2},
        {"size": {"shortest_edge": 9}},
    ):
        (key,) = change
        with pytest.raises(
            ConfigMismatch, match=f"^The configuration's processor_config.json: {key}"
        ):
            agree_on_processor(WHOLE, {"image_processor": whole | change}, CARD)
    with pytest.raises(UnreadableWeights, match="image_processor must be an object"):
        agree_on_processor(WHOLE, {"image_processor": []}, CARD)


def test_a_model_beside_either_processor_is_compared_with_it(hf_clip, tmp_path, whole) -> None:
    published = hf_clip.write(tmp_path / "published")
    other = {"image_processor": whole | {"image_std": [0.1, 0.1, 0.1]}}
    (published / WHOLE).write_text(json.dumps(other))
    with pytest.raises(ConfigMismatch, match=f"{WHOLE}: image_std"):
        add_model(hf_clip.description, published, tmp_path / "models")
