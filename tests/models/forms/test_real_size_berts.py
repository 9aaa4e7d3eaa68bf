"""MedCLIP and BiomedCLIP at their published sizes, with random weights: make test-models."""

import importlib
import io
import json
import math
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from models.catalogue import load_catalogue
from models.installation.add import add_model
from models.loading.loading import load_vlm
from models.vlm._imports import get_transformers

pytestmark = [pytest.mark.real_size, pytest.mark.usefixtures("no_network")]
HERE = Path(__file__).parent
CPU = torch.device("cpu")
_WORDS = "[PAD] [UNK] [CLS] [SEP] a the image of lung opacity normal chest . , x ray - heart"
TEXTS = ["A chest X-ray of the heart.", "normal lung, opacity unknown"]
MEDCLIP_IDS = [[2, 4, 11, 14, 16, 15, 7, 5, 17, 12, 3], [2, 10, 8, 13, 9, 1, 3]]


def create_vocab(size: int, class_names: Iterable[str] = ()) -> str:
    """The words of the tests first, in their order; then those that tell the classes apart."""
    own = {word for name in class_names for word in name.lower().split()}
    words = list(dict.fromkeys([*_WORDS.split(), *sorted(own)]))
    rest = (f"word{at}" for at in range(len(words), size))
    return "\n".join([*words, *rest]) + "\n"


def fill(tensors: dict[str, torch.Tensor]) -> None:
    """Small random weights; those of norms around 1."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in sorted(tensors.items()):
        if tensor.is_floating_point():
            norm = name.endswith("weight") and "norm" in name.lower()
            tensor.normal_(float(norm), 0.03, generator=generator)


def pad(rows: list[list[int]], length: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    return ids, (ids != 0).long()  # no word has the id of the padding


def create_medclip_tensors() -> dict[str, torch.Tensor]:
    lines = (HERE / "medclip_vit_keys.txt").read_text(encoding="utf-8").splitlines()
    tensors = {}
    for name, dtype, shape in (line.split() for line in lines if not line.startswith("#")):
        sizes = () if shape == "scalar" else tuple(map(int, shape.split("x")))
        tensors[name] = torch.zeros(sizes, dtype=getattr(torch, dtype))
    fill(tensors)
    at = torch.arange(49)
    rows, columns = at // 7, at % 7
    index = (rows[:, None] - rows + 6) * 13 + columns[:, None] - columns + 6
    for name in tensors:
        if name.endswith("relative_position_index"):
            tensors[name] = index.clone()
    tensors["text_model.model.embeddings.position_ids"] = torch.arange(512)[None]
    return tensors


def load_part(tensors: dict[str, torch.Tensor], prefix: str, folder: Path, kind: str) -> object:
    """transformers' own class with its own renaming of older files' tensors."""
    transformers = get_transformers()
    folder.mkdir()
    config = getattr(transformers, f"{kind}Config")
    own = {"vocab_size": 28996} if kind == "Bert" else {}
    config(**own).save_pretrained(folder)
    part = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    torch.save(part, folder / "pytorch_model.bin")
    return getattr(transformers, f"{kind}Model").from_pretrained(folder).eval()


@torch.no_grad()
def test_medclip_has_the_features_of_transformers_own_classes(tmp_path, sample_pixels, run_check):
    tensors = create_medclip_tensors()
    file = io.BytesIO()
    torch.save(tensors, file)
    with zipfile.ZipFile(tmp_path / "medclip.zip", "w") as archive:
        archive.writestr("pytorch_model.bin", file.getbuffer())
    del file
    (tmp_path / "vocab.txt").write_text(create_vocab(28996))
    described = load_catalogue().describe("medclip-vit")
    added = add_model(described, tmp_path / "medclip.zip", tmp_path / "models")
    run_check(tmp_path / "models", added.card.id)
    vlm = load_vlm(added.card, added.folder, CPU)
    swin = load_part(tensors, "vision_model.model.", tmp_path / "swin", "Swin")
    pixels = sample_pixels(2, 224)
    inputs = (pixels / 255 - 0.5862785803043838) / 0.27950088968644304
    pooled = swin(pixel_values=inputs).pooler_output
    images = functional.normalize(pooled @ tensors["vision_model.projection_head.weight"].T)
    torch.testing.assert_close(vlm.encode_images(pixels), images, atol=1e-5, rtol=0)
    bert = load_part(tensors, "text_model.model.", tmp_path / "bert", "Bert")
    ids, mask = pad(MEDCLIP_IDS, 25)
    head = tensors["text_model.projection_head.weight"]

    def pool(output: object) -> torch.Tensor:
        states = output.hidden_states
        return functional.normalize(((states[1] + states[2] + states[-1]) / 3).mean(1) @ head.T)

    texts = pool(bert(input_ids=ids, attention_mask=mask, output_hidden_states=True))
    torch.testing.assert_close(vlm.encode_texts(TEXTS), texts, atol=1e-5, rtol=0)
    ctx = torch.randn(4, 768, generator=torch.Generator().manual_seed(2)) * 0.02
    ids, mask = pad([[2, 1, 1, 1, 1, 17, 12, 3], [2, 1, 1, 1, 1, 8, 3]], 25)
    embedded = bert.embeddings.word_embeddings(ids)
    embedded[:, 1:5] = ctx
    tuned = pool(bert(inputs_embeds=embedded, attention_mask=mask, output_hidden_states=True))
    found = vlm.encode_prompts(ctx, ["heart.", "lung"])
    torch.testing.assert_close(found, tuned, atol=1e-5, rtol=0)


@torch.no_grad()
def test_biomedclip_has_the_features_of_timm_and_transformers(tmp_path, sample_pixels, run_check):
    described = load_catalogue().describe("biomedclip")
    transformers = get_transformers()
    trunk = importlib.import_module("timm").create_model("vit_base_patch16_224", num_classes=0)
    config = transformers.BertConfig(vocab_size=30522)
    bert = transformers.BertModel(config, add_pooling_layer=False)
    heads = {
        "visual.head.proj.weight": torch.empty(512, 768),
        "text.proj.0.weight": torch.empty(640, 768),
        "text.proj.2.weight": torch.empty(512, 640),
        "logit_scale": torch.tensor(math.log(100.0)),
    }
    parts = {"visual.trunk.": trunk.eval(), "text.transformer.": bert.eval()}
    towers = {
        prefix + name: leaf
        for prefix, part in parts.items()
        for name, leaf in part.state_dict().items()
    }
    fill(towers | {name: leaf for name, leaf in heads.items() if leaf.ndim})
    published = tmp_path / "published"
    published.mkdir()
    model_cfg = json.loads(json.dumps(described.published.model_cfg))
    model_cfg["text_cfg"]["hf_model_name"] = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"
    statistics = {"mean": described.preprocessing.mean, "std": described.preprocessing.std}
    (published / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": model_cfg, "preprocess_cfg": statistics})
    )
    (published / "vocab.txt").write_text(create_vocab(30522, described.class_names))
    positions = {"text.transformer.embeddings.position_ids": torch.arange(512)[None]}
    torch.save(towers | heads | positions, published / "open_clip_pytorch_model.bin")
    added = add_model(described, published, tmp_path / "models")
    run_check(tmp_path / "models", added.card.id)
    vlm = load_vlm(added.card, added.folder, CPU)
    pixels = sample_pixels(2, 224)
    inputs = (pixels / 255 - vlm.normalise.mean) / vlm.normalise.std
    images = functional.normalize(trunk(inputs) @ heads["visual.head.proj.weight"].T)
    torch.testing.assert_close(vlm.encode_images(pixels), images, atol=1e-5, rtol=0)

    def project(output: object) -> torch.Tensor:
        middle = functional.gelu(output.last_hidden_state[:, 0] @ heads["text.proj.0.weight"].T)
        return functional.normalize(middle @ heads["text.proj.2.weight"].T)

    ids, mask = pad(MEDCLIP_IDS, 256)
    texts = project(bert(input_ids=ids, attention_mask=mask))
    torch.testing.assert_close(vlm.encode_texts(TEXTS), texts, atol=1e-5, rtol=0)
    ctx = torch.randn(4, 768, generator=torch.Generator().manual_seed(2)) * 0.02
    ids, mask = pad([[2, 1, 1, 1, 1, 17, 12, 3], [2, 1, 1, 1, 1, 8, 3]], 256)
    embedded = bert.embeddings.word_embeddings(ids)
    embedded[:, 1:5] = ctx
    tuned = project(bert(inputs_embeds=embedded, attention_mask=mask))
    found = vlm.encode_prompts(ctx, ["heart.", "lung"])
    torch.testing.assert_close(found, tuned, atol=1e-5, rtol=0)
