"""A file of tensors, read once: what was hashed is what is used, and nothing else is believed."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from models.catalogue.cards import WeightFile
from models.catalogue.weights import DigestMismatch, StateDictMismatch, UnreadableWeights
from models.loading.tensor_file import load_into

TENSORS = {
    "a": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "b": torch.tensor(2.5, dtype=torch.float16),
    "c": torch.tensor([1.0, -3.0], dtype=torch.bfloat16),
    "d": torch.tensor([[7, -8]], dtype=torch.int64),
    "e": torch.zeros(0, 4),
    "f": torch.tensor([True, False]),
    "g": torch.tensor([0.1], dtype=torch.float64),
}


def write(folder: Path, content: bytes, name: str = "w.safetensors") -> WeightFile:
    (folder / name).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return WeightFile(name=name, sha256=digest, size_bytes=len(content))


def targets(**dtypes: torch.dtype) -> dict[str, torch.Tensor]:
    return {
        name: torch.full_like(tensor, 1, dtype=dtypes.get(name, tensor.dtype))
        for name, tensor in TENSORS.items()
    }


def test_every_kind_of_number_arrives_as_safetensors_saved_it(tmp_path):
    loaded = targets()
    load_into(loaded, write(tmp_path, save(TENSORS)), tmp_path)
    for name, tensor in TENSORS.items():
        assert torch.equal(loaded[name], tensor), name


def test_numbers_take_the_precision_of_the_model(tmp_path):
    loaded = targets(b=torch.float32, a=torch.bfloat16)
    load_into(loaded, write(tmp_path, save(TENSORS)), tmp_path)
    assert (loaded["b"].dtype, loaded["b"].item()) == (torch.float32, 2.5)
    assert torch.equal(loaded["a"], TENSORS["a"].bfloat16())


def test_another_file_of_the_same_length_is_refused_whatever_is_in_it(tmp_path):
    """Even where its header fits no model: that it is another file explains it better."""
    content = save(TENSORS)
    file = write(tmp_path, content)
    last, name = bytearray(content), bytearray(content)
    last[-1] ^= 1
    name[content.index(b'"a"') + 1] = ord("z")
    for changed in (last, name, bytes(len(content))):
        (tmp_path / file.name).write_bytes(changed)
        with pytest.raises(DigestMismatch, match=f"expected SHA-256 {file.sha256}, found"):
            load_into(targets(), file, tmp_path)


def with_header(header: object, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


LEAF = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "header is longer than the file"),
        (b"\xff" * 20, "header is longer than the file"),
        ((4).to_bytes(8, "little") + b"{oh}", "Expecting property name"),
        (with_header([1], b""), "no attribute"),
        (with_header({"a": {**LEAF, "dtype": "F33"}}, b"1234"), "F33"),
        (
            with_header({"a": {**LEAF, "shape": [2]}}, b"1234"),
            "tensor a has 4 bytes, which does no",
        ),
        (with_header({"a": {**LEAF, "shape": [-1, -1]}}, b"1234"), "-1 is not a length"),
        (with_header({"a": {**LEAF, "shape": [float("inf")]}}, b"1234"), "inf is not a length"),
        (with_header({"a": {**LEAF, "data_offsets": [0.0, 4.0]}}, b"1234"), "0.0 is not a length"),
        (with_header({"a": {**LEAF, "shape": [True]}}, b"1234"), "True is not a length"),
        (
            with_header({"a": {**LEAF, "shape": [0, 2**62, 2**62], "data_offsets": [0, 0]}}, b""),
            "overflow",
        ),
        ((200_000).to_bytes(8, "little") + b"[" * 200_000, "nested too deeply"),
        (with_header({"a": LEAF}, b"12345678"), "have 4 bytes, but the file holds 8"),
        (with_header({"a": LEAF, "b": LEAF}, b"1234"), "tensor b does not follow the one before"),
        (
            with_header({"a": {**LEAF, "data_offsets": [4, 8]}}, b"12345678"),
            "tensor a does not follow the one before",
        ),
    ],
)
def test_bytes_that_are_no_tensors_are_refused(tmp_path, content, sentence):
    padded = content or b"1234"
    with pytest.raises(UnreadableWeights, match=f"w.safetensors cannot be read: .*{sentence}"):
        load_into({"a": torch.zeros(1)}, write(tmp_path, padded), tmp_path)


def test_tensors_of_another_model_are_refused_before_any_is_copied(tmp_path):
    loaded = {"a": torch.zeros(2, 3), "z": torch.zeros(1)}
    with pytest.raises(
        StateDictMismatch, match=r"The tensor b .* expected no such tensor, found f"
    ):
        load_into(loaded, write(tmp_path, save(TENSORS)), tmp_path)
    assert not loaded["a"].any()


def test_pickle_of_anything_but_tensors_is_refused(tmp_path):
    torch.save({"a": 1}, tmp_path / "w.bin")
    file = write(tmp_path, (tmp_path / "w.bin").read_bytes(), "w.bin")
    with pytest.raises(UnreadableWeights, match="expected named tensors, got int"):
        load_into({}, file, tmp_path)
