"""BiomedCLIP: open_clip's own module with a BERT in it, from its published form, offline."""

import importlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from read_alike import find_refused
from torch.nn import functional

from app.local.model_check import check_model
from models.catalogue import load_catalogue
from models.catalogue.bert_config import parse_bert_config
from models.catalogue.cards import ModelCard, Published
from models.catalogue.text_width import find_text_width
from models.catalogue.weights import (
    ConfigMismatch,
    DigestMismatch,
    StateDictMismatch,
    UnreadableWeights,
)
from models.forms.form import FormRefused, PublishedFiles
from models.forms.open_clip import bert as open_clip_bert
from models.forms.registry import choose_form
from models.installation.folder import describe_file
from models.learning.checkpoint import load_ctx
from models.loading.loading import load_vlm
from models.prompts.imported import ImportRefused, create_import
from models.vlm._imports import get_open_clip, get_transformers
from models.vlm.base_classifier import create_base_classifier

CPU = torch.device("cpu")
BATCH, SIZE, CONTEXT_LENGTH, WIDTH, LAYERS, HEADS = 64, 160, 24, 32, 3, 2
_WORDS = (
    "[PAD] [UNK] [CLS] [SEP] a the image of lung opacity normal chest . , x ray - pneumo ##thorax "
    "##s effusion no heart & < brain mri"
)
VOCAB = "\n".join(_WORDS.split()) + "\n"
TEXTS = ("A chest X-ray of pneumothorax.", "normal lungs, no  Effusion", "héart of the UNKNOWN")
HUB_NAME = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"
POSITIONS = "text.transformer.embeddings.position_ids"
WEIGHTS = "open_clip_pytorch_model.bin"


def create_configs(width: int = WIDTH) -> tuple[dict, dict]:
    """open_clip's configuration with timm's smallest ViT, and that of a small BERT."""
    model_cfg = {
        "embed_dim": 16,
        "vision_cfg": {
            "timm_model_name": "test_vit",
            "timm_model_pretrained": True,  # which must not make timm download
            "timm_pool": "",
            "timm_proj": "linear",
            "image_size": SIZE,
        },
        "text_cfg": {
            "hf_model_name": HUB_NAME,
            "hf_tokenizer_name": HUB_NAME,
            "hf_proj_type": "mlp",
            "hf_pooler_type": "cls_last_hidden_state_pooler",
            "context_length": CONTEXT_LENGTH,
        },
    }
    bert = {
        "model_type": "bert",
        "vocab_size": len(_WORDS.split()),
        "hidden_size": width,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": 48,
        "max_position_embeddings": 40,
    }
    return model_cfg, bert


class Reference(torch.nn.Module):
    """timm's ViT and transformers' BERT with open_clip's projections, put together here."""

    def __init__(self, bert: dict) -> None:
        super().__init__()
        width, embed_dim, transformers = bert["hidden_size"], 16, get_transformers()
        middle = (width + embed_dim) // 2
        self.trunk = importlib.import_module("timm").create_model("test_vit", num_classes=0)
        self.head = torch.nn.Linear(self.trunk.num_features, embed_dim, bias=False)
        self.bert = transformers.BertModel(transformers.BertConfig(**bert), add_pooling_layer=False)
        self.proj = torch.nn.Sequential(
            torch.nn.Linear(width, middle, bias=False),
            torch.nn.GELU(),
            torch.nn.Linear(middle, embed_dim, bias=False),
        )
        for name, leaf in self.named_parameters():
            with torch.no_grad():
                leaf.normal_(1.0 if "norm" in name.lower() and "weight" in name else 0.0, 0.1)
        self.eval().requires_grad_(False)

    def save(self) -> dict[str, torch.Tensor]:
        """The tensors under open_clip's names, with the positions older files have."""
        parts = {
            "visual.trunk": self.trunk,
            "visual.head.proj": self.head,
            "text.transformer": self.bert,
            "text.proj": self.proj,
        }
        tensors = {
            f"{place}.{name}": leaf.clone()
            for place, part in parts.items()
            for name, leaf in part.state_dict().items()
        }
        positions = torch.arange(self.bert.config.max_position_embeddings)[None]
        return tensors | {POSITIONS: positions, "logit_scale": torch.tensor(math.log(50.0))}

    def encode_image(self, x: torch.Tensor) -> torch.Tensor:
        return functional.normalize(self.head(self.trunk(x)), dim=-1)

    def encode_text(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        states = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
        return functional.normalize(self.proj(states[:, 0]), dim=-1)


@dataclass
class PublishedFolder:
    """BiomedCLIP's folder, smaller."""

    path: Path
    config: dict
    bert: dict
    reference: Reference
    tensors: dict[str, torch.Tensor]

    def write(self) -> Path:
        self.path.mkdir(exist_ok=True)
        content = {"model_cfg": self.config, "preprocess_cfg": {"mean": None}}
        (self.path / "open_clip_config.json").write_text(json.dumps(content))
        (self.path / "config.json").write_text(json.dumps(self.bert))
        (self.path / "vocab.txt").write_text(VOCAB, encoding="utf-8")
        torch.save(self.tensors, self.path / WEIGHTS)
        return self.path

    def describe(self):
        """The shipped card, of this smaller architecture."""
        described = load_catalogue().describe("biomedclip")
        return described.model_copy(
            update={
                "published": Published(form="open-clip-bert"),
                "context_length": CONTEXT_LENGTH,
                "preprocessing": described.preprocessing.model_copy(update={"size": SIZE}),
            }
        )

    def convert(self, folder: Path, **changes: object) -> ModelCard:
        self.write()
        folder.mkdir()
        described = self.describe()
        source = PublishedFiles(path=self.path, description=described)
        open_clip_bert.convert(source, folder)
        files = tuple(describe_file(path) for path in sorted(folder.iterdir()))
        return ModelCard(**(described.model_dump() | {"files": files} | changes))


def create_folder(path: Path, width: int = WIDTH) -> PublishedFolder:
    config, bert = create_configs(width)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        reference = Reference(bert)
    return PublishedFolder(path, config, bert, reference, reference.save())


@pytest.fixture
def published(tmp_path, no_network) -> PublishedFolder:
    return create_folder(tmp_path / "published")


@pytest.fixture
def vlm(published, tmp_path):
    return load_vlm(published.convert(tmp_path / "model"), tmp_path / "model", CPU)


@pytest.fixture
def tokenizer(published):
    """transformers' own, from the folder."""
    return get_transformers().BertTokenizer.from_pretrained(published.write())


def test_image_features_are_those_of_timm(vlm, published, sample_pixels):
    pixels = sample_pixels(3, SIZE)
    by_hand = (pixels.double() / 255).sub(vlm.normalise.mean).div(vlm.normalise.std).float()
    expected = published.reference.encode_image(by_hand)
    torch.testing.assert_close(vlm.encode_images(pixels), expected, atol=1e-5, rtol=0)


def test_text_features_are_those_of_transformers(vlm, published, tokenizer):
    tokens = tokenizer(
        [" ".join(text.split()) for text in TEXTS],  # open_clip evens out white space
        padding="max_length",
        max_length=CONTEXT_LENGTH,
        return_tensors="pt",
    )
    expected = published.reference.encode_text(tokens["input_ids"], tokens["attention_mask"])
    found = vlm.encode_texts(TEXTS)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    ids = vlm.text_tower.tokenizer(TEXTS).ids
    assert ids.tolist() == tokens["input_ids"].tolist()


def test_features_are_those_of_open_clips_own_module(vlm, published, tmp_path, sample_pixels):
    """open_clip's loader on the same weights, its hub names replaced by a folder."""
    open_clip = get_open_clip()
    config = published.config | {
        "text_cfg": published.config["text_cfg"]
        | {"hf_model_name": str(published.path), "hf_model_pretrained": False}
    }
    config["vision_cfg"] = config["vision_cfg"] | {"timm_model_pretrained": False}
    clip = open_clip.CustomTextCLIP(**config).eval()
    clip.load_state_dict({k: v for k, v in published.tensors.items() if k != POSITIONS})
    tokenizer = open_clip.tokenizer.HFTokenizer(str(published.path), context_length=CONTEXT_LENGTH)
    pixels = sample_pixels(2, SIZE)
    by_hand = (pixels.double() / 255).sub(vlm.normalise.mean).div(vlm.normalise.std).float()
    texts = [*TEXTS, "x &amp; ray", "x &lt; a"]
    with torch.no_grad():
        images = clip.encode_image(by_hand, normalize=True)
        features = clip.encode_text(tokenizer(texts), normalize=True)
    torch.testing.assert_close(vlm.encode_images(pixels), images, atol=1e-5, rtol=0)
    torch.testing.assert_close(vlm.encode_texts(texts), features, atol=1e-5, rtol=0)
    assert vlm.logit_scale == pytest.approx(50.0, rel=1e-5)


def test_features_of_context_vectors_follow_the_architecture(vlm, published):
    """Against a forward pass written out from BERT's paper, over what is no padding."""
    ctx = torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(1))
    texts = ["normal lung.", "no opacity, normal heart."]
    found = vlm.encode_prompts(ctx, texts)
    for row, text in zip(found.double(), texts, strict=True):
        expected = write_out(published, ctx.double(), vlm.text_tower.tokenizer.encode(text))
        torch.testing.assert_close(row, expected, atol=1e-5, rtol=0)


def write_out(published: PublishedFolder, ctx: torch.Tensor, words: list[int]) -> torch.Tensor:
    """One prompt's features without padding: attention that masks it gives the same."""
    leaf = {
        name.removeprefix("text.").removeprefix("transformer."): tensor.double()
        for name, tensor in published.tensors.items()
        if name.startswith("text.")
    }

    def linear(name: str, x):
        return x @ leaf[f"{name}.weight"].T + leaf[f"{name}.bias"]

    def norm(name: str, x):
        centred = x - x.mean(-1, keepdim=True)
        unit = centred / (centred.square().mean(-1, keepdim=True) + 1e-12).sqrt()
        return unit * leaf[f"{name}.weight"] + leaf[f"{name}.bias"]

    table = leaf["embeddings.word_embeddings.weight"]
    x = torch.cat([table[[2]], ctx, table[words], table[[3]]])  # (length, width)
    x = x + leaf["embeddings.position_embeddings.weight"][: len(x)]
    x = norm("embeddings.LayerNorm", x + leaf["embeddings.token_type_embeddings.weight"][0])
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        q, k, v = (
            linear(f"{at}.attention.self.{part}", x).unflatten(1, (HEADS, -1)).transpose(0, 1)
            for part in ("query", "key", "value")
        )  # (heads, length, width / heads)
        scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
        seen = (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)
        attended = linear(f"{at}.attention.output.dense", seen)
        x = norm(f"{at}.attention.output.LayerNorm", x + attended)
        wide = functional.gelu(linear(f"{at}.intermediate.dense", x))
        x = norm(f"{at}.output.LayerNorm", x + linear(f"{at}.output.dense", wide))
    features = functional.gelu(x[0] @ leaf["proj.0.weight"].T) @ leaf["proj.2.weight"].T
    return features / features.norm()


def test_names_of_which_no_word_is_known_are_refused(vlm):
    refused = find_refused(vlm)
    assert {("T1N0", "naevus"), ("stage I", "stage II"), ("痣", "黑")} < refused
    assert ("T1 N0", "T1N0") not in refused  # two unknown words, and one


def test_words_as_context_vectors_are_the_words(vlm):
    found = vlm.encode_prompts(vlm.embed_text("the chest X-ray of"), ["normal lungs."])
    expected = vlm.encode_texts(["The chest x-ray of normal lungs."])
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_padding_is_never_looked_at(vlm, published, tmp_path):
    published.config["text_cfg"]["context_length"] = 40
    card = published.describe().model_copy(update={"context_length": 40})
    published.describe = lambda: card
    longer = load_vlm(published.convert(tmp_path / "longer"), tmp_path / "longer", CPU)
    ctx = torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(2))
    for found, expected in (
        (longer.encode_texts(TEXTS), vlm.encode_texts(TEXTS)),
        (longer.encode_prompts(ctx, ["heart"]), vlm.encode_prompts(ctx, ["heart"])),
    ):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_logits_of_a_row_depend_on_neither_place_nor_neighbours(vlm, sample_pixels):
    classifier = create_base_classifier(vlm, "A {}.", ["normal heart", "lung opacity", "effusion"])
    pixels = sample_pixels(BATCH, SIZE)
    logits = classifier(pixels)
    order = torch.randperm(BATCH, generator=torch.Generator().manual_seed(0))
    assert torch.equal(classifier(pixels[order]), logits[order])
    padded = torch.zeros_like(pixels)
    padded[:5] = pixels[20:25]
    assert torch.equal(classifier(padded)[:5], logits[20:25])


def test_text_that_would_be_cut_off_is_refused(vlm):
    fits = " ".join(["a"] * 22)  # and the two marks around it: 24
    vlm.encode_texts([fits])
    with pytest.raises(ValueError, match=r"at most 24 tokens; .* has 25"):
        vlm.encode_texts([fits + " a"])


def test_the_form_is_recognised_and_plain_open_clip_is_not_it(published):
    source = PublishedFiles(path=published.write(), description=published.describe())
    assert choose_form(source).name == "open-clip-bert"
    del published.config["text_cfg"]["hf_model_name"]
    del published.config["text_cfg"]["hf_tokenizer_name"]
    published.write()
    assert not open_clip_bert.recognises(source)


def test_shipped_card_is_the_published_architecture(published, tmp_path):
    """What does not agree with it is refused before a tensor is read."""
    shipped = load_catalogue().describe("biomedclip")
    source = PublishedFiles(path=published.write(), description=shipped)
    with pytest.raises(ConfigMismatch, match=r"embed_dim: expected 512, found 16"):
        open_clip_bert.convert(source, tmp_path)


def test_the_same_model_has_one_digest_however_its_small_files_are_written(published, tmp_path):
    """Names on the hub, key order, defaults written out and line ends are no part of a model."""
    first = published.convert(tmp_path / "a")
    text_cfg = published.config["text_cfg"]
    published.config["text_cfg"] = {
        **dict(reversed(text_cfg.items())),
        "hf_model_name": "microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract",
        "hf_tokenizer_name": "somewhere/else",
    }
    published.config["custom_text"] = True
    published.bert = {**dict(reversed(published.bert.items())), "pad_token_id": 0, "dropout": 0.1}
    path = published.write()
    words = (path / "vocab.txt").read_bytes()
    (path / "vocab.txt").write_bytes(words.rstrip(b"\n").replace(b"\n", b"\r\n"))
    (path / "tokenizer_config.json").write_text('{"strip_accents": null, "do_lower_case": true}')
    (tmp_path / "b").mkdir()
    open_clip_bert.convert(
        PublishedFiles(path=path, description=published.describe()), tmp_path / "b"
    )
    again = tuple(describe_file(path) for path in sorted((tmp_path / "b").iterdir()))
    assert again == first.files
    assert load_vlm(first, tmp_path / "b", CPU).encode_texts(["a cell"]).shape == (1, 16)


def test_a_check_certifies_with_it_offline(published, tmp_path):
    card = published.convert(tmp_path / "model")
    report = check_model(card, tmp_path / "model", device="cpu", threads=1)
    assert report.certification.samples == 64
    kept = set(published.tensors) - {POSITIONS, "logit_scale"}  # which becomes a number
    assert report.tensors == len(kept)


def test_bert_that_is_not_known_brings_its_configuration(published, tmp_path):
    source = PublishedFiles(path=published.write(), description=published.describe())
    (published.path / "config.json").unlink()
    with pytest.raises(ConfigMismatch, match=r"vocab\.txt: expected 30522, found 27"):
        open_clip_bert.convert(source, tmp_path)  # PubMedBERT's is known here
    published.config["text_cfg"]["hf_model_name"] = "somebody/some-bert"
    published.write()
    (published.path / "config.json").unlink()
    with pytest.raises(FormRefused, match=r"Expected config\.json of somebody/some-bert"):
        open_clip_bert.convert(source, tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda t: t.pop("text.proj.2.weight"),
            r"text\.proj\.2\.weight .* expected floating point of shape \(16, 24\), found no such",
        ),
        (
            lambda t: t.update({"text.transformer.pooler.dense.bias": torch.zeros(32)}),
            r"text\.transformer\.pooler\.dense\.bias .* expected no such tensor, found .* \(32,\)",
        ),
        (
            lambda t: t.update({"visual.head.proj.weight": t["visual.head.proj.weight"].T}),
            r"visual\.head\.proj\.weight .* \(16, 64\), found .* \(64, 16\)",
        ),
        (
            lambda t: t.update({POSITIONS: t[POSITIONS] + 1}),
            r"position_ids .* expected the 40 numbers that follow",
        ),
    ],
)
def test_tensors_of_another_model_are_refused(published, tmp_path, change, said):
    change(published.tensors)
    with pytest.raises(StateDictMismatch, match=said):
        published.convert(tmp_path / "model")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "roberta"}, "model_type: expected bert, found roberta"),
        ({"hidden_act": "nonsense"}, "hidden_act: expected gelu, found nonsense"),
        ({"hidden_size": "a"}, "hidden_size: expected a whole number, found 'a'"),
        ({"is_decoder": True}, "is_decoder: expected False, found True"),
        ({"auto_map": {"AutoModel": "code.Model"}}, "auto_map: expected None, found"),
        ({"position_embedding_type": "relative_key"}, "expected absolute, found relative_key"),
    ],
)
def test_text_tower_that_is_no_plain_bert_is_refused(published, tmp_path, change, said):
    published.bert |= change
    with pytest.raises(ConfigMismatch, match=said):
        published.convert(tmp_path / "model")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hf_pooler_type": "max_pooler"}, "hf_pooler_type: expected .*, found max_pooler"),
        ({"tokenizer_kwargs": {"clean": "lower"}}, "tokenizer_kwargs: expected none, found"),
    ],
)
def test_part_of_open_clips_that_is_not_known_is_refused(published, tmp_path, change, said):
    published.config["text_cfg"] |= change
    with pytest.raises(ConfigMismatch, match=said):
        published.convert(tmp_path / "model")


def test_weights_cut_short_are_refused(published, tmp_path):
    source = PublishedFiles(path=published.write(), description=published.describe())
    content = (published.path / WEIGHTS).read_bytes()
    (published.path / WEIGHTS).write_bytes(content[:-1000])
    with pytest.raises(UnreadableWeights, match=f"{WEIGHTS} cannot be read"):
        open_clip_bert.convert(source, tmp_path)


@pytest.mark.parametrize("name", ["bert_config.json", "vocab.txt", "tokenizer_config.json"])
def test_file_with_another_digest_is_refused(published, tmp_path, name):
    card = published.convert(tmp_path / "model")
    content = bytearray((tmp_path / "model" / name).read_bytes())
    content[-2] ^= 1
    (tmp_path / "model" / name).write_bytes(content)
    with pytest.raises(DigestMismatch, match=rf"{name} .*expected SHA-256 .*, found SHA-256"):
        load_vlm(card, tmp_path / "model", CPU)


@pytest.mark.parametrize("name", ["bert_config.json", "vocab.txt", "tokenizer_config.json"])
def test_card_that_names_no_such_file_is_refused(published, tmp_path, name):
    card = published.convert(tmp_path / "model")
    fewer = tuple(file for file in card.files if file.name != name)
    with pytest.raises(UnreadableWeights, match=f"{name} cannot be read: the card does not name"):
        load_vlm(card.model_copy(update={"files": fewer}), tmp_path / "model", CPU)


@pytest.mark.parametrize("name", ["ctx_biomedclip_covid_s1", "ctx_biomedclip_rsna18_s1"])
def test_real_prompts_give_unit_features(data_folder, tmp_path, no_network, name):
    published = create_folder(tmp_path / "published", width=768)
    card = published.convert(tmp_path / "model")
    vlm = load_vlm(card, tmp_path / "model", CPU)
    width = find_text_width(card, tmp_path / "model")
    assert width == vlm.text_width == 768
    folder = data_folder / "coop_prompts_baple" / "pt"
    fields = {
        "prompt_id": "theirs",
        "model": card,
        "text_width": width,
        "class_names": ("normal heart", "lung opacity"),
        "suffix": ".",
        "created_at": "2026-01-01T00:00:00Z",
    }
    _, prompt = create_import(load_ctx(folder / f"{name}.pt"), **fields)
    texts = [prompt.create_text(each) for each in fields["class_names"]]
    features = vlm.encode_prompts(torch.tensor(prompt.ctx), texts)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2))
    assert not torch.equal(features[0], features[1])
    with pytest.raises(ImportRefused, match="of width 768; got vectors of width 512"):
        create_import(load_ctx(folder / "ctx_plip_kather_s1.pt"), **fields)
    with pytest.raises(ValueError, match=r"width 768; got \(16, 512\)"):
        vlm.encode_prompts(torch.zeros(16, 512), texts)


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "made_up"])
def test_keys_that_do_not_shape_the_tower_reach_nothing(key):
    """Some would choose code to run, and where to fetch it."""
    _, bert = create_configs()
    content = json.dumps(bert | {key: "somebody/kernels"}).encode()
    assert parse_bert_config(content) == parse_bert_config(json.dumps(bert).encode())
