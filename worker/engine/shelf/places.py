"""The models on a device, how many sessions have taken each, and which leave for another's room.

A model leaves when another one needs its room. The least recently used leaves first, and a model
that a session has taken never leaves.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from models.log import get_logger
from worker.engine.shelf.loaded_model import LoadedModel

log = get_logger(__name__)


@dataclass(kw_only=True, eq=False)
class Place:
    """A loaded model, how many sessions or batches have taken it, and when last."""

    model: LoadedModel
    taken: int = 0
    used: int = 0

    @property
    def model_id(self) -> str:
        return self.model.vlm.card.id


class Places:
    """The models within a memory budget. The caller's lock guards every call.

    Args:
        budget_bytes: the most bytes for the parameters and buffers of all models together; 0
            means no limit.
        preferred: ids of models that leave only if no other model makes enough room.
    """

    def __init__(self, budget_bytes: int, preferred: Iterable[str]) -> None:
        self.budget_bytes, self.preferred = budget_bytes, frozenset(preferred)
        self._places: dict[str, Place] = {}
        self._uses = 0

    def __iter__(self) -> Iterator[Place]:
        return iter(self._places.values())

    def find(self, model_id: str) -> Place | None:
        return self._places.get(model_id)

    @property
    def free_bytes(self) -> int:
        """What the budget leaves; below 0 if the models take more."""
        return self.budget_bytes - sum(place.model.memory_bytes for place in self)

    def put(self, model: LoadedModel) -> Place:
        """A place for a model that nobody has taken yet."""
        place = Place(model=model)
        self._places[place.model_id] = place
        log.info("model_loaded", model=place.model_id, memory_bytes=model.memory_bytes)
        return place

    def take(self, model_id: str) -> None:
        """Takes a model that is here once more."""
        self._uses += 1
        place = self._places[model_id]
        place.taken, place.used = place.taken + 1, self._uses

    def give_back(self, model_id: str) -> bool:
        """Ends one `take`. True if nobody has the model now, so that it may leave."""
        self._places[model_id].taken -= 1
        return not self._places[model_id].taken

    def choose_leaving(self, memory_bytes: int) -> list[Place]:
        """The models that must leave: free ones first, preferred ones last, oldest use first."""
        if not self.budget_bytes:
            return []
        order = sorted(self, key=lambda p: (p.taken > 0, p.model_id in self.preferred, p.used))
        leaving: list[Place] = []
        room = self.free_bytes
        while room < memory_bytes and order:
            leaving.append(order.pop(0))
            room += leaving[-1].model.memory_bytes
        return leaving

    def remove(self, leaving: Iterable[Place]) -> None:
        """Forgets these models. Their memory is free once the caller has dropped them, too."""
        for place in leaving:
            del self._places[place.model_id]
            log.info("model_evicted", model=place.model_id)
