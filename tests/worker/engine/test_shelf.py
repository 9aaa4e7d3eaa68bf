"""Several models on one device: what is loaded, kept and evicted changes no count."""

import gc
import hashlib
import itertools
import logging
import math
import shutil
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from logged import list_events
from safetensors.torch import load_file, save
from waiting import HANG_S, wait_until

import models
from models.catalogue import load_catalogue
from models.catalogue.cards import ModelCard
from models.catalogue.weights import WeightsMissing
from models.loading.loading import load_vlm
from models.testing import create_linear_model, write_linear_model
from worker.contract import (
    CertifyRequest,
    CohenParameters,
    InputImage,
    ModelRef,
    TemplateTarget,
    Tuning,
)
from worker.contract.image import Image, image_sha256
from worker.contract.protocol import (
    ClassBallot,
    CountRange,
    OpenSession,
    PromptText,
    RangeCounted,
    TemplateText,
    TunePrompts,
    TuningStart,
)
from worker.counting.roll import Roll
from worker.counting.sessions import NOTHING_TUNED, create_session
from worker.engine.client import EngineClient, EngineLost, EngineRefused
from worker.engine.engine import Engine
from worker.engine.local import LocalCounter
from worker.engine.server import EngineServer
from worker.engine.session import Session
from worker.engine.shared import SharedCounter, SharedEngine
from worker.engine.shelf.load_failure import explain
from worker.engine.shelf.loaded_model import LoadedModel, hold_model, load_model
from worker.engine.shelf.memory import expect_memory, measure_memory
from worker.engine.shelf.refusal import SessionNotServed
from worker.engine.shelf.shelf import _PASSING, BudgetExceeded, DeviceLost, Shelf

CPU = torch.device("cpu")
SECRET = b"s" * 32
SIZE = 16
SMALL = 8 * (3 * SIZE * SIZE + 1)  # bytes of a linear model's float64 weight and threshold
NAMES = ("one", "two", "three")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three linear models of equal size, all different."""
    for seed, name in enumerate(NAMES):
        write_linear_model(tmp_path, create_linear_model(size=SIZE, seed=seed), model_id=name)
    return tmp_path


def create_shelf(folder: Path, *, room_for: float = 0, **changes: object) -> Shelf:
    """A shelf with room for so many of the small models; 0: no bound."""
    return Shelf(load_catalogue(folder), CPU, budget_bytes=int(room_for * SMALL), **changes)


def get_card(folder: Path, name: str):
    return load_catalogue(folder).get(name)


def create_spec(folder: Path, name: str, *, seed: int = 0) -> tuple[OpenSession, Image]:
    card = get_card(folder, name)
    size = card.preprocessing.size
    image = np.random.default_rng(seed).integers(60, 200, (3, size, size)).astype(np.uint8)
    request = CertifyRequest(
        input=InputImage(sha256=image_sha256(image), height=size, width=size, source="png"),
        model=ModelRef(id=card.id, sha256=card.sha256),
        targets=(TemplateTarget(template=card.template, class_names=card.class_names),),
        sigmas=(Decimal("0.5"),),
        procedure=CohenParameters(),
    )
    return create_session(request, {}, NOTHING_TUNED, Roll(request, SECRET).keys), image


def ask(engine: Engine, session: Session, n: int) -> None:
    wanted = CountRange(sigma_index=0, phase="estimation", start=0, stop=n)
    engine.request(session, wanted)


def count(engine: Engine, spec: OpenSession, image: Image, *, n: int = 128) -> list[int]:
    counted: list[RangeCounted] = []
    session = engine.open(spec, image, counted.append)
    ask(engine, session, n)
    while engine.step():
        pass
    engine.close(session)
    return np.sum([c.counts[0] for c in counted], axis=0).tolist()


def states(shelf: Shelf) -> dict[str, str]:
    return {s.model.id: s.state for s in shelf.list_states()}


def loaded(shelf: Shelf) -> set[str]:
    return {model.identity.model.id for model in shelf.list_loaded()}


def list_loads(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The models whose load began in a thread, in order."""
    return [event["model"] for event in list_events(caplog, "model_loading")]


def in_thread(call: Callable[[], object]) -> Future:
    pool = ThreadPoolExecutor(1)
    future = pool.submit(call)
    pool.shutdown(wait=False)
    return future


# --- Counts and identity ---


def test_counts_are_the_same_whatever_was_loaded_evicted_and_loaded_again(folder):
    names = (*NAMES[:2], "bundled-2")
    specs = {name: create_spec(folder, name) for name in names}
    catalogue = load_catalogue(folder)
    vlms = {name: load_vlm(catalogue.get(name), catalogue.folder(name), CPU) for name in names}
    alone = {name: count(Engine(Shelf.holding([vlms[name]])), *specs[name]) for name in names}
    identities = {name: hold_model(vlms[name]).identity for name in names}
    bundled = measure_memory(vlms["bundled-2"])
    shelf = Shelf(catalogue, CPU, budget_bytes=bundled, preferred=["one"])
    shelf.load_preferred()
    engine = Engine(shelf)
    for name in ("bundled-2", "one", "bundled-2", "two", "one", "bundled-2"):
        assert count(engine, *specs[name]) == alone[name]
        (model,) = [m for m in shelf.list_loaded() if m.identity.model.id == name]
        assert model.identity == identities[name]  # threads too, though it was loaded elsewhere
        assert sum(m.memory_bytes for m in shelf.list_loaded()) <= bundled
        assert ("bundled-2" in loaded(shelf)) == (name == "bundled-2")


def test_sessions_on_two_models_at_once_have_the_counts_of_each_alone(folder):
    specs = {name: create_spec(folder, name) for name in NAMES[:2]}
    alone = {name: count(Engine(create_shelf(folder)), *specs[name]) for name in specs}
    engine = Engine(create_shelf(folder, room_for=2))
    counted: dict[str, list[RangeCounted]] = {name: [] for name in specs}
    for name, (spec, image) in specs.items():
        ask(engine, engine.open(spec, image, counted[name].append), 128)
    while engine.step():
        pass
    for name in specs:
        assert np.sum([c.counts[0] for c in counted[name]], axis=0).tolist() == alone[name]


def test_models_take_turns_however_many_sessions_each_has(folder):
    """Eight sessions on one, one on the other, twenty that want nothing: every second batch."""
    engine, served = Engine(create_shelf(folder)), []
    idle = [create_spec(folder, "one", seed=seed) for seed in range(20)]
    for spec, image in idle:
        engine.open(spec, image, lambda _: None)
    for name, sessions in (("one", 8), ("two", 1)):
        for seed in range(sessions):
            spec, image = create_spec(folder, name, seed=seed)
            session = engine.open(spec, image, lambda _, name=name: served.append(name))
            ask(engine, session, 64 * 50)
    order = []
    for _ in range(20):
        served.clear()
        engine.step()
        (name,) = set(served)
        order.append(name)
    assert order.count("two") == 10
    assert all(a != b for a, b in itertools.pairwise(order))


# --- Room ---


def test_who_was_used_longest_ago_goes_first_and_who_is_preferred_last(folder):
    shelf = create_shelf(folder, room_for=2, preferred=["one"])
    shelf.load_preferred()
    engine = Engine(shelf)
    for name, there in (
        ("two", {"one", "two"}),
        ("three", {"one", "three"}),  # though "one" was used longest ago
        ("two", {"one", "two"}),
    ):
        count(engine, *create_spec(folder, name))
        assert loaded(shelf) == there
    plain = Engine(create_shelf(folder, room_for=2))
    for name in ("one", "two", "one", "three"):
        count(plain, *create_spec(folder, name))
    assert loaded(plain._shelf) == {"one", "three"}


def test_a_model_in_use_is_not_evicted_and_who_needs_its_room_waits(folder):
    shelf = create_shelf(folder, room_for=1)
    engine = Engine(shelf)
    counted: list[RangeCounted] = []
    spec, image = create_spec(folder, "one")
    session = engine.open(spec, image, counted.append)
    beats = threading.Semaphore(0)
    other, its_image = create_spec(folder, "two")
    waiting = in_thread(lambda: engine.open(other, its_image, lambda _: None, beats.release))
    assert beats.acquire(timeout=HANG_S)  # it says that it waits
    assert states(shelf)["two"] == "loading"
    ask(engine, session, 128)  # and the model that is used goes on voting
    while engine.step():
        pass
    assert sum(c.stop - c.start for c in counted) == 128
    assert not waiting.done()
    engine.close(session)
    assert waiting.result(HANG_S).opened.identity.model.id == "two"
    assert loaded(shelf) == {"two"}


def test_who_waits_for_room_is_not_overtaken_by_sessions_on_what_it_waits_for(folder):
    shelf = create_shelf(folder, room_for=1)
    engine = Engine(shelf)
    specs = {name: create_spec(folder, name) for name in NAMES[:2]}
    first = engine.open(*specs["one"], lambda _: None)
    beats = threading.Semaphore(0)
    second = in_thread(lambda: engine.open(*specs["two"], lambda _: None, beats.release))
    assert beats.acquire(timeout=HANG_S)
    third = in_thread(lambda: engine.open(*specs["one"], lambda _: None, beats.release))
    assert beats.acquire(timeout=HANG_S)
    assert beats.acquire(timeout=HANG_S)
    engine.close(first)
    found = second.result(HANG_S)
    assert not third.done()
    engine.close(found)
    engine.close(third.result(HANG_S))


def test_who_gives_up_waiting_keeps_nobody_waiting(folder):
    shelf = create_shelf(folder, room_for=1)
    engine = Engine(shelf)
    specs = {name: create_spec(folder, name) for name in NAMES[:2]}
    first = engine.open(*specs["one"], lambda _: None)

    def leave() -> None:
        raise EOFError

    with pytest.raises(EOFError):
        engine.open(*specs["two"], lambda _: None, leave)
    assert states(shelf)["two"] == "present"
    second = engine.open(*specs["one"], lambda _: None)  # not behind one that has gone
    engine.close(first)
    engine.close(second)


def test_nothing_is_left_of_an_evicted_model(folder):
    engine = Engine(create_shelf(folder, room_for=1))
    count(engine, *create_spec(folder, "one"))
    (model,) = engine._shelf.list_loaded()
    left = [weakref.ref(x) for x in (model, model.vlm, model.classifiers)]
    del model
    count(engine, *create_spec(folder, "two"))
    gc.collect()
    assert [ref() for ref in left] == [None] * 3


class Witness(Shelf):
    """A shelf that says what is left of a model in the moment that another begins to load."""

    watched: "weakref.ref[object] | None" = None
    left: object = "nothing was loaded"

    def _start(self, turn):
        gc.collect()
        self.left = self.watched() if self.watched is not None else None
        super()._start(turn)


def test_an_evicted_model_is_gone_before_the_next_is_read(folder):
    """The session closes while its batch runs, so the step is the last that uses the model."""
    shelf = Witness(load_catalogue(folder), CPU, budget_bytes=SMALL)
    engine = Engine(shelf)
    beats = threading.Semaphore(0)
    spec, image = create_spec(folder, "one")
    sessions: list[Session] = []
    sessions.append(engine.open(spec, image, lambda _: engine.close(sessions.pop())))
    shelf.watched = weakref.ref(shelf.list_loaded()[0].vlm)
    other, its_image = create_spec(folder, "two")
    waiting = in_thread(lambda: engine.open(other, its_image, lambda _: None, beats.release))
    assert beats.acquire(timeout=HANG_S)
    ask(engine, sessions[0], 1)
    assert engine.step()
    engine.close(waiting.result(HANG_S))
    assert shelf.left is None


@pytest.mark.parametrize("kind", ["alone", "shared"])
def test_tuning_closes_the_session_before_and_does_not_wait_for_itself(folder, kind):
    """There is room for one model: the session's, or that of the prompt to tune."""
    card = get_card(folder, "bundled-2")
    bundled = measure_memory(load_vlm(card, load_catalogue(folder).folder("bundled-2"), CPU))
    write_linear_model(folder, create_linear_model(size=4 * SIZE), model_id="wide")
    shelf = Shelf(load_catalogue(folder), CPU, budget_bytes=bundled + SMALL)
    engine = Engine(shelf)
    text = TemplateText(template=card.template, class_names=card.class_names)
    spec, image = create_spec(folder, "bundled-2")
    wanted = TunePrompts(
        **spec.model_dump(include={"model", "height", "width", "sigmas", "prompts"}),
        starts=(TuningStart(text=text, tuning=Tuning(copies=2)),),
        low=1,
        high=2,
    )

    def open_and_tune(counter: LocalCounter | SharedCounter) -> int:
        counter.open(*create_spec(folder, "wide"))
        return len(counter.tune(wanted, image).tuned)

    if kind == "alone":
        assert in_thread(lambda: open_and_tune(LocalCounter(engine))).result(HANG_S) == 1
    else:
        with SharedEngine(engine) as shared, shared.create_counter() as counter:
            assert in_thread(lambda: open_and_tune(counter)).result(HANG_S) == 1
    assert loaded(shelf) == {"bundled-2"}


def test_a_load_that_breaks_the_device_wakes_all_who_wait(folder, tmp_path):
    """And a client over the socket is told by the engine's end, not sooner: it would come back."""
    breaking = threading.Event()

    def break_device(*_: object) -> None:
        assert breaking.wait(HANG_S)
        raise torch.AcceleratorError("an illegal memory access was encountered")

    shelf = create_shelf(folder, load=break_device)
    engine = Engine(shelf)
    specs = [create_spec(folder, name) for name in ("one", "one", "two")]
    waiting = [in_thread(lambda s=s: engine.open(*s, lambda _: None)) for s in specs]
    wait_until(lambda: states(shelf)["two"] == "loading")
    server = EngineServer(engine, tmp_path / "engine.sock")
    serving_it = in_thread(server.serve)
    with connect(tmp_path / "engine.sock") as client:
        opening = in_thread(lambda: client.open(*specs[0]))
        breaking.set()
        for future in waiting:
            with pytest.raises(DeviceLost) as caught:
                future.result(HANG_S)
            assert isinstance(caught.value.__cause__, torch.AcceleratorError)
        with pytest.raises(DeviceLost):
            serving_it.result(HANG_S)
        assert not opening.done()
        server.stop()
        with pytest.raises(EngineLost):
            opening.result(HANG_S)
    with pytest.raises(DeviceLost):
        engine.open(*specs[2], lambda _: None)


def test_a_session_that_cannot_be_opened_holds_no_model(folder):
    engine = Engine(create_shelf(folder, room_for=1))
    spec, image = create_spec(folder, "one")
    text = PromptText(prompt_sha256="0" * 64, class_names=("a", "b"))
    unknown = spec.model_copy(update={"ballots": ((ClassBallot(text=text),),)})
    with pytest.raises(SessionNotServed, match="does not carry the prompt"):
        engine.open(unknown, image, lambda _: None)
    assert loaded(engine._shelf) == {"one"}  # it was taken
    with pytest.raises(ValueError, match="is for"):
        engine.open(spec, image[:, :8, :8], lambda _: None)
    count(engine, *create_spec(folder, "two"))  # would wait for ever


def test_a_model_larger_than_the_budget_is_refused_at_once(folder):
    write_linear_model(folder, create_linear_model(size=2 * SIZE), model_id="large")
    shelf = create_shelf(folder, room_for=2)
    with pytest.raises(SessionNotServed, match=r"takes 0\.0 MB") as caught:
        Engine(shelf).open(*create_spec(folder, "large"), lambda _: None)
    assert caught.value.failure.code == "model_too_large"
    assert states(shelf)["large"] == "unusable"


def test_models_that_do_not_fit_beside_one_another_are_no_start(folder):
    with pytest.raises(BudgetExceeded, match="PROMPTSMOOTH_MODEL_MEMORY_MB"):
        create_shelf(folder, room_for=1, preferred=["one", "two"]).load_preferred()
    create_shelf(folder, room_for=2, preferred=["one", "two"]).load_preferred()


def test_memory_is_that_of_parameters_and_buffers_and_is_expected_exactly(folder):
    catalogue = load_catalogue(folder)
    vlm = load_vlm(catalogue.get("one"), catalogue.folder("one"), CPU)
    assert measure_memory(vlm) == SMALL
    assert expect_memory(vlm.card, catalogue.folder("one"), "cpu") == SMALL
    clip = load_vlm(catalogue.get("bundled-2"), catalogue.folder("bundled-2"), CPU)
    weights = sum(p.numel() for p in clip.clip.parameters())
    assert expect_memory(clip.card, catalogue.folder("bundled-2"), "cpu") == 4 * weights
    mask = clip.clip.attn_mask.numel()  # a buffer that no file holds
    assert measure_memory(clip) == 4 * (weights + mask)


def test_a_model_larger_than_expected_keeps_to_the_budget_all_the_same(folder):
    """The bundled model has a buffer that no file holds: beside the other one it is too much."""
    write_linear_model(folder, create_linear_model(size=64), model_id="other")
    catalogue = load_catalogue(folder)
    other, bundled = (
        expect_memory(catalogue.get(name), catalogue.folder(name), "cpu")
        for name in ("other", "bundled-2")
    )
    shelf = Shelf(catalogue, CPU, budget_bytes=other + bundled)
    count(Engine(shelf), *create_spec(folder, "other"))
    count(Engine(shelf), *create_spec(folder, "bundled-2"))
    assert loaded(shelf) == {"bundled-2"}
    assert bundled < shelf.list_loaded()[0].memory_bytes <= other + bundled


# --- Loading ---


@contextmanager
def serving(shelf: Shelf, path: Path) -> Iterator[Path]:
    server = EngineServer(Engine(shelf), path)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield path
    finally:
        server.stop()
        thread.join()


@pytest.fixture
def slow(folder: Path) -> str:
    """A model that takes a while to load: 100 MB of weights, hashed and copied."""
    large = create_linear_model(size=2048)
    write_linear_model(folder, large, model_id="slow", batch_size={"cpu": 1})
    return "slow"


def test_while_one_model_loads_others_vote_and_the_status_says_so(folder, slow, tmp_path, caplog):
    small, image = create_spec(folder, "one")
    large, its_image = create_spec(folder, slow)
    caplog.set_level(logging.INFO)
    go_on = threading.Event()

    def load_when_told(card: ModelCard, *given: Any) -> LoadedModel:
        assert card.id != slow or go_on.wait(HANG_S)
        return load_model(card, *given)

    shelf = create_shelf(folder, preferred=["one"], load=load_when_told)
    shelf.load_preferred()
    path = tmp_path / "engine.sock"
    with serving(shelf, path), connect(path) as busy, connect(path) as asking:
        busy.open(small, image)
        opening = [in_thread(lambda: open_and_close(path, large, its_image)) for _ in range(2)]
        seen, votes = [], 0
        while not all(future.done() for future in opening):
            busy.count(CountRange(sigma_index=0, phase="estimation", start=votes, stop=votes + 64))
            votes = busy.receive().stop
            status = {s.model.id: s.state for s in asking.status(timeout_s=HANG_S).states}
            seen.append((status[slow], votes))
            if [state for state, _ in seen].count("loading") >= 2:
                go_on.set()
        assert all(future.result() for future in opening)
        status = asking.status(timeout_s=HANG_S)
    (state,) = [s for s in status.states if s.model.id == slow]
    assert (state.state, state.memory_bytes) == ("ready", 8 * (3 * 2048**2 + 1))
    assert status.samples_per_s.keys() == {"one", slow}  # warmed up
    loading = [votes for state, votes in seen if state == "loading"]
    assert len(loading) >= 2  # batches of the other model between the first and the last
    assert list_loads(caplog) == [slow]


def connect(path: Path) -> EngineClient:
    return EngineClient.connect(path, wait_s=HANG_S)


def open_and_close(path: Path, spec: OpenSession, image: Image) -> bool:
    with connect(path) as client:
        return client.open(spec, image).identity.model.id == spec.model.id


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
