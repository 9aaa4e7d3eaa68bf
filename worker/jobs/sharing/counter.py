"""Counts one certification on several hosts: the run that needs the votes, and its helpers.

The run publishes ranges of samples on a board and also counts them itself, so it never waits for a
host that is busy, away or dead. A vote depends only on key, sample and f, so the certificate does
not show who counted it (CERTIFICATE 6). Helpers count only under the same `Identity`. The run
passes votes on in order and in whole ranges, so looks see complete prefixes.
"""

import hashlib
import socket
import time
import uuid
from collections import Counter as Count
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from models.log import get_logger
from worker.contract import Identity
from worker.contract.image import Image
from worker.contract.protocol import (
    CountRange,
    OpenSession,
    PromptsTuned,
    RangeCounted,
    SessionOpened,
    TunePrompts,
)
from worker.counting.counter import Counter
from worker.counting.range_merge import Disagreement, RangeMerge, VotesDisagreed, join_parts
from worker.jobs.sharing.disagreements import Disagreements
from worker.jobs.sharing.helpers import Helpers
from worker.jobs.sharing.ranges import BoardGone, RangeBoard, SharedSession

log = get_logger(__name__)

_WAIT_S = 0.5  # for the votes of other hosts, before leases are checked again
_ASK_AGAIN_S = 5.0


def name_host(engine_socket: Path) -> str:
    """Names the engine that counts here. All workers that share it use the same name."""
    host = socket.gethostname()
    where = f"{host} {uuid.getnode()} {engine_socket.absolute()}"
    return f"{host}-{hashlib.sha256(where.encode()).hexdigest()[:8]}"


def cut(wanted: CountRange, shard_samples: int) -> tuple[CountRange, ...]:
    """Splits a range into ranges of at most `shard_samples` samples, in order."""
    starts = range(wanted.start, wanted.stop, shard_samples)
    return tuple(
        wanted.model_copy(update={"start": start, "stop": min(start + shard_samples, wanted.stop)})
        for start in starts
    )


class RangeQueue:
    """The ranges requested from one engine, given back whole and in the same order.

    Args:
        engine: an engine whose session is open.
        identity: the f of the session.
    """

    def __init__(self, engine: Counter, identity: Identity) -> None:
        self._engine, self._batch_size = engine, identity.batch_size
        self._asked: deque[CountRange] = deque()

    @property
    def asked(self) -> tuple[CountRange, ...]:
        """The ranges that were requested and not received."""
        return tuple(self._asked)

    def ask(self, wanted: CountRange) -> None:
        """Requests a range, after those requested before."""
        self._engine.count(wanted)
        self._asked.append(wanted)

    def fill(self, board: RangeBoard) -> None:
        """Leases ranges until the engine has enough work. Errors as `RangeBoard.lease`."""
        while self._has_room and (wanted := board.lease()) is not None:
            self.ask(wanted)

    @property
    def _has_room(self) -> bool:
        """Whether the engine could run out of work before more is leased."""
        ahead = sum(wanted.stop - wanted.start for wanted in list(self._asked)[1:])
        return len(self._asked) < 2 or ahead < self._batch_size

    def receive(self) -> RangeCounted:
        """Waits until the first requested range is counted."""
        parts = [self._engine.receive()]
        while parts[-1].stop < self._asked[0].stop:
            parts.append(self._engine.receive())
        self._asked.popleft()
        return join_parts(parts)


class SharingCounter:
    """A `Counter` that shares long ranges with other hosts. Its own engine counts short ones.

    Args:
        engine: the engine of this host.
        board: the board on which ranges are published.
        helpers: the other workers, asked for help while ranges are open.
        disagreements: the samples that two hosts counted differently. Further ones are kept there
            before anything else happens.
        shard_samples: the most samples in a range. Longer ranges are split and shared.
    """

    _shared_session: SharedSession
    _queue: RangeQueue

    def __init__(
        self,
        engine: Counter,
        board: RangeBoard,
        *,
        helpers: Helpers,
        disagreements: Disagreements,
        shard_samples: int,
    ) -> None:
        self._engine, self._board = engine, board
        self._helpers, self._disagreements = helpers, disagreements
        self._shard_samples, self._merge = shard_samples, RangeMerge(disagreements.known)
        self._shared: dict[tuple[int, str, int], CountRange] = {}  # published, without votes yet
        self._ask_at = 0.0
        self.samples_by_host: Count[str] = Count()

    def open(self, session: OpenSession, image: Image) -> SessionOpened:
        """See `Counter`."""
        opened = self._engine.open(session, image)
        self._shared_session = SharedSession(session=session, identity=opened.identity)
        self._queue = RangeQueue(self._engine, opened.identity)
        return opened

    def tune(self, wanted: TunePrompts, image: Image) -> PromptsTuned:
        """See `Counter`. Only this host tunes; helpers are given the prompts with the session."""
        return self._engine.tune(wanted, image)

    def count(self, wanted: CountRange) -> None:
        """See `Counter`."""
        self._merge.expect(wanted)
        ranges = cut(wanted, self._shard_samples)
        if len(ranges) == 1:
            self._queue.ask(wanted)
        else:
            self._shared |= {_place(one): one for one in ranges}
            self._board.put_up(self._shared_session, ranges)

    def prefetch(self, likely: CountRange) -> None:
        """See `Counter`. Helpers are asked for needed ranges only, so nothing is counted early."""

    def receive(self) -> RangeCounted:
        """See `Counter`.

        Raises:
            VotesDisagreed: another host contradicts votes that were passed on already.
        """
        while (ready := self._merge.deliver()) is None:
            self._work()
        return ready

    def _work(self) -> None:
        """Takes the votes that others counted, then counts a range or waits for theirs."""
        if not self._shared and not self._queue.asked:
            raise LookupError("no range was asked for")
        if self._shared:
            self._take(wait_s=0.0)
            self._lease()
            self._ask()
        if self._queue.asked:
            self._add(self._queue.receive(), self._board.host)
        elif self._shared:
            self._take(wait_s=_WAIT_S)

    def _lease(self) -> None:
        try:
            self._queue.fill(self._board)
            lost = not self._queue.asked and self._board.is_empty()
        except BoardGone:  # Redis lost it, or this host did not renew it in time
            self._board.remove()
            lost = True
        if lost:
            self._put_up_again()

    def _put_up_again(self) -> None:
        """Opens every range whose votes are missing, except those requested from this engine."""
        here = {_place(one) for one in self._queue.asked}
        if missing := [one for place, one in self._shared.items() if place not in here]:
            self._board.put_up(self._shared_session, missing)

    def _ask(self) -> None:
        if time.monotonic() >= self._ask_at:
            self._ask_at = time.monotonic() + _ASK_AGAIN_S
            under_way = len(self._queue.asked)
            self._helpers.ask(self._shared_session.identity, len(self._shared) - under_way)

    def _take(self, *, wait_s: float) -> None:
        for handed_in in self._board.take(wait_s=wait_s):
            self._add(handed_in.counted, handed_in.host, handed_in.fingerprint)

    def _add(self, counted: RangeCounted, host: str, fingerprint: str | None = None) -> None:
        """Adds votes by the f of a host; None: the one of this run."""
        self._board.release(counted)  # also of a range that was counted before, and leased again
        if self._shared.pop(_place(counted), None) is not None:
            self.samples_by_host[host] += counted.stop - counted.start
        own = self._shared_session.identity.fingerprint
        if found := self._merge.add(counted, fingerprint or own or ""):
            self._alarm(found, counted, host)

    def _alarm(self, found: frozenset[Disagreement], counted: RangeCounted, host: str) -> None:
        """Handles two counts of one range of which one is wrong.

        A machine computed wrongly, or tau covers less than what differs between two f.
        """
        log.error(
            "votes_disagree",
            certification_id=self._board.certification_id,
            host=host,
            samples=f"{counted.start} .. {counted.stop - 1}",
            differing=len(found),
        )
        self._disagreements.keep(found)
        if any(map(self._merge.was_delivered, found)):
            raise VotesDisagreed("votes that were looked at are contradicted by another count")


def _place(one: CountRange | RangeCounted) -> tuple[int, str, int]:
    return one.sigma_index, one.phase, one.start


def count_for_others(
    engine: Counter, board: RangeBoard, shared: SharedSession, image: Image
) -> Iterator[RangeCounted]:
    """Counts ranges of a board and hands in their votes, until none is open or the board is gone.

    Counts nothing if this host has another f than the run.
    """
    identity = engine.open(shared.session, image).identity
    if not identity.merges_with(shared.identity):
        log.warning("helper_has_another_identity", host=board.host)
        return
    ranges = RangeQueue(engine, identity)
    with suppress(BoardGone):
        while True:
            ranges.fill(board)
            if not ranges.asked:
                return
            counted = ranges.receive()
            board.hand_in(counted, identity.fingerprint)
            yield counted
