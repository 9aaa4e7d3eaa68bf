"""One request from counts to certificates: asks for samples, adds votes, lets procedures decide.

Runs wherever a `Counter` is: in RQ's work-horses over a socket, in the command line in process.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Protocol

from worker.board import PHASES, Board
from worker.canonical import canonical_bytes
from worker.certification import Cohen, Phase, Procedure, Staged, StoppingRule
from worker.contract import (
    CertifyRequest,
    CohenParameters,
    Identity,
    StagedParameters,
    Target,
)
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
from worker.results import Checkpoint, request_sha256
from worker.sampling.keys import commitment, derive_key
from worker.sampling.words import NoiseKey


class Counter(Protocol):
    """Counts votes: an engine behind a socket, or one in this process."""

    def open(self, session: OpenSession, image: Image) -> SessionOpened:
        """Opens a session for one image."""

    def count(self, wanted: CountRange) -> None:
        """Asks for a range of samples."""

    def receive(self) -> RangeCounted:
        """The next counted range; those of one noise level and phase come in order."""


def create_procedure(request: CertifyRequest) -> Procedure:
    """The procedure of each of a request's certificates, at its own share of alpha."""
    match request.procedure:
        case CohenParameters(n0=n0, n=n):
            return Cohen(n0=n0, n=n, alpha=request.alpha_each)
        case StagedParameters() as asked:
            rule = StoppingRule(
                target_radius=_find_float(asked.target_radius),
                tolerance=float(asked.tolerance),
                minimum_radius=_find_float(asked.minimum_radius),
            )
            return Staged(n_max=asked.n_max, alpha=request.alpha_each, rule=rule)


def _find_float(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def certify(
    request: CertifyRequest,
    image: Image,
    *,
    counter: Counter,
    secret: bytes,
    count_attempt: Callable[[], int],
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
        count_attempt: registers this roll for the image, once its votes can be counted, and says
            the how-manieth it is.
        checkpoints: stored prefixes of an interrupted run.
        on_votes: called after every counted range.
    """
    session = create_session(request, derive_keys(request, secret))
    opened = counter.open(session, image)
    attempts = count_attempt()
    roll = request_sha256(request, commitment(secret))
    board = Board(request, create_procedure(request), roll)
    board.resume(checkpoints or {}, opened.identity)
    while not board.complete:
        for wanted in board.wanted():
            counter.count(wanted)
        board.add(counter.receive())
        on_votes(board, opened.identity)
    return _conclude(request, board, opened, secret, attempts)


def derive_keys(request: CertifyRequest, secret: bytes) -> dict[Phase, NoiseKey]:
    """The noise key of each phase of a request."""
    canonical = canonical_bytes(request.identity())
    return {phase: derive_key(secret, canonical, phase) for phase in PHASES}


def create_session(request: CertifyRequest, keys: Mapping[Phase, NoiseKey]) -> OpenSession:
    """What an engine needs to count a request's votes."""
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
        looks = board.looks(sigma_index, place)
        return create_certificate(
            request,
            target,
            sigma,
            procedure=board.procedure,
            looks=looks,
            roots=board.roots(sigma_index, place),
            attempts=attempts,
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
            sampler="philox4x64-10/rounded-gaussian-255/1",
            key_commitment=commitment(secret),
            noise_keys={phase: key.text for phase, key in derive_keys(request, secret).items()},
            table_sha256=opened.table_sha256,
            **identity.model_dump(exclude={"model", "architecture"}),
        ),
    )
