"""The votes of one request while it runs: complete prefixes, and the looks made at them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from worker.certification import Goal, Looks, Phase, Procedure, Tally
from worker.certification.merkle import VoteTree
from worker.contract import CertifyRequest, Identity
from worker.engine.protocol import CountRange, RangeCounted
from worker.results import Checkpoint, StoredTally
from worker.votes_store import Votes, votes_stream

PHASES: tuple[Phase, ...] = ("selection", "estimation")
Stream = tuple[int, Phase]


class VotesOutOfOrder(RuntimeError):
    """A counted range does not continue the prefix counted so far."""


@dataclass(kw_only=True, eq=False)
class _Counted:
    """One target's votes in one stream: the prefix, its tree, and the looks made on the way.

    `root` is the tree's at the last look; `fresh` are votes not drained yet.
    """

    prefix: Tally
    tree: VoteTree = field(default_factory=VoteTree)
    looks: tuple[Tally, ...] = ()
    root: str = ""
    fresh: list[int] = field(default_factory=list)


class Board:
    """A complete prefix for each noise level, phase and target, cut exactly at every look.

    Args:
        request: what is certified.
        procedure: decides, for each noise level and target, up to where to count next.
        roll: names the noise: the canonical request under one key secret.
    """

    def __init__(self, request: CertifyRequest, procedure: Procedure, roll: str) -> None:
        self._request, self._roll = request, roll
        self.procedure = procedure
        sizes = [len(target.class_names) for target in request.targets]
        self._counted: dict[Stream, list[_Counted]] = {
            (sigma_index, phase): [_Counted(prefix=Tally.empty(size)) for size in sizes]
            for sigma_index in range(len(request.sigmas))
            for phase in PHASES
        }
        self._asked: dict[Stream, int] = dict.fromkeys(self._counted, 0)

    @property
    def samples_done(self) -> int:
        """Samples counted, over all noise levels and phases."""
        return sum(targets[0].prefix.n for targets in self._counted.values())

    def looks(self, sigma_index: int, target_index: int) -> Looks:
        """The looks made on one certificate, by phase."""
        return {phase: self._counted[sigma_index, phase][target_index].looks for phase in PHASES}

    def roots(self, sigma_index: int, target_index: int) -> dict[str, str]:
        """The Merkle roots over the votes that one certificate rests on, by phase."""
        counted = {phase: self._counted[sigma_index, phase][target_index] for phase in PHASES}
        return {phase: one.root for phase, one in counted.items() if one.looks}

    def wanted(self) -> Iterator[CountRange]:
        """Ranges that procedures need next and that nobody was asked for yet."""
        for sigma_index in range(len(self._request.sigmas)):
            for goal in self._goals(sigma_index):
                stream = (sigma_index, goal.phase)
                start = self._asked[stream]
                if start < goal.n:
                    self._asked[stream] = goal.n
                    yield CountRange(
                        sigma_index=sigma_index, phase=goal.phase, start=start, stop=goal.n
                    )

    @property
    def complete(self) -> bool:
        """Whether every procedure has seen enough."""
        return not any(self._goals(i) for i in range(len(self._request.sigmas)))

    def _goals(self, sigma_index: int) -> set[Goal]:
        """The next looks at one noise level. All targets share the schedule, so one a phase."""
        return {
            goal
            for place in range(len(self._request.targets))
            for goal in self._target_goals(sigma_index, place)
        }

    def _target_goals(self, sigma_index: int, place: int) -> tuple[Goal, ...]:
        sigma = float(self._request.sigmas[sigma_index])
        return self.procedure.find_goals(self.looks(sigma_index, place), sigma=sigma)

    def add(self, counted: RangeCounted) -> None:
        """Adds the votes of the range that follows the prefix counted so far.

        Raises:
            VotesOutOfOrder: a range is missing, repeated, beyond a look, or counts other than its
                samples.
        """
        stream = (counted.sigma_index, counted.phase)
        if counted.stop > self._asked[stream]:
            raise VotesOutOfOrder(f"{counted} goes beyond {self._asked[stream]} samples asked for")
        for place, (counts, ambiguous) in enumerate(
            zip(counted.counts, counted.ambiguous, strict=True)
        ):
            one = self._counted[stream][place]
            votes = Tally(counts=counts, ambiguous=ambiguous)
            if (one.prefix.n, votes.n) != (counted.start, counted.stop - counted.start):
                raise VotesOutOfOrder(f"{counted} does not follow {one.prefix.n} samples")
            one.prefix += votes
            single = counted.get_votes(place)
            one.tree = one.tree.appended(single)
            one.fresh.extend(single)
            if one.tree.n != one.prefix.n:
                raise VotesOutOfOrder(f"{counted} carries another number of votes than samples")
        self._look(stream)

    def _look(self, stream: Stream) -> None:
        """Makes the looks that are due at the prefix just reached."""
        sigma_index, phase = stream
        for place, one in enumerate(self._counted[stream]):
            due = Goal(phase=phase, n=one.prefix.n)
            if due in self._target_goals(sigma_index, place):
                one.looks, one.root = (*one.looks, one.prefix), one.tree.root

    def drain_votes(self) -> Iterator[Votes]:
        """The single votes added since the last call."""
        for (sigma_index, phase), targets in self._counted.items():
            for place, one in enumerate(targets):
                if one.fresh:
                    stream = votes_stream(self._request.sigmas[sigma_index], phase, place)
                    start = one.prefix.n - len(one.fresh)
                    yield Votes(stream=stream, start=start, votes=tuple(one.fresh))
                    one.fresh.clear()

    def checkpoints(self, identity: Identity) -> dict[str, Checkpoint]:
        """The prefixes and looks so far, by stream."""
        return {
            self._name(*stream): Checkpoint(
                roll=self._roll,
                identity=identity,
                prefixes=tuple(StoredTally.of(one.prefix) for one in targets),
                looks=tuple(tuple(map(StoredTally.of, one.looks)) for one in targets),
                peaks=tuple(tuple(peak.hex() for peak in one.tree.peaks) for one in targets),
                roots=tuple(one.root for one in targets),
            )
            for stream, targets in self._counted.items()
            if targets[0].prefix.n > 0
        }

    def resume(self, checkpoints: Mapping[str, Checkpoint], identity: Identity) -> None:
        """Takes up stored prefixes of the same noise and the same f; others are counted again."""
        for stream, targets in self._counted.items():
            stored = checkpoints.get(self._name(*stream))
            if stored is None or (stored.roll, stored.identity) != (self._roll, identity):
                continue
            for place, one in enumerate(targets):
                one.prefix = stored.prefixes[place].tally
                one.looks = tuple(look.tally for look in stored.looks[place])
                peaks = tuple(bytes.fromhex(peak) for peak in stored.peaks[place])
                one.tree = VoteTree(n=one.prefix.n, peaks=peaks)
                one.root = stored.roots[place]
            self._asked[stream] = targets[0].prefix.n

    def _name(self, sigma_index: int, phase: Phase) -> str:
        return f"{phase}:{self._request.sigmas[sigma_index]:f}"
