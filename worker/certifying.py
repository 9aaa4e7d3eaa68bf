"""One request from counts to certificates: asks for samples, adds votes, lets procedures decide.

Runs wherever a `Counter` is: in RQ's work-horses over a socket, in the command line in process.
"""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Protocol

from worker.canonical import canonical_bytes
from worker.certification import Cohen, Goal, Phase, Tally
from worker.contract import CertifyRequest, Identity, Target
from worker.document import (
    AbstainedDocument,
    CertifiedDocument,
    FinishedResult,
    Provenance,
    create_certificate,
)
from worker.engine.protocol import (
    CountRange,
    OpenSession,
    PhaseKey,
    RangeCounted,
    SessionOpened,
)
from worker.images_store import Image
from worker.results import Checkpoint
from worker.sampling.keys import commitment, derive_key

PHASES: tuple[Phase, ...] = ("selection", "estimation")
SAMPLER = "philox4x64-10/rounded-gaussian-255/1"


class Counter(Protocol):
    """Counts votes: an engine behind a socket, or one in this process."""

    def open(self, session: OpenSession, image: Image) -> SessionOpened:
        """Opens a session for one image."""

    def count(self, wanted: CountRange) -> None:
        """Asks for a range of samples."""

    def receive(self) -> RangeCounted:
        """The next counted range; those of one noise level and phase come in order."""


class VotesOutOfOrder(RuntimeError):
    """A counted range does not continue the prefix counted so far."""


class Board:
    """The votes of one request: a complete prefix for each noise level, phase and target."""

    def __init__(self, request: CertifyRequest) -> None:
        self._request = request
        self.procedure = Cohen(
            n0=request.procedure.n0, n=request.procedure.n, alpha=float(request.alpha)
        )
        empty = [Tally.empty(len(target.class_names)) for target in request.targets]
        streams = [(i, phase) for i in range(len(request.sigmas)) for phase in PHASES]
        self._tallies = {stream: list(empty) for stream in streams}
        self._asked = dict.fromkeys(streams, 0)

    @property
    def samples_done(self) -> int:
        """Samples counted, over all noise levels and phases."""
        return sum(tallies[0].n for tallies in self._tallies.values())

    def resume(self, checkpoints: Mapping[str, Checkpoint], identity: Identity) -> None:
        """Takes up stored prefixes counted by the same f; others are counted again."""
        for (sigma_index, phase), tallies in self._tallies.items():
            stored = checkpoints.get(self._name(sigma_index, phase))
            if stored is None or stored.identity != identity:
                continue
            for place, counts in enumerate(stored.counts):
                tallies[place] = Tally(counts=counts, ambiguous=stored.ambiguous[place])
            self._asked[sigma_index, phase] = tallies[0].n

    def checkpoints(self, identity: Identity) -> dict[str, Checkpoint]:
        """The prefixes counted so far, by stream."""
        return {
            self._name(*stream): Checkpoint(
                identity=identity,
                counts=tuple(tally.counts for tally in tallies),
                ambiguous=tuple(tally.ambiguous for tally in tallies),
            )
            for stream, tallies in self._tallies.items()
            if tallies[0].n > 0
        }

    def _name(self, sigma_index: int, phase: Phase) -> str:
        return f"{phase}:{self._request.sigmas[sigma_index]:f}"

    def wanted(self) -> Iterator[CountRange]:
        """Ranges that procedures still need and that nobody was asked for yet."""
        for sigma_index in range(len(self._request.sigmas)):
            for goal in self._open_goals(sigma_index):
                stream = (sigma_index, goal.phase)
                start = self._asked[stream]
                if start < goal.n:
                    self._asked[stream] = goal.n
                    yield CountRange(
                        sigma_index=sigma_index, phase=goal.phase, start=start, stop=goal.n
                    )

    def _open_goals(self, sigma_index: int) -> set[Goal]:
        places = range(len(self._request.targets))
        found = (self.procedure.find_open_goals(self.tallies(sigma_index, p)) for p in places)
        return {goal for goals in found for goal in goals}

    @property
    def complete(self) -> bool:
        """Whether every procedure has all it asked for."""
        return not any(self._open_goals(i) for i in range(len(self._request.sigmas)))

    def tallies(self, sigma_index: int, target_index: int) -> dict[Phase, Tally]:
        """The votes on one certificate, by phase."""
        return {phase: self._tallies[sigma_index, phase][target_index] for phase in PHASES}

    def add(self, counted: RangeCounted) -> None:
        """Adds the votes of the range that follows the prefix counted so far.

        Raises:
            VotesOutOfOrder: a range is missing, repeated, or counts other than its samples.
        """
        tallies = self._tallies[counted.sigma_index, counted.phase]
        for place, (counts, ambiguous) in enumerate(
            zip(counted.counts, counted.ambiguous, strict=True)
        ):
            votes = Tally(counts=counts, ambiguous=ambiguous)
            if (tallies[place].n, votes.n) != (counted.start, counted.stop - counted.start):
                raise VotesOutOfOrder(f"{counted} does not follow {tallies[place].n} samples")
            tallies[place] += votes


def certify(
    request: CertifyRequest,
    image: Image,
    *,
    counter: Counter,
    secret: bytes,
    attempts: int,
    checkpoints: Mapping[str, Checkpoint] | None = None,
    on_votes: Callable[[Board, Identity], None] = lambda _board, _identity: None,
) -> FinishedResult:
    """The certificates of one image: one per noise level and target, all fixed in `request`.

    The same request, image and secret give the same certificates, however often this was
    interrupted and resumed.

    Args:
        request: everything that is fixed before the noise key is derived.
        image: the prepared image, uint8 (3, H, W).
        counter: where votes come from.
        secret: the server's key secret.
        attempts: how many canonical requests were rolled for this image, this one included.
        checkpoints: stored prefixes of an interrupted run.
        on_votes: called after every counted range.
    """
    opened = counter.open(_session(request, secret), image)
    board = Board(request)
    board.resume(checkpoints or {}, opened.identity)
    while not board.complete:
        for wanted in board.wanted():
            counter.count(wanted)
        board.add(counter.receive())
        on_votes(board, opened.identity)
    return _conclude(request, board, opened, secret, attempts)


def _session(request: CertifyRequest, secret: bytes) -> OpenSession:
    canonical = canonical_bytes(request.identity())
    keys = {phase: derive_key(secret, canonical, phase) for phase in PHASES}
    return OpenSession(
        model=request.model,
        height=request.input.height,
        width=request.input.width,
        targets=request.targets,
        sigmas=request.sigmas,
        keys=tuple(PhaseKey(phase=p, low=key.low, high=key.high) for p, key in keys.items()),
    )


def _conclude(
    request: CertifyRequest, board: Board, opened: SessionOpened, secret: bytes, attempts: int
) -> FinishedResult:
    def certificate(
        sigma_index: int, sigma: Decimal, place: int, target: Target
    ) -> CertifiedDocument | AbstainedDocument:
        tallies = board.tallies(sigma_index, place)
        outcome = board.procedure.decide(tallies, sigma=float(sigma))
        return create_certificate(
            request, target, sigma, outcome=outcome, tallies=tallies, attempts=attempts
        )

    identity = opened.identity
    return FinishedResult(
        model=request.model,
        input=request.input,
        certificates=tuple(
            certificate(i, sigma, place, target)
            for i, sigma in enumerate(request.sigmas)
            for place, target in enumerate(request.targets)
        ),
        provenance=Provenance(
            sampler=SAMPLER,
            key_commitment=commitment(secret),
            table_sha256=opened.table_sha256,
            **identity.model_dump(exclude={"model", "architecture"}),
        ),
    )
