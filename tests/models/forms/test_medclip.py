"""MedCLIP: the numbers of its own release of transformers, from its published form."""

import io
import json
import runpy
import zipfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from app.local.model_check import check_model
from models.catalogue import load_catalogue
from models.catalogue.cards import ModelCard, Preprocessing
from models.catalogue.medclip_config import MedClipConfig
from models.catalogue.text_width import find_text_width
from models.catalogue.weights import (
    ConfigMismatch,
    DigestMismatch,
    StateDictMismatch,
    UnreadableWeights,
)
from models.forms.form import FormRefused, PublishedFiles
from models.forms.medclip import convert_medclip, create_relative_position_index
from models.forms.registry import choose_form
from models.imaging import preprocess
from models.installation.folder import describe_file
from models.learning.checkpoint import load_ctx
from models.loading.loading import load_vlm
from models.prompts.imported import ImportRefused, create_import
from models.vlm.base_classifier import create_base_classifier
from models.vlm.medclip import MedClip

HERE = Path(__file__).parent
CPU = torch.device("cpu")
BATCH = 64
recipe = SimpleNamespace(**runpy.run_path(str(HERE / "medclip_recipe.py")))
reference = json.loads((HERE / "medclip_reference.json").read_text(encoding="utf-8"))
TINY = MedClipConfig(embed_dim=recipe.EMBED_DIM, vision=recipe.VISION, text=recipe.TEXT)
MEAN, STD = 0.5862785803043838, 0.27950088968644304
POSITIONS = "text_model.model.embeddings.position_ids"
INDEX = "vision_model.model.encoder.layers.{}.blocks.{}.attention.self.relative_position_index"


def read_published_keys() -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name, kind of number and shape of every tensor of the real published file."""
    lines = (HERE / "medclip_vit_keys.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split() for line in lines if not line.startswith("#")]
    return {
        name: (dtype, () if shape == "scalar" else tuple(map(int, shape.split("x"))))
        for name, dtype, shape in rows
    }


def add_positions(tensors: dict[str, torch.Tensor], config: MedClipConfig) -> None:
    """The integers that transformers 4.24 saved beside the weights."""
    tensors[POSITIONS] = torch.arange(config.text.max_position_embeddings)[None]
    for stage, depth in enumerate(config.vision.depths):
        for block in range(depth):
            tensors[INDEX.format(stage, block)] = swin_index(config.vision.window_size)


def swin_index(window: int) -> torch.Tensor:
    """The index by its definition: place p relative to place q, rows before columns."""
    places = [(y, x) for y in range(window) for x in range(window)]
    return torch.tensor(
        [
            [(py - qy + window - 1) * (2 * window - 1) + px - qx + window - 1 for qy, qx in places]
            for py, px in places
        ]
    )


@dataclass
class Published:
    """MedCLIP's zip and the vocabulary beside it."""

    folder: Path
    tensors: dict[str, torch.Tensor]
    config: MedClipConfig
    vocab: str

    @property
    def zip(self) -> Path:
        return self.folder / "medclip-vit-pretrained.zip"

    def write(self) -> Path:
        file = io.BytesIO()
        torch.save(self.tensors, file)
        with zipfile.ZipFile(self.zip, "w") as archive:
            archive.writestr("pytorch_model.bin", file.getvalue())
        (self.folder / "vocab.txt").write_text(self.vocab, encoding="utf-8")
        return self.zip

    def convert(self, folder: Path, **changes: object) -> ModelCard:
        """Writes the published form, converts it into an empty folder, and returns its card."""
        self.write()
        return self.convert_written(folder, **changes)

    def convert_written(self, folder: Path, **changes: object) -> ModelCard:
        folder.mkdir()
        described = load_catalogue().describe("medclip-vit")
        convert_medclip(PublishedFiles(path=self.zip, description=described), folder, self.config)
        files = tuple(describe_file(path) for path in sorted(folder.iterdir()))
        size = self.config.vision.image_size
        preprocessing = described.preprocessing.model_copy(update={"size": size})
        fields = described.model_dump() | {"files": files, "preprocessing": preprocessing}
        return ModelCard(**(fields | changes))


def create_published(folder: Path, config: MedClipConfig, vocab: str) -> Published:
    with torch.device("meta"):
        leaves = MedClip(config).get_published_state()
    tensors = {
        name: torch.from_numpy(recipe.draw(name, tuple(leaf.shape)))
        for name, leaf in leaves.items()
    }
    add_positions(tensors, config)
    return Published(folder=folder, tensors=tensors, config=config, vocab=vocab)


@pytest.fixture
def published(tmp_path, no_network) -> Published:
    return create_published(tmp_path, TINY, "\n".join(recipe.VOCAB) + "\n")


@pytest.fixture
def vlm(published, tmp_path):
    return load_vlm(published.convert(tmp_path / "model"), tmp_path / "model", CPU)


def test_tensors_have_the_names_and_shapes_of_the_published_file():
    with torch.device("meta"):
        own = MedClip(MedClipConfig()).get_published_state()
    found = {name: ("float32", tuple(leaf.shape)) for name, leaf in own.items()}
    expected = read_published_keys()
    derived = {POSITIONS, *(n for n in expected if n.endswith(".relative_position_index"))}
    assert len(derived) == 1 + sum(MedClipConfig().vision.depths)
    assert found == {name: kind for name, kind in expected.items() if name not in derived}


def test_relative_positions_are_swins():
    assert torch.equal(create_relative_position_index(7), swin_index(7))


def test_image_features_are_those_of_its_own_release(vlm):
    found = vlm.encode_images(torch.from_numpy(recipe.draw_pixels()))
    torch.testing.assert_close(found, torch.tensor(reference["images"]), atol=1e-5, rtol=0)


def test_text_features_are_those_of_its_own_release(vlm):
    found = vlm.encode_texts(recipe.TEXTS)
    torch.testing.assert_close(found, torch.tensor(reference["texts"]), atol=1e-5, rtol=0)


def test_token_ids_are_those_of_its_own_release(vlm):
    assert vlm.text_tower.tokenizer(recipe.TEXTS).ids.tolist() == reference["token_ids"]


def test_features_of_context_vectors_are_those_of_its_own_release(vlm):
    found = vlm.encode_prompts(torch.from_numpy(recipe.draw_ctx()), recipe.SUFFIXES)
    torch.testing.assert_close(found, torch.tensor(reference["prompts"]), atol=1e-5, rtol=0)


def test_features_of_context_vectors_follow_the_architecture(vlm, published):
    """Against a forward pass written out from BERT's paper, in float64."""
    ctx = torch.from_numpy(recipe.draw_ctx())
    found = vlm.encode_prompts(ctx, recipe.SUFFIXES).double()
    for row, suffix in zip(found, recipe.SUFFIXES, strict=True):
        words = vlm.text_tower.tokenizer.encode(suffix)
        expected = write_out(published.tensors, ctx.double(), words)
        torch.testing.assert_close(row, expected, atol=1e-5, rtol=0)


def write_out(tensors: dict[str, torch.Tensor], ctx: torch.Tensor, words: list[int]):
    """One prompt's features, layer by layer, from the published tensors alone."""
    leaf = {
        name.removeprefix("text_model.model."): tensor.double()
        for name, tensor in tensors.items()
        if name.startswith("text_model")
    }

    def linear(name: str, x):
        return x @ leaf[f"{name}.weight"].T + leaf[f"{name}.bias"]

    def norm(name: str, x):
        centred = x - x.mean(-1, keepdim=True)
        unit = centred / (centred.square().mean(-1, keepdim=True) + 1e-12).sqrt()
        return unit * leaf[f"{name}.weight"] + leaf[f"{name}.bias"]

    table = leaf["embeddings.word_embeddings.weight"]
    used = 1 + len(ctx) + len(words) + 1
    padding = table[[0] * (recipe.CONTEXT_LENGTH - used)]
    x = torch.cat([table[[2]], ctx, table[words], table[[3]], padding])  # (25, width)
    x = x + leaf["embeddings.position_embeddings.weight"][: len(x)]
    x = norm("embeddings.LayerNorm", x + leaf["embeddings.token_type_embeddings.weight"][0])
    hidden, heads = [x], recipe.TEXT["num_attention_heads"]
    for layer in range(recipe.TEXT["num_hidden_layers"]):
        at = f"encoder.layer.{layer}"
        q, k, v = (
            linear(f"{at}.attention.self.{part}", x).unflatten(1, (heads, -1)).transpose(0, 1)
            for part in ("query", "key", "value")
        )  # (heads, 25, width / heads)
        scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
        scores[:, :, used:] = -torch.inf  # nobody looks at padding
        seen = (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)
        x = norm(
            f"{at}.attention.output.LayerNorm", x + linear(f"{at}.attention.output.dense", seen)
        )
        wide = functional.gelu(linear(f"{at}.intermediate.dense", x))
        x = norm(f"{at}.output.LayerNorm", x + linear(f"{at}.output.dense", wide))
        hidden.append(x)
    pooled = (hidden[1] + hidden[2] + hidden[-1]).mean(0) / 3  # padding counts
    features = pooled @ tensors["text_model.projection_head.weight"].double().T
    return features / features.norm()


def test_words_as_context_vectors_are_the_words(vlm):
    ctx = vlm.embed_text("the chest X-ray of")
    assert ctx.shape == (6, vlm.text_width)
    found = vlm.encode_prompts(ctx, ["normal lungs."])
    expected = vlm.encode_texts(["The chest x-ray of normal lungs."])
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_a_gradient_reaches_context_vectors_and_nothing_else(vlm):
    ctx = torch.from_numpy(recipe.draw_ctx()).requires_grad_()
    vlm.encode_prompts(ctx, recipe.SUFFIXES)[0, 0].backward()
    assert (ctx.grad != 0).any(dim=1).all()
    assert not any(leaf.requires_grad for leaf in vlm.text_tower.parameters())


def test_marks_in_a_text_are_words_in_brackets(vlm):
    (with_mark,) = vlm.text_tower.tokenizer(["normal [SEP] heart"]).ids.tolist()
    assert with_mark.count(3) == 1
    assert with_mark.index(3) == 1 + 1 + 3 + 1  # [CLS] normal, [ SEP ], heart [SEP]


def test_logits_of_a_row_depend_on_neither_place_nor_neighbours(vlm, sample_pixels):
    classifier = create_base_classifier(vlm, "A {}.", ["normal heart", "lung opacity", "effusion"])
    pixels = sample_pixels(BATCH, 56)
    logits = classifier(pixels)
    for seed in range(3):
        order = torch.randperm(BATCH, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(classifier(pixels[order]), logits[order])
    padded = torch.zeros_like(pixels)
    padded[:5] = pixels[20:25]
    assert torch.equal(classifier(padded)[:5], logits[20:25])


def test_image_tower_in_bf16_computes_nearly_the_same(published, tmp_path):
    exact, rounded = (
        load_vlm(
            published.convert(tmp_path / precision, precision={"cpu": precision}),
            tmp_path / precision,
            CPU,
        )
        for precision in ("fp32", "bf16")
    )
    pixels = torch.from_numpy(recipe.draw_pixels())
    found = rounded.encode_images(pixels)
    assert not torch.equal(found, exact.encode_images(pixels))
    torch.testing.assert_close(found, exact.encode_images(pixels), atol=0.03, rtol=0)
    assert torch.equal(rounded.encode_texts(recipe.TEXTS), exact.encode_texts(recipe.TEXTS))


@pytest.mark.parametrize(("stored", "scale"), [(2.0, 7.38905609893065), (9.0, 100.0), (-1.0, 1.0)])
def test_logit_scale_is_kept_where_medclip_keeps_it(published, tmp_path, stored, scale):
    published.tensors["logit_scale"] = torch.tensor(stored)
    vlm = load_vlm(published.convert(tmp_path / "model"), tmp_path / "model", CPU)
    assert vlm.logit_scale == pytest.approx(scale, rel=1e-3)


def test_text_that_would_be_cut_off_is_refused(vlm):
    fits = " ".join(["a"] * 23)  # and the two marks around it: 25
    vlm.encode_texts([fits])
    with pytest.raises(ValueError, match=r"at most 25 tokens; .* has 26"):
        vlm.encode_texts(["a", fits + " a"])
    with pytest.raises(ValueError, match=r"; '.{59}…' has 502"):
        vlm.encode_texts(["a " * 500])
    vlm.encode_prompts(torch.zeros(22, 32), ["a"])
    with pytest.raises(ValueError, match=r"at most 25 tokens; 'a' has 26"):
        vlm.encode_prompts(torch.zeros(23, 32), ["a"])


def test_vectors_of_another_width_are_refused(vlm):
    with pytest.raises(ValueError, match=r"width 32; got \(4, 33\)"):
        vlm.encode_prompts(torch.zeros(4, 33), ["a"])
    with pytest.raises(ValueError, match="at least one token"):
        vlm.embed_text(" ")


def test_the_form_is_recognised_by_what_it_is(published, tmp_path):
    described = load_catalogue().describe("medclip-vit")
    form = choose_form(PublishedFiles(path=published.write(), description=described))
    assert form.name == "medclip"
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    (unpacked / "pytorch_model.bin").write_bytes(b"")
    assert choose_form(PublishedFiles(path=unpacked, description=described)).name == "medclip"
    with pytest.raises(FormRefused, match=r"medclip-vit' come as MedCLIP's zip.* is none of them"):
        choose_form(PublishedFiles(path=tmp_path, description=described))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda t: t.pop("text_model.model.pooler.dense.bias"),
            r"pooler\.dense\.bias .* expected floating point of shape \(32,\), found no such",
        ),
        (
            lambda t: t.update({"vision_model.model.head": torch.zeros(3)}),
            r"vision_model\.model\.head .* expected no such tensor, found .* \(3,\)",
        ),
        (
            lambda t: t.update(
                {"text_model.projection_head.weight": t["text_model.projection_head.weight"].T}
            ),
            r"text_model\.projection_head\.weight .* \(16, 32\), found .* \(32, 16\)",
        ),
        (
            lambda t: t.update({POSITIONS: t[POSITIONS].flip(1)}),
            r"position_ids .* expected the 40 numbers that follow .* found others",
        ),
        (
            lambda t: t.update({INDEX.format(0, 1): swin_index(6)}),
            r"relative_position_index .* expected the 2401 numbers .* \(36, 36\)",
        ),
    ],
)
def test_tensors_of_another_model_are_refused(published, tmp_path, change, said):
    change(published.tensors)
    with pytest.raises(StateDictMismatch, match=said):
        published.convert(tmp_path / "model")


def test_the_same_model_has_one_digest_with_and_without_its_tokenizers_defaults(
    published, tmp_path
):
    first = published.convert(tmp_path / "a")
    config = {"do_lower_case": True, "model_max_length": 512, "tokenize_chinese_chars": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert published.convert_written(tmp_path / "b").sha256 == first.sha256
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"do_lower_case": False}))
    assert published.convert_written(tmp_path / "c").sha256 != first.sha256


def test_a_check_certifies_with_it_offline(published, tmp_path):
    card = published.convert(tmp_path / "model")
    report = check_model(card, tmp_path / "model", device="cpu", threads=1)
    assert report.certification.samples == 64
    assert report.activation is None  # one that no tensor tells of is not in it
    derived = ("position_ids", "position_index")
    kept = [name for name in published.tensors if not name.endswith(derived)]
    assert report.tensors == len(kept) - 1  # logit_scale becomes a number


def test_renamed_tensors_of_a_later_release_are_refused(published, tmp_path):
    old = "vision_model.model.encoder.layers.0.blocks.0.attention.self.query.weight"
    published.tensors[old.replace("self.query", "q_proj")] = published.tensors.pop(old)
    with pytest.raises(StateDictMismatch, match=r"attention\.q_proj\.weight .* expected no such"):
        published.convert(tmp_path / "model")


def test_archive_cut_short_is_refused(published, tmp_path):
    content = published.write().read_bytes()
    published.zip.write_bytes(content[:-1000])
    with pytest.raises(
        UnreadableWeights, match=r"pretrained\.zip .*got a damaged or truncated one"
    ):
        published.convert_written(tmp_path / "model")


def test_archive_with_a_changed_byte_is_refused(published, tmp_path):
    content = bytearray(published.write().read_bytes())
    content[len(content) // 2] ^= 1
    published.zip.write_bytes(content)
    with pytest.raises(UnreadableWeights, match=r"pretrained\.zip .* CRC"):
        published.convert_written(tmp_path / "model")


@pytest.mark.parametrize("name", ["../pytorch_model.bin", "/pytorch_model.bin", "a/../../x", "C:x"])
def test_archive_with_a_path_outside_is_refused(published, tmp_path, name):
    published.write()
    with zipfile.ZipFile(published.zip, "a") as archive:
        archive.writestr(name, b"")
    with pytest.raises(UnreadableWeights, match=r"paths inside the archive, got '.*'"):
        published.convert_written(tmp_path / "model")


def test_archive_without_its_parts_is_refused(published, tmp_path):
    published.write()
    (tmp_path / "vocab.txt").unlink()
    with pytest.raises(FormRefused, match=r"vocab\.txt, the vocabulary .* or beside it"):
        published.convert_written(tmp_path / "model")
    with zipfile.ZipFile(published.zip, "w") as archive:
        archive.writestr("vocab.txt", published.vocab)
    with pytest.raises(FormRefused, match=r"pytorch_model\.bin, the weights"):
        published.convert_written(tmp_path / "other")


def test_vocabulary_of_another_bert_is_refused(published, tmp_path):
    published.vocab += "one more\n"
    with pytest.raises(ConfigMismatch, match=r"vocab\.txt: expected 24, found 25"):
        published.convert(tmp_path / "model")
    published.vocab = published.vocab.replace("[SEP]", "sep").removesuffix("one more\n")
    with pytest.raises(ConfigMismatch, match=r"expected \[SEP\], found no such line"):
        published.convert(tmp_path / "other")


def test_code_in_the_weights_is_not_run(published, tmp_path):
    published.tensors["x"] = Path  # no tensor
    with pytest.raises(UnreadableWeights, match=r"pytorch_model\.bin cannot be read"):
        published.convert(tmp_path / "model")


@pytest.mark.parametrize("name", ["medclip.safetensors", "vocab.txt", "medclip_config.json"])
def test_file_with_another_digest_is_refused(published, tmp_path, name):
    card = published.convert(tmp_path / "model")
    content = bytearray((tmp_path / "model" / name).read_bytes())
    content[-2] ^= 1
    (tmp_path / "model" / name).write_bytes(content)
    with pytest.raises(DigestMismatch, match=rf"{name} .*expected SHA-256 .*, found SHA-256"):
        load_vlm(card, tmp_path / "model", CPU)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"context_length": 77}, "context_length: expected 77, found 25"),
        (
            {"preprocessing": Preprocessing(size=64, mean=(0, 0, 0), std=(1, 1, 1))},
            r"vision\.image_size: expected 64, found 56",
        ),
    ],
)
def test_card_that_contradicts_the_architecture_is_refused(published, tmp_path, changes, said):
    card = published.convert(tmp_path / "model", **changes)
    with pytest.raises(ConfigMismatch, match=said):
        load_vlm(card, tmp_path / "model", CPU)


@pytest.mark.parametrize("name", ["ctx_medclip_covid_s1", "ctx_medclip_mimic_s1"])
def test_real_prompts_give_unit_features(data_folder, tmp_path, no_network, name):
    text = recipe.TEXT | {"hidden_size": 768, "num_hidden_layers": 3, "num_attention_heads": 12}
    config = TINY.model_copy(update={"text": type(TINY.text)(**text)})
    published = create_published(tmp_path, config, "\n".join(recipe.VOCAB) + "\n")
    card = published.convert(tmp_path / "model")
    vlm = load_vlm(card, tmp_path / "model", CPU)
    width = find_text_width(card, tmp_path / "model")
    assert width == vlm.text_width == 768
    fields = {"prompt_id": "theirs", "class_names": ("normal heart", "opacity"), "suffix": "."}
    created_at = "2026-01-01T00:00:00Z"
    folder = data_folder / "coop_prompts_baple" / "pt"
    ctx = load_ctx(folder / f"{name}.pt")
    options = {"model": card, "text_width": width, "created_at": created_at}
    _, prompt = create_import(ctx, **options, **fields)
    texts = [prompt.create_text(each) for each in fields["class_names"]]
    features = vlm.encode_prompts(torch.tensor(prompt.ctx), texts)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2))
    assert not torch.equal(features[0], features[1])
    with pytest.raises(ImportRefused, match="of width 768; got vectors of width 512"):
        create_import(load_ctx(folder / "ctx_plip_kather_s1.pt"), **options, **fields)


def prepare_as_medclip(image: Image.Image, size: int) -> np.ndarray:
    """MedCLIP's feature extractor up to the 8-bit image: pasted into a black grey square."""
    side = max(size, *image.size)
    square = Image.new("L", (side, side), 0)
    square.paste(image, (int((side - image.width) / 2), int((side - image.height) / 2)))
    return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(
    "shape", [(224, 224), (64, 64), (301, 224), (225, 226), (100, 333), (333, 100), (8, 500)]
)
def test_images_are_prepared_as_medclip_does(shape):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    check_prepared(pixels)


@pytest.mark.parametrize("name", ["bccd_cells", "kermany_cxr", "lc25000_clean", "mednist"])
def test_real_images_are_prepared_as_medclip_does(data_folder, name):
    suffixes = {".png", ".jpg", ".jpeg"}
    files = sorted(p for p in (data_folder / name).rglob("*") if p.suffix.lower() in suffixes)
    for path in files[:: len(files) // 6]:
        with Image.open(path) as opened:
            check_prepared(np.asarray(opened.convert("RGB")), Image.open(path))


def check_prepared(pixels: np.ndarray, image: Image.Image | None = None) -> None:
    preprocessing = load_catalogue().describe("medclip-vit").preprocessing
    prepared = preprocess(pixels, preprocessing)
    expected = prepare_as_medclip(image or Image.fromarray(pixels), 224)
    assert prepared.shape == (3, 224, 224)
    assert prepared.flags.c_contiguous
    for channel in prepared:
        assert (channel == expected).all()


def test_grey_is_part_of_the_digest_and_its_default_is_not(published, tmp_path):
    card = published.convert(tmp_path / "model")
    colour = card.preprocessing.model_copy(update={"grey": False})
    assert card.model_copy(update={"preprocessing": colour}).sha256 != card.sha256
    bundled = load_catalogue().get("bundled-2")  # whose digest certificates name
    assert bundled.sha256 == "104c4c682dd6257d64f2e0c8ec7f78c2256fefb2608fff15f7a87037e64c269e"
