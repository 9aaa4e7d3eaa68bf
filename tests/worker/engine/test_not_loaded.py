"""Models that cannot be loaded: each is refused with a reason, and tried again when it may help."""

import hashlib
import logging
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save
from shelves import (
    connect,
    count,
    create_shelf,
    create_spec,
    list_loads,
    open_and_close,
    serving,
    states,
)

import models
from models.catalogue import load_catalogue
from models.catalogue.weights import WeightsMissing
from worker.contract import (
    ModelRef,
)
from worker.engine.client import EngineRefused
from worker.engine.engine import Engine
from worker.engine.shelf.load_failure import explain
from worker.engine.shelf.refusal import SessionNotServed
from worker.engine.shelf.shelf import _PASSING


def test_a_missing_file_fails_at_once_and_is_served_once_it_is_there(folder):
    weights = folder / "two" / "linear.safetensors"
    kept = weights.read_bytes()
    weights.unlink()
    shelf = create_shelf(folder)
    engine, spec = Engine(shelf), create_spec(folder, "two")
    with pytest.raises(SessionNotServed, match=r"missing: linear\.safetensors") as caught:
        engine.open(*spec, lambda _: None)
    assert caught.value.failure.code == "model_missing"
    assert str(folder) not in str(caught.value)
    (state,) = [s for s in shelf.list_states() if s.model.id == "two"]
    assert (state.state, state.missing_files) == ("missing", ("linear.safetensors",))
    weights.write_bytes(kept)
    assert states(shelf)["two"] == "present"
    assert sum(count(engine, *spec)) == 128


def test_another_file_is_refused_to_all_who_wait_and_read_once(folder, tmp_path, caplog):
    weights = folder / "two" / "linear.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    spec, image = create_spec(folder, "two")
    shelf = create_shelf(folder)
    caplog.set_level(logging.INFO)
    with serving(shelf, tmp_path / "engine.sock") as path:
        for _ in range(3):
            with pytest.raises(EngineRefused) as caught, connect(path) as c:
                c.open(spec, image)
            assert caught.value.failure.code == "model_digest_mismatch"
            assert "SHA-256" in str(caught.value)
            assert str(folder) not in str(caught.value)
        assert states(shelf)["two"] == "unusable"
        assert list_loads(caplog) == ["two"]
        weights.write_bytes(kept)  # the right file, tried because it is another one than before
        assert open_and_close(path, spec, image)


def test_a_model_that_computes_no_features_is_refused(folder):
    """Its files are those of its card, it loads, and what it says of an image is not a number."""
    write_broken_model(folder)
    shelf = create_shelf(folder)
    with pytest.raises(SessionNotServed, match="unit length") as caught:
        Engine(shelf).open(*create_spec(folder, "broken"), lambda _: None)
    assert caught.value.failure.code == "model_unusable"
    assert states(shelf)["broken"] == "unusable"


def write_broken_model(folder: Path) -> None:
    """The bundled model with one weight of its image tower not a number, and a card for it."""
    catalogue = load_catalogue()
    home = folder / "broken"
    shutil.copytree(catalogue.folder("bundled-2"), home)
    card = (Path(models.__file__).parent / "shipped" / "cards" / "bundled-2.toml").read_text()
    (file,) = [f for f in catalogue.get("bundled-2").files if f.name.endswith(".safetensors")]
    tensors = load_file(home / file.name)
    tensors["visual.proj"][0, 0] = math.nan
    content = save(tensors)
    (home / file.name).write_bytes(content)
    card = card.replace('id = "bundled-2"', 'id = "broken"')
    card = card.replace(file.sha256, hashlib.sha256(content).hexdigest())
    card = card.replace(f"size_bytes = {file.size_bytes}", f"size_bytes = {len(content)}")
    (home / "card.toml").write_text(card)


def test_a_model_that_was_never_added_is_missing_and_not_unheard_of(folder):
    spec, image = create_spec(folder, "one")
    never = spec.model_copy(update={"model": ModelRef(id="plip", sha256="0" * 64)})
    with pytest.raises(SessionNotServed, match="never added") as caught:
        Engine(create_shelf(folder)).open(never, image, lambda _: None)
    assert caught.value.failure.code == "model_missing"


def test_a_bad_card_ends_one_models_service_and_not_the_start(folder):
    spec, image = create_spec(folder, "one")
    (folder / "one" / "card.toml").write_text("id = ")
    engine = Engine(create_shelf(folder, preferred=["two"]))
    with pytest.raises(SessionNotServed, match="card of the model 'one' on this host") as caught:
        engine.open(spec, image, lambda _: None)
    assert caught.value.failure.code == "model_unusable"
    assert sum(count(engine, *create_spec(folder, "two"))) == 128


def test_a_start_with_missing_weights_says_which(folder):
    (folder / "one" / "linear.safetensors").unlink()
    with pytest.raises(WeightsMissing, match=r"linear\.safetensors"):
        create_shelf(folder, preferred=["one"]).load_preferred()


def test_torch_s_own_words_for_a_full_memory_are_understood():
    """On a CPU it is a plain RuntimeError; taken for the model's fault it would stay for ever."""
    card = load_catalogue().get("bundled-2")
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert explain(card, caught.value).code == "model_out_of_memory"


def test_what_a_host_stands_in_the_way_of_is_tried_again(tmp_path):
    """A permission, a full disk: neither the model's fault nor for ever."""
    card = load_catalogue().get("bundled-2")
    assert explain(card, PermissionError("no")).code == "model_load_failed"
    assert explain(card, RuntimeError("can't start new thread")).code in _PASSING
    assert "model_unusable" not in _PASSING
