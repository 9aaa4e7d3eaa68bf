"""One request from counts to certificates: asks for samples, adds votes, lets procedures decide.

Runs wherever a `Counter` is: in RQ's work-horses over a socket, in the command line in process.
"""

from collections.abc import Callable, Mapping

from models.prompts.prompt import Prompt
from worker.certification import Phase
from worker.contract import CertifyRequest, Identity
from worker.contract.certificate.document import (
    AbstainedDocument,
    CertifiedDocument,
    FinishedResult,
    Provenance,
)
from worker.contract.image import Image
from worker.contract.protocol import PromptsTuned, SessionOpened
from worker.contract.request import canonical_bytes, request_sha256
from worker.contract.votes import Checkpoint
from worker.counting.certificates import Counted, create_certificate
from worker.counting.contests import PHASES, create_contests
from worker.counting.counter import Counter
from worker.counting.prefetch import Foresight
from worker.counting.prefixes import Board
from worker.counting.sessions import (
    NOTHING_TUNED,
    create_session,
    create_tuning,
    find_prompts,
    find_tuned,
)
from worker.sampling.keys import KeyPurpose, commitment, derive_key
from worker.sampling.words import NoiseKey

FindPrompt = Callable[[str], Prompt | None]
"""The prompt with a digest, or None."""

KeepTuned = Callable[[Callable[[], PromptsTuned]], PromptsTuned]
"""What was kept before, else what is made now, which is then kept."""


def certify(
    request: CertifyRequest,
    image: Image,
    *,
    counter: Counter,
    secret: bytes,
    count_attempt: Callable[[], int],
    find_prompt: FindPrompt = lambda _: None,
    keep_tuned: KeepTuned = lambda create: create(),
    checkpoints: Mapping[str, Checkpoint] | None = None,
    doubts: int = 0,
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
        find_prompt: the stored prompts, by digest.
        keep_tuned: returns the tuned prompts of this roll that are kept, else makes and keeps them.
            That is before the first word of certification noise: what is certified is frozen.
        checkpoints: stored prefixes of an interrupted run.
        doubts: how many samples `counter` takes for ambiguous because two hosts disagreed on them;
            prefixes that were counted when there were fewer are counted again.
        on_votes: called after every counted range.

    Raises:
        PromptMissing: a prompt that the request names is not stored.
    """
    prompts = find_prompts(request, find_prompt)
    tuned = NOTHING_TUNED
    if request.tuned_targets:
        tuned = keep_tuned(
            lambda: counter.tune(
                create_tuning(request, prompts, derive_tuning_key(request, secret)), image
            )
        )
    keys = derive_keys(request, secret)
    opened = counter.open(create_session(request, prompts, tuned, keys), image)
    attempts = count_attempt()
    roll = request_sha256(request, commitment(secret))
    board = Board(request, create_contests(request), f"{roll}+{doubts}" if doubts else roll)
    board.resume(checkpoints or {}, opened.identity)
    votes = Foresight(counter)
    while not board.complete:
        for wanted in board.wanted():
            votes.count(wanted)
        for likely in board.foreseen(opened.identity.batch_size):
            votes.foresee(likely)
        board.add(votes.receive())
        on_votes(board, opened.identity)
    return _conclude(request, board, opened, tuned, secret, attempts)


def derive_keys(request: CertifyRequest, secret: bytes) -> dict[Phase, NoiseKey]:
    """The noise key of each phase of a request."""
    canonical = canonical_bytes(request.identity())
    return {phase: derive_key(secret, canonical, phase) for phase in PHASES}


def derive_tuning_key(request: CertifyRequest, secret: bytes) -> NoiseKey:
    """The key of the noisy copies that prompts are tuned on; no vote is counted on its noise."""
    return derive_key(secret, canonical_bytes(request.identity()), "adaptation")


def _conclude(
    request: CertifyRequest,
    board: Board,
    opened: SessionOpened,
    tuned: PromptsTuned,
    secret: bytes,
    attempts: int,
) -> FinishedResult:
    def certificate(i: int, place: int) -> CertifiedDocument | AbstainedDocument:
        counted = Counted(looks=board.looks(i, place), roots=board.roots(i, place))
        return create_certificate(
            request,
            i,
            place,
            counted=counted,
            attempts=attempts,
            tuned=find_tuned(request, tuned, i, place),
        )

    identity = opened.identity
    noise_keys: dict[KeyPurpose, NoiseKey] = dict(derive_keys(request, secret).items())
    if request.tuned_targets:
        noise_keys["adaptation"] = derive_tuning_key(request, secret)
    return FinishedResult(
        model=request.model,
        input=request.input,
        certificates=tuple(
            certificate(i, place)
            for i in range(len(request.sigmas))
            for place in range(len(request.targets))
        ),
        provenance=Provenance(
            sampler="philox4x64-10/rounded-gaussian-255/1",
            key_commitment=commitment(secret),
            noise_keys={purpose: key.text for purpose, key in noise_keys.items()},
            table_sha256=opened.table_sha256,
            **identity.model_dump(exclude={"model", "architecture"}),
        ),
    )
