"""One certification counted by several hosts: the run that wants votes, and those that help it.

The run puts ranges of samples up on a board and goes on counting them itself, so nothing waits for
a host that is busy, away or dead. A vote depends on key, sample and f alone, so who counted it
cannot be seen in the certificate (CERTIFICATE 6). Helpers count under the same `Identity` or not at
all; the run gives votes on in order, whole ranges at a time, so looks see complete prefixes.
"""

import hashlib
import logging
import socket
import time
import uuid
from collections import Counter as Count
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

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
from worker.counting.range_merge import Doubt, RangeMerge, VotesDoubted, join_parts
from worker.jobs.sharing.ranges import BoardGone, Posting, RangeBoard

log = logging.getLogger(__name__)

_WAIT_S = 0.5  # for votes of others, before leases are looked at again
_ASK_AGAIN_S = 5.0


def name_host(engine_socket: Path) -> str:
    """Names the engine that counts here: the same for all workers that share it."""
    host = socket.gethostname()
    where = f"{host} {uuid.getnode()} {engine_socket.absolute()}"
    return f"{host}-{hashlib.sha256(where.encode()).hexdigest()[:8]}"


def cut(wanted: CountRange, shard_samples: int) -> tuple[CountRange, ...]:
    """A range in ranges of at most `shard_samples`, in order."""
    starts = range(wanted.start, wanted.stop, shard_samples)
    return tuple(
        wanted.model_copy(update={"start": start, "stop": min(start + shard_samples, wanted.stop)})
        for start in starts
    )


class Desk:
    """Ranges that one engine is asked for, given back whole and in the order they were asked for.

    Args:
        engine: with its session open.
        identity: the f of that session.
    """

    def __init__(self, engine: Counter, identity: Identity) -> None:
        self._engine, self._batch_size = engine, identity.batch_size
        self._asked: deque[CountRange] = deque()

    @property
    def asked(self) -> tuple[CountRange, ...]:
        """The ranges under way."""
        return tuple(self._asked)

    def ask(self, wanted: CountRange) -> None:
        """Asks for a range, after those that were asked for."""
        self._engine.count(wanted)
        self._asked.append(wanted)

    def fill(self, board: RangeBoard) -> None:
        """Leases ranges until the engine has enough to do. BoardGone as `RangeBoard.lease`."""
        while self._has_room and (wanted := board.lease()) is not None:
            self.ask(wanted)

    @property
    def _has_room(self) -> bool:
        """Whether the engine could end the range under way and a batch, and then wait for us."""
        ahead = sum(wanted.stop - wanted.start for wanted in list(self._asked)[1:])
        return len(self._asked) < 2 or ahead < self._batch_size

    def receive(self) -> RangeCounted:
        """Waits until the first range under way is counted."""
        parts = [self._engine.receive()]
        while parts[-1].stop < self._asked[0].stop:
            parts.append(self._engine.receive())
        self._asked.popleft()
        return join_parts(parts)


class SharingCounter:
    """A `Counter` that shares long ranges with other hosts; short ones stay with its engine.

    Args:
        engine: counts here.
        board: where ranges are put up.
        shard_samples: the most samples in a range; a longer one is cut and shared.
        merge: of this run.
        ask_for_help: called with the f and the number of ranges that nobody counts yet.
        keep_doubts: called, before anything else happens, with samples that two hosts counted
            differently.
    """

    _posting: Posting
    _desk: Desk

    def __init__(
        self,
        engine: Counter,
        board: RangeBoard,
        *,
        shard_samples: int,
        merge: RangeMerge,
        ask_for_help: Callable[[Identity, int], object],
        keep_doubts: Callable[[frozenset[Doubt]], None],
    ) -> None:
        self._engine, self._board = engine, board
        self._shard_samples, self._merge = shard_samples, merge
        self._ask_for_help, self._keep_doubts = ask_for_help, keep_doubts
        self._shared: dict[tuple[int, str, int], CountRange] = {}  # put up, no votes yet
        self._ask_at = 0.0
        self.samples_by_host: Count[str] = Count()

    def open(self, session: OpenSession, image: Image) -> SessionOpened:
        """See `Counter`."""
        opened = self._engine.open(session, image)
        self._posting = Posting(session=session, identity=opened.identity)
        self._desk = Desk(self._engine, opened.identity)
        return opened

    def tune(self, wanted: TunePrompts, image: Image) -> PromptsTuned:
        """See `Counter`. Tuned here alone; helpers get the prompts with the session."""
        return self._engine.tune(wanted, image)

    def count(self, wanted: CountRange) -> None:
        """See `Counter`."""
        self._merge.expect(wanted)
        ranges = cut(wanted, self._shard_samples)
        if len(ranges) == 1:
            self._desk.ask(wanted)
        else:
            self._shared |= {_place(one): one for one in ranges}
            self._board.put_up(self._posting, ranges)

    def foresee(self, likely: CountRange) -> None:
        """See `Counter`. Other hosts are asked for what is wanted, and nothing is counted early."""

    def receive(self) -> RangeCounted:
        """See `Counter`.

        Raises:
            VotesDoubted: another host contradicts votes that were given on already.
        """
        while (ready := self._merge.deliver()) is None:
            self._work()
        return ready

    def _work(self) -> None:
        """Takes in what others counted, and counts a range or waits for them."""
        if not self._shared and not self._desk.asked:
            raise LookupError("no range was asked for")
        if self._shared:
            self._take(wait_s=0.0)
            self._lease()
            self._ask()
        if self._desk.asked:
            self._add(self._desk.receive(), self._board.host)
        elif self._shared:
            self._take(wait_s=_WAIT_S)

    def _lease(self) -> None:
        try:
            self._desk.fill(self._board)
        except BoardGone:  # Redis lost it, or did not hear of us for too long
            self._board.remove()
            here = {_place(one) for one in self._desk.asked}
            if missing := [one for place, one in self._shared.items() if place not in here]:
                self._board.put_up(self._posting, missing)

    def _ask(self) -> None:
        if time.monotonic() >= self._ask_at:
            self._ask_at = time.monotonic() + _ASK_AGAIN_S
            under_way = len(self._desk.asked)
            self._ask_for_help(self._posting.identity, len(self._shared) - under_way)

    def _take(self, *, wait_s: float) -> None:
        for handed_in in self._board.take(wait_s=wait_s):
            self._add(handed_in.counted, handed_in.host)

    def _add(self, counted: RangeCounted, host: str) -> None:
        if self._shared.pop(_place(counted), None) is not None:
            self._board.release(counted)
            self.samples_by_host[host] += counted.stop - counted.start
        if doubts := self._merge.add(counted):
            self._alarm(doubts, counted, host)

    def _alarm(self, doubts: frozenset[Doubt], counted: RangeCounted, host: str) -> None:
        """Two counts of one range disagree: some machine computed wrongly."""
        fields = {
            "certification_id": self._board.certification_id,
            "host": host,
            "samples": f"{counted.start} .. {counted.stop - 1}",
            "differing": len(doubts),
        }
        log.error("votes_disagree", extra={"fields": fields})
        self._keep_doubts(doubts)
        if any(map(self._merge.was_delivered, doubts)):
            raise VotesDoubted("votes that were looked at are contradicted by another count")


def _place(one: CountRange | RangeCounted) -> tuple[int, str, int]:
    return one.sigma_index, one.phase, one.start


def count_for_others(
    engine: Counter, board: RangeBoard, posting: Posting, image: Image
) -> Iterator[RangeCounted]:
    """Counts ranges of a board and hands them in, until none is open or the board is gone.

    Counts nothing where the f here is not the one whose votes are wanted.
    """
    identity = engine.open(posting.session, image).identity
    if identity != posting.identity:
        log.warning("helper_has_another_identity", extra={"fields": {"host": board.host}})
        return
    desk = Desk(engine, identity)
    with suppress(BoardGone):
        while True:
            desk.fill(board)
            if not desk.asked:
                return
            counted = desk.receive()
            board.hand_in(counted)
            yield counted
