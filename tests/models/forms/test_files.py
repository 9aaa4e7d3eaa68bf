"""Weights as training programs and large models leave them: prefixes, shards, programs."""

import io
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.catalogue.cards import ModelDescription, Published
from models.catalogue.weights import StateDictMismatch, UnreadableWeights
from models.forms.files import list_shards, load_tensors, read_bounded, strip_prefixes
from models.forms.form import FormRefused
from models.installation.add import add_model
from models.loading.loading import load_vlm

pytestmark = pytest.mark.usefixtures("no_network")
CPU = torch.device("cpu")
TENSORS = {"a.weight": torch.arange(6.0), "b.bias": torch.ones(2)}


def write_shards(folder: Path, tensors: dict[str, torch.Tensor], kind: str) -> Path:
    """Two shards and their index, as transformers writes them."""
    stem, ending = ("model", "safetensors") if kind == "safetensors" else ("pytorch_model", "bin")
    places = {}
    for number in range(2):
        part = dict(list(tensors.items())[number::2])
        name = f"{stem}-0000{number + 1}-of-00002.{ending}"
        if kind == "safetensors":
            save_file({name: value.contiguous() for name, value in part.items()}, folder / name)
        else:
            torch.save(part, folder / name)
        places |= dict.fromkeys(part, name)
    path = folder / f"{stem}.{ending}.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": places}))
    return path


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]
)
def test_prefixes_that_all_names_have_are_taken_off(prefix: str) -> None:
    found = strip_prefixes({prefix + name: value for name, value in TENSORS.items()})
    assert found.keys() == TENSORS.keys()
    mixed = {"module.a": torch.zeros(1), "b": torch.zeros(1)}
    assert strip_prefixes(mixed).keys() == mixed.keys()


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_shards_are_read_as_one_file(tmp_path: Path, kind: str) -> None:
    path = write_shards(tmp_path, TENSORS, kind)
    found = load_tensors(path)
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], value) for name, value in TENSORS.items())
    assert len(list_shards(path)) == 2


def test_shards_that_do_not_fit_their_index_are_refused(tmp_path: Path) -> None:
    path = write_shards(tmp_path, TENSORS, "safetensors")
    index = json.loads(path.read_text())
    for places, kind, said in (
        (
            {**index["weight_map"], "c": "model-00001-of-00002.safetensors"},
            UnreadableWeights,
            "'c'",
        ),
        ({"a.weight": index["weight_map"]["a.weight"]}, None, ""),
        (
            {**index["weight_map"], "c": "../other.safetensors"},
            UnreadableWeights,
            "names of weight",
        ),
        ({**index["weight_map"], "c": "more.safetensors"}, FormRefused, "missing"),
        ({}, UnreadableWeights, "weight_map"),
        ({"a": 1}, UnreadableWeights, "weight_map"),
    ):
        path.write_text(json.dumps({"weight_map": places}))
        if kind is None:
            assert load_tensors(path).keys() == {"a.weight"}
            continue
        with pytest.raises(kind, match=said):
            load_tensors(path)


class Doubling(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight


@pytest.mark.parametrize("kind", ["script", "cut", "words", "list", "whole model"])
def test_what_torch_says_of_loading_unsafely_is_never_repeated(tmp_path: Path, kind: str) -> None:
    file = io.BytesIO()
    if kind == "script":
        with pytest.warns(DeprecationWarning, match="torch.jit"):
            torch.jit.save(torch.jit.script(Doubling()), file)
    else:
        torch.save(
            Doubling() if kind == "whole model" else [1, 2] if kind == "list" else TENSORS, file
        )
    content = {"cut": file.getvalue()[:-40], "words": b"word " * 50}.get(kind, file.getvalue())
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(UnreadableWeights) as caught:
        load_tensors(path)
    text = str(caught.value)
    assert "weights_only" not in text
    assert "torch.load" not in text
    assert ("TorchScript" in text) == (kind == "script")


@pytest.fixture
def described(tiny_clip, tmp_path) -> ModelDescription:
    fields = tiny_clip.write(tmp_path).model_dump(exclude={"files", "origin"})
    published = Published(form="open-clip", model_cfg=tiny_clip.config)
    return ModelDescription(**(fields | {"published": published}))


@pytest.mark.parametrize("prefix", ["", "module."])
def test_checkpoint_in_openais_layout_gives_the_same_model(described, tiny_clip, tmp_path, prefix):
    numbers = {"input_resolution": 32, "context_length": 16, "vocab_size": 49408}
    layout = dict(tiny_clip.tensors)
    layout["logit_scale"] = layout["logit_scale"].reshape(1)
    layout |= {name: torch.tensor(number) for name, number in numbers.items()}
    path = tmp_path / "ViT-B-32.pt"
    torch.save({prefix + name: tensor for name, tensor in layout.items()}, path)
    added = add_model(described, path, tmp_path / "models")
    loaded = load_vlm(added.card, added.folder, CPU).clip.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tiny_clip.tensors.items())
    torch.save(layout | {"input_resolution": torch.tensor(224)}, path)
    with pytest.raises(StateDictMismatch, match="input_resolution"):
        add_model(described, path, tmp_path / "others")


def test_a_model_in_shards_is_added_with_the_digest_of_each(hf_clip, tmp_path):
    whole = add_model(hf_clip.description, hf_clip.write(tmp_path / "whole"), tmp_path / "a")
    folder = hf_clip.write(tmp_path / "shards")
    (weights,) = [path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin")]
    tensors = load_tensors(weights)
    weights.unlink()
    write_shards(folder, tensors, "safetensors")
    added = add_model(hf_clip.description, folder, tmp_path / "b")
    assert added.card.weights_sha256 == whole.card.weights_sha256
    assert sum("-of-00002" in file.name for file in added.card.origin.files) == 2


def test_a_file_longer_than_its_bound_is_refused(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5) == b"12345"
    with pytest.raises(FormRefused, match=r"tokenizer\.json is longer than 4 bytes"):
        read_bounded(path, 4)
