"""Checkpoints of training programs: their tensors are read, and nothing in them is run."""

import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from models.catalogue.weights import UnreadableWeights
from models.loading.pickled import load_pickle, parse_pickle

TENSORS = {"module.a": torch.arange(6.0).reshape(2, 3), "module.b": torch.tensor(2.5)}
CHECKPOINT = {
    "epoch": 15,
    "name": "ViT-L-14-336",
    "state_dict": TENSORS,
    "optimizer": {"state": {0: {"exp_avg": torch.zeros(2, 3)}}, "param_groups": [{"lr": 1e-4}]},
    "best": np.float64(0.61),
    "last": [np.float32(0.5), np.int64(4)],
}


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "epoch_15.pt"


def name_as_numpy_1(path: Path) -> None:
    """Writes a file anew with the module that numpy's numbers had before numpy 2."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(
                name, content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
            )


@pytest.mark.parametrize("kind", ["numpy 2", "numpy 1", "before torch 1.6"])
def test_tensors_of_a_training_checkpoint_are_read_whatever_lies_beside_them(path, kind):
    torch.save(CHECKPOINT, path, _use_new_zipfile_serialization=kind != "before torch 1.6")
    if kind == "numpy 1":
        name_as_numpy_1(path)
        assert b"numpy.core.multiarray" in path.read_bytes()
    for found in (load_pickle(path), parse_pickle(path.name, path.read_bytes())):
        assert found.keys() == TENSORS.keys()
        assert all(torch.equal(found[name], leaf) for name, leaf in TENSORS.items())


def count_own_bytes() -> int:
    """The memory of this process that no file backs."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="only Linux tells")
def test_tensors_stay_on_disk_until_they_are_used(path):
    """An optimiser is twice as large as the weights, and is never read."""
    torch.save({"state_dict": TENSORS, "optimizer": torch.zeros(2**24)}, path)
    before = count_own_bytes()
    tensors = load_pickle(path)
    assert count_own_bytes() - before < 2**24  # a quarter of it
    assert tensors.keys() == TENSORS.keys()


class Calling:
    """What would be called with these arguments if the pickle were believed."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize(
    "call",
    [
        Calling(np.load, "/etc/passwd", None, True),
        Calling(np.frombuffer, b"12345678"),
        Calling(pickle.loads, b"."),
        Calling(print, "run"),
    ],
    ids=["np.load", "np.frombuffer", "pickle.loads", "print"],
)
def test_a_call_of_anything_else_is_refused(path, call, capsys):
    torch.save({"state_dict": TENSORS, "best": call}, path)
    with pytest.raises(UnreadableWeights, match="no code in it was run"):
        load_pickle(path)
    assert capsys.readouterr().out == ""


def test_what_makes_numpys_numbers_is_not_called(path, monkeypatch):
    """Not even with a type whose numbers would be objects."""
    torch.save({**CHECKPOINT, "type": Calling(np.dtype, "O")}, path)

    def fail(*_: object) -> None:
        raise AssertionError("numpy was called")

    monkeypatch.setattr(np, "dtype", fail)
    monkeypatch.setattr("numpy._core.multiarray.scalar", fail)
    assert load_pickle(path).keys() == TENSORS.keys()


@pytest.mark.parametrize(
    "value", [np.float64(1.0), 3, [torch.ones(1)], {"a": torch.ones(1)}], ids=str
)
def test_what_is_no_tensor_among_the_tensors_is_refused(path, value):
    torch.save({"state_dict": {**TENSORS, "c": value}}, path)
    with pytest.raises(UnreadableWeights, match="expected named tensors, got "):
        load_pickle(path)
    torch.save({**TENSORS, "c": value}, path)
    with pytest.raises(UnreadableWeights, match="expected named tensors, got "):
        load_pickle(path)


def test_array_of_numpy_is_no_tensor_either(path):
    torch.save({"state_dict": TENSORS, "values": np.zeros(3)}, path)
    with pytest.raises(UnreadableWeights, match="no code in it was run"):
        load_pickle(path)
