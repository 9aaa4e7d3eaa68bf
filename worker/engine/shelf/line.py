"""The line of the models that sessions wait for, in the order they were asked for.

One model loads at a time. A load may have to wait for room. New sessions cannot hold it up: if they
want one of the models that it waits for, they line up behind it.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from models.catalogue.cards import ModelCard
from worker.contract import Failure
from worker.engine.shelf.loaded_model import LoadedModel
from worker.engine.shelf.places import Place, Places


@dataclass(kw_only=True, eq=False)
class Turn:
    """A model that sessions wait for: it has to be loaded, or another load waits for its room."""

    card: ModelCard
    memory_bytes: int
    waiting: int = 0
    outcome: LoadedModel | Failure | None = None


class Line:
    """The turns in order, the one that is loading, and the models that the first waits for.

    Args:
        places: where the models are, and whose room the turns wait for.
        start: begins to load a turn's model, and does not wait.
        changed: guards every call, and wakes those who wait for a turn's outcome.
    """

    def __init__(
        self, places: Places, start: Callable[[Turn], None], changed: threading.Condition
    ) -> None:
        self._places, self._start, self._changed = places, start, changed
        self._turns: deque[Turn] = deque()
        self._awaited: frozenset[str] = frozenset()
        self.loading: Turn | None = None

    def awaits(self, model_id: str) -> bool:
        """Whether the first turn waits until this model can leave."""
        return model_id in self._awaited

    def list_ids(self) -> set[str]:
        """The models that load or wait."""
        return {turn.card.id for turn in self._list()}

    def find(self, model_id: str) -> Turn | None:
        """The turn of this model that sessions can join."""
        return next((turn for turn in self._list() if turn.card.id == model_id), None)

    def _list(self) -> list[Turn]:
        return [*([self.loading] if self.loading else []), *self._turns]

    def join(self, card: ModelCard, memory_bytes: int) -> Turn:
        """A turn at the end of the line."""
        turn = Turn(card=card, memory_bytes=memory_bytes)
        self._turns.append(turn)
        return turn

    def join_again(self, turn: Turn) -> None:
        """Puts a turn first once more, whose model was larger than expected."""
        self._turns.appendleft(turn)

    def leave(self, turn: Turn) -> None:
        """Ends one wait for a turn without outcome, and removes a turn that nobody waits for."""
        turn.waiting -= 1
        if turn.waiting == 0 and turn in self._turns:
            self._turns.remove(turn)
            self.advance()

    def advance(self) -> None:
        """Serves turns for as long as that is possible without waiting."""
        self._awaited = frozenset()
        while self._turns and self.loading is None:
            turn = self._turns[0]
            if (place := self._places.find(turn.card.id)) is not None:
                self._turns.popleft()
                self.serve(turn, place)
                continue
            leaving = self._places.choose_leaving(turn.memory_bytes)
            if any(place.taken for place in leaving):
                self._awaited = frozenset(place.model_id for place in leaving)
                return
            self._turns.popleft()
            self._places.remove(leaving)
            del leaving  # frees the models before the next one is loaded
            self.loading = turn
            self._start(turn)

    def serve(self, turn: Turn, place: Place) -> None:
        """Hands a model to everyone who waits for it, before another can claim its room."""
        turn.outcome = place.model
        for _ in range(turn.waiting):
            self._places.take(place.model_id)
        self._changed.notify_all()
