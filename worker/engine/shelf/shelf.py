"""The models that an engine holds on its device, within a memory budget.

A session takes a model and gives it back. A model is loaded when a session first asks for it. It
leaves when another model needs its room (`places`). Models are loaded one at a time, in the order
they were asked for (`line`).
"""

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from models.catalogue import (
    Catalogue,
    ModelNotAdded,
    ModelNotValid,
    ModelRetired,
    UnknownModel,
)
from models.catalogue.cards import DeviceClass, ModelCard
from models.log import get_logger
from models.vlm.vlm import VLM
from worker.contract import Failure, ModelRef, ModelState
from worker.engine.runner.runner import NoisePlace
from worker.engine.shelf.identity import MeasureTau
from worker.engine.shelf.line import Line, Turn
from worker.engine.shelf.load_failure import (
    Fingerprint,
    explain,
    find_failure,
    list_missing,
    take_fingerprint,
    to_mb,
    too_large,
)
from worker.engine.shelf.loaded_model import LoadedModel, hold_model, load_model
from worker.engine.shelf.memory import expect_memory
from worker.engine.shelf.places import Place, Places
from worker.engine.shelf.refusal import SessionNotServed
from worker.engine.shelf.runtime import TORCH, CpuRuntime

log = get_logger(__name__)

Load = Callable[[ModelCard, Path, torch.device, NoisePlace], LoadedModel]

_BEAT_S = 1.0
_PASSING = (
    "model_out_of_memory",
    "model_load_failed",
)  # may succeed next time although no file has changed


class DeviceLost(RuntimeError):
    """A load broke the device, which can compute nothing more, so the engine has to end.

    Sessions that wait for a model are better served by the next engine.
    """


class BudgetExceeded(ValueError):
    """The models that an engine is to start with do not fit into memory together."""


class Shelf:
    """The models of one device. All methods may be called from any thread.

    Args:
        catalogue: the available models.
        device: the device to load them on.
        budget_bytes: the most bytes for the parameters and buffers of all models together; 0
            means no limit.
        preferred: ids of models that leave only if no other model makes enough room.
        noise: where the noise is made; see `create_runner`.
        load: what loads a model.
        runtime: what `load` computes image towers with, which decides on the memory expected.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        device: torch.device,
        *,
        budget_bytes: int = 0,
        preferred: Iterable[str] = (),
        noise: NoisePlace = "auto",
        load: Load = load_model,
        runtime: CpuRuntime = TORCH,
    ) -> None:
        self._catalogue, self.device, self._noise = catalogue, device, noise
        self._load_model, self._runtime = load, runtime
        self._sizes: dict[str, int] = {}  # measured at an earlier load
        self._failures: dict[str, tuple[Fingerprint, Failure]] = {}
        self._broken: Exception | None = None
        self._changed = threading.Condition()
        self._places = Places(budget_bytes, preferred)
        self._line = Line(self._places, self._start, self._changed)

    @classmethod
    def holding(cls, vlms: Iterable[VLM], *, measure_tau: MeasureTau | None = None) -> "Shelf":
        """A shelf with exactly these models, which are loaded already.

        `measure_tau` is as in `load_model`.
        """
        shelf = cls(Catalogue(entries={}), torch.device("cpu"))
        for vlm in vlms:
            shelf._put(hold_model(vlm, measure_tau=measure_tau))
        return shelf

    def load_preferred(self) -> None:
        """Loads the preferred models in the calling thread, before any session asks for them.

        Raises:
            UnknownModel, WeightsError, FeaturesUnusable: a model cannot be loaded.
            BudgetExceeded: the models do not fit into the budget together.
        """
        for model_id in sorted(self._places.preferred):
            card = self._catalogue.get(model_id)
            folder = self._catalogue.folder(model_id)
            self._put(self._load_model(card, folder, self.device, self._noise))
            budget, free = self._places.budget_bytes, self._places.free_bytes
            if budget and free < 0:
                raise BudgetExceeded(
                    f"the models of PROMPTSMOOTH_SERVE_MODELS up to {model_id!r} take "
                    f"{to_mb(budget - free)} MB, and PROMPTSMOOTH_MODEL_MEMORY_MB "
                    f"allows {to_mb(budget)}: raise it, or name fewer models"
                )

    # --- Taking and giving back ---

    def find_card(self, model: ModelRef) -> ModelCard:
        """The card of the model that a session names.

        Raises:
            SessionNotServed: no usable model here has this id, or it has another digest.
        """
        with self._changed:
            place = self._places.find(model.id)
        try:
            card = place.model.vlm.card if place is not None else self._catalogue.get(model.id)
        except ModelNotAdded:
            raise SessionNotServed(
                "model_missing",
                f"the weights of the model {model.id!r} were never added on this host",
            ) from None
        except ModelNotValid:
            raise SessionNotServed(
                "model_unusable", f"the card of the model {model.id!r} on this host is not valid"
            ) from None
        except ModelRetired as error:
            raise SessionNotServed("model_not_served", str(error).rstrip(".")) from None
        except UnknownModel:
            raise SessionNotServed(
                "model_not_served", f"no worker of this host serves the model {model.id!r}"
            ) from None
        if card.sha256 != model.sha256:
            raise SessionNotServed(
                "model_changed",
                f"the digest of the model {model.id!r} on this host is not the one the job names",
            )
        return card

    def take(self, card: ModelCard, on_wait: Callable[[], None] = lambda: None) -> LoadedModel:
        """The model, loaded if necessary. It stays until it is given back.

        Args:
            card: the card that `find_card` returned.
            on_wait: called about every second while this waits. It blocks the shelf, so it must be
                quick. An error it raises ends the wait.

        Raises:
            SessionNotServed: the model cannot be loaded.
            DeviceLost: the device is broken, so nothing can be loaded any more.
        """
        with self._changed:
            place = self._places.find(card.id)
            if place is not None and not self._line.awaits(card.id):
                self._places.take(card.id)
                return place.model
            turn = self._line.find(card.id) or self._line_up(card)
            turn.waiting += 1
            try:
                self._line.advance()
                while turn.outcome is None:
                    self.require_sound()
                    if not self._changed.wait(_BEAT_S):
                        on_wait()
            except BaseException:
                self._leave(turn)
                raise
        if isinstance(turn.outcome, Failure):
            raise SessionNotServed(turn.outcome.code, turn.outcome.detail)
        return turn.outcome

    def take_again(self, model_id: str) -> None:
        """Takes a model once more. The caller must know that it is taken already."""
        with self._changed:
            self._places.take(model_id)

    def give_back(self, model_id: str) -> None:
        """Ends one `take`. The caller must have dropped the model, which may leave at once."""
        with self._changed:
            if self._places.give_back(model_id):
                self._line.advance()

    def require_sound(self) -> None:
        """Raises DeviceLost if a load broke the device."""
        if self._broken is not None:
            raise DeviceLost("loading a model broke the device") from self._broken

    # --- Waiting and loading ---

    def _line_up(self, card: ModelCard) -> Turn:
        """Adds a turn. Raises SessionNotServed if it is already known that the load must fail."""
        if self._places.find(card.id) is None:
            self._require_loadable(card)
        return self._line.join(card, self._expect(card))

    def _leave(self, turn: Turn) -> None:
        """Ends one wait for a turn, whether or not its model has come."""
        if isinstance(turn.outcome, LoadedModel):
            model_id, turn.outcome = turn.card.id, None
            self.give_back(model_id)
        else:
            self._line.leave(turn)

    def _require_loadable(self, card: ModelCard) -> None:
        folder = self._catalogue.folder(card.id)
        fingerprint, failed = take_fingerprint(card, folder), self._failures.get(card.id)
        if failed is not None and failed[0] == fingerprint:
            failure: Failure | None = failed[1]
        else:
            failure = find_failure(card, folder)
        budget = self._places.budget_bytes
        if failure is None and budget and self._expect(card) > budget:
            failure = too_large(card, self._expect(card), budget)
        if failure is not None:
            raise SessionNotServed(failure.code, failure.detail)

    def _expect(self, card: ModelCard) -> int:
        if card.id not in self._sizes:
            device_class: DeviceClass = "cuda" if self.device.type == "cuda" else "cpu"
            folder = self._catalogue.folder(card.id)
            precision = self._runtime.precision if device_class == "cpu" else None
            return expect_memory(card, folder, device_class, precision=precision)
        return self._sizes[card.id]

    def _start(self, turn: Turn) -> None:
        name = f"load {turn.card.id}"
        threading.Thread(target=self._load, args=(turn,), name=name, daemon=True).start()

    def _load(self, turn: Turn) -> None:
        folder = self._catalogue.folder(turn.card.id)
        fingerprint = take_fingerprint(turn.card, folder)
        log.info("model_loading", model=turn.card.id)
        try:
            loaded: LoadedModel | Failure = self._load_model(
                turn.card, folder, self.device, self._noise
            )
        except torch.AcceleratorError as error:
            self._break(error)
            return
        except Exception as error:
            loaded = explain(turn.card, error)
        with self._changed:
            self._line.loading = None
            if isinstance(loaded, Failure):
                self._fail(turn, loaded, fingerprint)
            else:
                self._arrive(turn, loaded, fingerprint)
            del loaded  # frees a model that was larger than expected before the next load
            self._line.advance()
            self._changed.notify_all()

    def _break(self, error: Exception) -> None:
        """Wakes everyone. `_line.loading` stays set, so that no other load can begin."""
        log.error("device_lost", exc_info=error)
        with self._changed:
            self._broken = error
            self._changed.notify_all()

    def _arrive(self, turn: Turn, model: LoadedModel, fingerprint: Fingerprint) -> None:
        """Puts a loaded model on the shelf, unless it is larger than expected and does not fit."""
        self._sizes[turn.card.id] = turn.memory_bytes = model.memory_bytes
        budget = self._places.budget_bytes
        if not budget or model.memory_bytes <= self._places.free_bytes:
            self._line.serve(turn, self._put(model))
        elif model.memory_bytes > budget:
            self._fail(turn, too_large(turn.card, model.memory_bytes, budget), fingerprint)
        else:
            self._line.join_again(turn)  # now that its size is known

    def _fail(self, turn: Turn, failure: Failure, fingerprint: Fingerprint) -> None:
        turn.outcome = failure
        if failure.code not in _PASSING:
            self._failures[turn.card.id] = (fingerprint, failure)
        log.error("model_not_loaded", model=turn.card.id, code=failure.code, reason=failure.detail)

    def _put(self, model: LoadedModel) -> Place:
        card = model.vlm.card
        self._sizes[card.id] = model.memory_bytes
        self._failures.pop(card.id, None)
        return self._places.put(model)

    # --- What there is ---

    def list_loaded(self) -> tuple[LoadedModel, ...]:
        """The loaded models, which can vote at once."""
        with self._changed:
            return tuple(place.model for place in self._places)

    def list_states(self) -> tuple[ModelState, ...]:
        """The state of every model that this host knows: ready, or whether it could be."""
        with self._changed:
            states = [_ready(place.model) for place in self._places]
            waited_for = self._line.list_ids()
        known = {state.model.id for state in states}
        for card in self._catalogue.list():  # outside the lock: looking at files takes time
            if card.id not in known:
                states.append(self._judge(card, loading=card.id in waited_for))
        return tuple(sorted(states, key=lambda state: state.model.id))

    def _judge(self, card: ModelCard, *, loading: bool) -> ModelState:
        ref = ModelRef(id=card.id, sha256=card.sha256)
        if loading:
            return ModelState(model=ref, state="loading")
        if missing := list_missing(card, self._catalogue.folder(card.id)):
            return ModelState(model=ref, state="missing", missing_files=missing)
        try:
            self._require_loadable(card)
        except SessionNotServed as error:
            return ModelState(model=ref, state="unusable", detail=error.failure.detail)
        return ModelState(model=ref, state="present")


def _ready(model: LoadedModel) -> ModelState:
    return ModelState(model=model.identity.model, state="ready", memory_bytes=model.memory_bytes)
