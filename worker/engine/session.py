"""One image in the engine: the samples still to be drawn, and the taker of what f computes."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from worker.contract.image import Image
from worker.contract.protocol import SessionOpened
from worker.engine.runner.batch import Samples, Slice, Taker
from worker.engine.shelf.loaded_model import LoadedModel
from worker.sampling.keys import KeyPurpose
from worker.sampling.table import NoiseTable
from worker.sampling.words import NoiseKey


@dataclass(kw_only=True, eq=False)
class Session:
    """One image under one model: its noise, and the samples still to be drawn."""

    image: Image
    model: LoadedModel
    tables: tuple[NoiseTable, ...]
    keys: Mapping[KeyPurpose, NoiseKey]
    opened: SessionOpened
    taker: Taker
    urgent: bool = False
    pending: deque[Samples] = field(default_factory=deque)
    ahead: deque[Samples] = field(default_factory=deque)
    closed: bool = False
    _prefetched: dict[tuple[int, KeyPurpose], int] = field(default_factory=dict)

    @property
    def model_id(self) -> str:
        return self.opened.identity.model.id

    def want(self, samples: Samples) -> None:
        """Queues samples that are needed. Samples prefetched earlier are not drawn twice."""
        promoted = [one for one in self.ahead if _is_within(one, samples)]
        self.ahead = deque(one for one in self.ahead if one not in promoted)
        self.pending.extend(promoted)
        start = max(samples.start, self._prefetched.get(samples.stream, 0))
        if start < samples.stop:
            self.pending.append(replace(samples, start=start))

    def prefetch(self, samples: Samples) -> None:
        """Queues samples that may be needed. They must continue those queued of their stream."""
        self._prefetched[samples.stream] = samples.stop
        self.ahead.append(samples)

    def queue(self, ahead: bool) -> deque[Samples]:
        """The samples that may be needed, if `ahead`; otherwise those that are needed."""
        return self.ahead if ahead else self.pending

    def draw(self, limit: int, *, ahead: bool = False) -> Samples | None:
        """Takes the next samples off the queue, at most `limit`; None if it is empty."""
        queue = self.queue(ahead)
        if not queue:
            return None
        first = queue.popleft()
        stop = min(first.stop, first.start + limit)
        if stop < first.stop:
            queue.appendleft(replace(first, start=stop))
        return replace(first, stop=stop)

    def lay(self, samples: Samples, offset: int) -> Slice:
        """The rows of a batch from `offset` on that are these samples."""
        return Slice(
            image=self.image,
            key=self.keys[samples.purpose],
            table=self.tables[samples.sigma_index],
            samples=samples,
            offset=offset,
        )


def _is_within(one: Samples, samples: Samples) -> bool:
    return one.stream == samples.stream and one.stop <= samples.stop
