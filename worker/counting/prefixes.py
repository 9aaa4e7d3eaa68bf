"""The votes of one request while it runs: complete prefixes, and the looks made at them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from worker.certification import Contest, Goal, Looks, Phase, Procedure, Tally
from worker.certification.merkle import VoteTree
from worker.contract import CertifyRequest, Identity
from worker.contract.protocol import CountRange, RangeCounted
from worker.contract.votes import Checkpoint, Passed, Votes, votes_stream
from worker.counting.contests import PHASES, create_places

Stream = tuple[int, Phase]


class VotesOutOfOrder(RuntimeError):
    """A counted range does not continue the counted prefix."""


@dataclass(kw_only=True, eq=False)
class _Counted:
    """The votes on one ballot in one stream: the prefix, its tree and the looks made so far.

    `root` is the root of the tree at the last look. `passed` are all planned looks up to the
    prefix; those made are the first of them. `fresh` are votes that were not drained yet.
    """

    prefix: Tally
    tree: VoteTree = field(default_factory=VoteTree)
    looks: tuple[Tally, ...] = ()
    root: str = ""
    passed: tuple[Passed, ...] = ()
    fresh: list[int] = field(default_factory=list)


class Board:
    """A complete prefix for each noise level, phase and ballot, which stops at every look.

    Args:
        request: what is certified.
        contests: one per target. It has the ballots and decides how far to count next.
        roll: names the noise, by the canonical request and the key secret, and what is ambiguous on
            it. It changes when hosts disagree on a sample that is in no prefix yet.
    """

    def __init__(self, request: CertifyRequest, contests: Sequence[Contest], roll: str) -> None:
        self._request, self.roll = request, roll
        self.contests = tuple(contests)
        self._places = create_places(contests)
        sizes = [size for contest in contests for size in contest.options]
        self._counted: dict[Stream, list[_Counted]] = {
            (sigma_index, phase): [_Counted(prefix=Tally.empty(size)) for size in sizes]
            for sigma_index in range(len(request.sigmas))
            for phase in PHASES
        }
        self._asked: dict[Stream, int] = dict.fromkeys(self._counted, 0)
        self._prefetched: dict[Stream, int] = {}

    @property
    def samples_done(self) -> int:
        """Passes of the image tower: samples, and the copies that prompts were tuned on."""
        counted = sum(ballots[0].prefix.n for ballots in self._counted.values())
        return counted + len(self._request.sigmas) * self._request.copies

    def looks(self, sigma_index: int, target_index: int) -> tuple[Looks, ...]:
        """The looks made for one certificate: for each of its ballots, by phase."""
        return tuple(self._ballot_looks(sigma_index, place) for place in self._places[target_index])

    def _ballot_looks(self, sigma_index: int, place: int) -> Looks:
        return {phase: self._counted[sigma_index, phase][place].looks for phase in PHASES}

    def tallies(self, sigma_index: int, target_index: int) -> tuple[Tally, ...]:
        """For each ballot of one certificate, the votes that bounds would be computed from."""
        ballots = self._counted[sigma_index, "estimation"]
        return tuple(ballots[place].prefix for place in self._places[target_index])

    def roots(self, sigma_index: int, target_index: int) -> tuple[dict[Phase, str], ...]:
        """The Merkle roots over the votes of one certificate: for each of its ballots, by phase."""
        return tuple(
            {
                phase: one.root
                for phase in PHASES
                if (one := self._counted[sigma_index, phase][place]).looks
            }
            for place in self._places[target_index]
        )

    def wanted(self) -> Iterator[CountRange]:
        """The ranges that procedures need next and that were not requested yet."""
        for sigma_index in range(len(self._request.sigmas)):
            for goal in self._goals(sigma_index):
                stream = (sigma_index, goal.phase)
                start = self._asked[stream]
                if start < goal.n:
                    self._asked[stream] = goal.n
                    yield CountRange(
                        sigma_index=sigma_index, phase=goal.phase, start=start, stop=goal.n
                    )

    def prefetchable(self, samples: int) -> Iterator[CountRange]:
        """Ranges that procedures may need after those requested, about `samples` samples long.

        Each range lies within one look and is yielded once. All ballots share the schedule.
        """
        planned = self.contests[0].procedure.planned
        for stream, asked in self._asked.items():
            sigma_index, phase = stream
            until = asked + samples if asked else 0  # nothing before a stream has begun
            start = max(asked, self._prefetched.get(stream, 0))
            for look in planned[phase]:
                stop = min(look, until)
                if start < stop:
                    yield CountRange(
                        sigma_index=sigma_index, phase=phase, start=start, stop=stop, ahead=True
                    )
                    self._prefetched[stream] = start = stop

    @property
    def complete(self) -> bool:
        """Whether every procedure can decide."""
        return not any(self._goals(i) for i in range(len(self._request.sigmas)))

    def _goals(self, sigma_index: int) -> set[Goal]:
        """The next looks at one noise level: one per phase, for all ballots share the schedule."""
        sigma = float(self._request.sigmas[sigma_index])
        return {
            goal
            for target_index, contest in enumerate(self.contests)
            for goal in contest.find_goals(self.looks(sigma_index, target_index), sigma=sigma)
        }

    def add(self, counted: RangeCounted) -> None:
        """Adds the votes of the range that follows the prefix counted so far.

        Raises:
            VotesOutOfOrder: a range is missing, repeated or beyond a look, or its counts do not
                add up to its samples.
        """
        stream = (counted.sigma_index, counted.phase)
        if counted.stop > self._asked[stream]:
            raise VotesOutOfOrder(f"{counted} goes beyond {self._asked[stream]} samples asked for")
        for place, votes in enumerate(counted.tallies):
            one = self._counted[stream][place]
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
        """Makes the looks that are due at the current prefix."""
        for procedure, place in self._judges():
            one = self._counted[stream][place]
            if one.prefix.n in procedure.planned[stream[1]]:
                one.passed = (*one.passed, Passed(tally=one.prefix, root=one.tree.root))
            self._catch_up(stream, place, procedure)

    def _catch_up(self, stream: Stream, place: int, procedure: Procedure) -> None:
        """Makes the looks of one ballot that are due, each on the votes as they were there.

        There is one at most, except where a request goes on: then there are those that other
        ballots went past after this one's looks had ended.
        """
        sigma_index, phase = stream
        sigma, one = float(self._request.sigmas[sigma_index]), self._counted[stream][place]
        for passed in one.passed[len(one.looks) :]:
            due = Goal(phase=phase, n=passed.tally.n)
            if due not in procedure.find_goals(self._ballot_looks(sigma_index, place), sigma=sigma):
                return
            one.looks, one.root = (*one.looks, passed.tally), passed.root

    def _judges(self) -> Iterator[tuple[Procedure, int]]:
        """For each ballot, the procedure that decides on its looks, and its place."""
        for contest, places in zip(self.contests, self._places, strict=True):
            for place in places:
                yield contest.procedure, place

    def drain_votes(self) -> Iterator[Votes]:
        """The single votes added since the last call."""
        for (sigma_index, phase), ballots in self._counted.items():
            for place, one in enumerate(ballots):
                if one.fresh:
                    stream = votes_stream(self._request.sigmas[sigma_index], phase, place)
                    start = one.prefix.n - len(one.fresh)
                    yield Votes(stream=stream, start=start, votes=tuple(one.fresh))
                    one.fresh.clear()

    def checkpoints(self, identity: Identity) -> dict[str, Checkpoint]:
        """The prefixes and looks so far, by stream."""
        return {
            self._name(*stream): Checkpoint(
                roll=self.roll,
                identity=identity,
                prefixes=tuple(one.prefix for one in ballots),
                looks=tuple(one.looks for one in ballots),
                peaks=tuple(tuple(peak.hex() for peak in one.tree.peaks) for one in ballots),
                roots=tuple(one.root for one in ballots),
                passed=tuple(one.passed for one in ballots) if self._may_go_on else (),
            )
            for stream, ballots in self._counted.items()
            if ballots[0].prefix.n > 0
        }

    def resume(self, checkpoints: Mapping[str, Checkpoint], identity: Identity) -> None:
        """Continues stored prefixes of the same noise and the same f. Others are counted again."""
        for stream, ballots in self._counted.items():
            stored = checkpoints.get(self._name(*stream))
            if stored is None or stored.roll != self.roll:
                continue
            if not stored.identity.merges_with(identity):
                continue
            for place, one in enumerate(ballots):
                one.prefix = stored.prefixes[place]
                one.looks = stored.looks[place]
                peaks = tuple(bytes.fromhex(peak) for peak in stored.peaks[place])
                one.tree = VoteTree(n=one.prefix.n, peaks=peaks)
                one.root = stored.roots[place]
                one.passed = (
                    stored.passed[place]
                    if stored.passed
                    else tuple(Passed(tally=look, root=one.root) for look in one.looks)
                )
            self._asked[stream] = ballots[0].prefix.n
            for procedure, place in self._judges():
                self._catch_up(stream, place, procedure)

    @property
    def _may_go_on(self) -> bool:
        return getattr(self._request.procedure, "n_cap", None) is not None

    def _name(self, sigma_index: int, phase: Phase) -> str:
        return f"{phase}:{self._request.sigmas[sigma_index]:f}"
