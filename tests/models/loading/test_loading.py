import hashlib
import socket
from pathlib import Path

import pytest
import torch

from models.catalogue import load_catalogue
from models.catalogue.cards import ModelCard, WeightFile
from models.catalogue.weights import (
    ConfigMismatch,
    DigestMismatch,
    StateDictMismatch,
    UnreadableWeights,
    WeightsMissing,
    check_weights,
)
from models.loading.loading import create_clip, load_vlm
from models.testing import create_linear_model, write_linear_model

CPU = torch.device("cpu")
TENSORS = "open_clip_model.safetensors"


def test_loading_restores_every_tensor_and_freezes_it(tiny_clip, tmp_path):
    vlm = load_vlm(tiny_clip.write(tmp_path), tmp_path, CPU)
    for name, leaf in vlm.clip.named_parameters():
        assert torch.equal(leaf, tiny_clip.tensors[name])
        assert not leaf.requires_grad
    assert not any(module.training for module in vlm.clip.modules())


def test_loading_refuses_a_missing_tensor(tiny_clip, tmp_path):
    del tiny_clip.tensors["visual.proj"]
    with pytest.raises(
        StateDictMismatch,
        match=r"visual\.proj .* expected floating point of shape \(64, 24\), found no such tensor",
    ):
        load_vlm(tiny_clip.write(tmp_path), tmp_path, CPU)


def test_loading_refuses_a_surplus_tensor(tiny_clip, tmp_path):
    tiny_clip.tensors["position_ids"] = torch.arange(16)
    with pytest.raises(
        StateDictMismatch,
        match=r"position_ids .* expected no such tensor, found torch\.int64 of shape \(16,\)",
    ):
        load_vlm(tiny_clip.write(tmp_path), tmp_path, CPU)


def test_loading_refuses_a_tensor_of_another_shape(tiny_clip, tmp_path):
    tiny_clip.tensors["logit_scale"] = torch.ones(1)
    with pytest.raises(StateDictMismatch, match=r"logit_scale .* shape \(\), found .* \(1,\)"):
        load_vlm(tiny_clip.write(tmp_path), tmp_path, CPU)


def test_loading_refuses_integers_in_place_of_weights(tiny_clip, tmp_path):
    tiny_clip.tensors["visual.proj"] = tiny_clip.tensors["visual.proj"].long()
    with pytest.raises(StateDictMismatch, match=r"expected floating point .* found torch\.int64"):
        load_vlm(tiny_clip.write(tmp_path), tmp_path, CPU)


def test_loading_refuses_a_file_with_one_changed_byte(tiny_clip, tmp_path):
    card = tiny_clip.write(tmp_path)
    content = bytearray((tmp_path / TENSORS).read_bytes())
    content[-1] ^= 1
    (tmp_path / TENSORS).write_bytes(content)
    expected = card.files[1].sha256
    for load in (lambda: load_vlm(card, tmp_path, CPU), lambda: check_weights(card, tmp_path)):
        with pytest.raises(DigestMismatch, match=f"{TENSORS}.* expected SHA-256 {expected}, found"):
            load()


def test_loading_refuses_a_truncated_file(tiny_clip, tmp_path):
    card = tiny_clip.write(tmp_path)
    content = (tmp_path / TENSORS).read_bytes()
    (tmp_path / TENSORS).write_bytes(content[:-100])
    sentence = f"{TENSORS}.* expected {len(content)} bytes, found {len(content) - 100} bytes"
    for load in (lambda: load_vlm(card, tmp_path, CPU), lambda: check_weights(card, tmp_path)):
        with pytest.raises(DigestMismatch, match=sentence):
            load()


def test_loading_says_which_file_is_missing_and_where(tiny_clip, tmp_path):
    card = tiny_clip.write(tmp_path)
    (tmp_path / TENSORS).unlink()
    with pytest.raises(WeightsMissing, match=f"{TENSORS} is missing; .* {tmp_path / TENSORS}"):
        load_vlm(card, tmp_path, CPU)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"context_length": 77}, r"text_cfg\.context_length: expected 77, found 16"),
        (
            {"preprocessing": {"size": 64, "mean": (0, 0, 0), "std": (1, 1, 1)}},
            r"vision_cfg\.image_size: expected 64, found 32",
        ),
    ],
)
def test_loading_refuses_a_card_that_contradicts_the_configuration(
    tiny_clip, tmp_path, change, sentence
):
    with pytest.raises(ConfigMismatch, match=sentence):
        load_vlm(tiny_clip.write(tmp_path, **change), tmp_path, CPU)


@pytest.mark.parametrize(
    ("part", "key", "sentence"),
    [
        ("text_cfg", "hf_proj_type", "expected open_clip's text tower, found hf_proj_type"),
        ("vision_cfg", "colour", "keys open_clip knows, found .*colour"),
    ],
)
def test_loading_refuses_a_configuration_that_is_not_open_clips_own(
    tiny_clip, tmp_path, part, key, sentence
):
    tiny_clip.config[part][key] = "x"
    with pytest.raises(ConfigMismatch, match=sentence):
        load_vlm(tiny_clip.write(tmp_path), tmp_path, CPU)


def test_loading_refuses_bytes_that_are_not_tensors(tiny_clip, tmp_path):
    card = tiny_clip.write(tmp_path)
    (tmp_path / TENSORS).write_bytes(b"hello")
    with pytest.raises(UnreadableWeights, match=f"{TENSORS} cannot be read"):
        load_vlm(_recarded(card, tmp_path, TENSORS), tmp_path, CPU)


class Harmful:
    def __reduce__(self):
        return print, ("run",)


def test_loading_reads_a_pickle_without_running_it(tiny_clip, tmp_path):
    tiny_clip.write(tmp_path)
    name = "open_clip_pytorch_model.bin"
    torch.save(tiny_clip.tensors, tmp_path / name)
    load_vlm(_recarded(tiny_clip.write(tmp_path), tmp_path, name), tmp_path, CPU)
    torch.save({"visual.proj": Harmful()}, tmp_path / name)
    with pytest.raises(UnreadableWeights, match=f"{name} cannot be read"):
        load_vlm(_recarded(tiny_clip.write(tmp_path), tmp_path, name), tmp_path, CPU)


def _recarded(card: ModelCard, folder: Path, name: str) -> ModelCard:
    """The card with another file of tensors."""
    content = (folder / name).read_bytes()
    file = WeightFile(
        name=name, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content)
    )
    return card.model_copy(update={"files": (card.files[0], file)})


def test_loading_refuses_a_device_that_cards_do_not_speak_of(tiny_clip, tmp_path):
    with pytest.raises(ValueError, match="runs on cpu or cuda; got the device meta"):
        load_vlm(tiny_clip.write(tmp_path), tmp_path, torch.device("meta"))


def test_loading_and_using_a_model_opens_no_socket(tiny_clip, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a socket was asked for")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    vlm = load_vlm(tiny_clip.write(tmp_path), tmp_path, CPU)
    vlm.encode_texts(["necrosis"])


def test_linear_model_with_a_tensor_of_another_size_is_refused(tmp_path):
    card = write_linear_model(tmp_path, create_linear_model(size=8))
    text = (tmp_path / "linear" / "card.toml").read_text().replace("size = 8\n", "size = 9\n")
    (tmp_path / "linear" / "card.toml").write_text(text)
    larger = load_catalogue(tmp_path).get("linear")
    assert larger.files == card.files
    with pytest.raises(StateDictMismatch, match=r"weight .* \(3, 9, 9\), found .* \(3, 8, 8\)"):
        load_vlm(larger, tmp_path / "linear", CPU)


@pytest.mark.parametrize("name", ["hf-hub:org/name", "local-dir:/tmp/x", "timm/vit", "../vit"])
def test_an_image_tower_that_timm_would_fetch_is_refused(tiny_clip, name):
    config = {**tiny_clip.config, "vision_cfg": {"image_size": 32, "timm_model_name": name}}
    with pytest.raises(ConfigMismatch, match="a name of timm's own"):
        create_clip(config)
