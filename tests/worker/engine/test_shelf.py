"""Several models on one device: what is loaded, kept and evicted changes no count."""

import gc
import itertools
import logging
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from shelves import (
    CPU,
    NAMES,
    SIZE,
    SMALL,
    ask,
    connect,
    count,
    create_shelf,
    create_spec,
    get_card,
    in_thread,
    list_loads,
    loaded,
    open_and_close,
    serving,
    states,
)
from waiting import HANG_S, wait_until

from models.catalogue import load_catalogue
from models.catalogue.cards import ModelCard
from models.loading.loading import load_vlm
from models.testing import create_linear_model, write_linear_model
from worker.contract import (
    Tuning,
)
from worker.contract.protocol import (
    ClassBallot,
    CountRange,
    PromptText,
    RangeCounted,
    TemplateText,
    TunePrompts,
    TuningStart,
)
from worker.engine.client import EngineLost
from worker.engine.engine import Engine
from worker.engine.local import LocalCounter
from worker.engine.server import EngineServer
from worker.engine.session import Session
from worker.engine.shared import SharedCounter, SharedEngine
from worker.engine.shelf.loaded_model import LoadedModel, hold_model, load_model
from worker.engine.shelf.memory import expect_memory, measure_memory
from worker.engine.shelf.refusal import SessionNotServed
from worker.engine.shelf.shelf import BudgetExceeded, DeviceLost, Shelf

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
