"""Certifies one request: asks for samples, adds up votes and lets the procedures decide.

It runs wherever there is a `Counter`: over a socket in RQ's work-horses, in process on the command
line.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from worker.contract import Identity
from worker.contract.attempt import Attempt
from worker.contract.certificate.document import (
    AbstainedDocument,
    CertifiedDocument,
    DisagreedSample,
    FinishedResult,
    Provenance,
)
from worker.contract.image import Image
from worker.contract.protocol import PromptsTuned, SessionOpened
from worker.contract.votes import Checkpoint
from worker.counting import sessions
from worker.counting.certificates import Counted, create_certificate
from worker.counting.contests import create_contests
from worker.counting.counter import Counter
from worker.counting.prefetch import Prefetch
from worker.counting.prefixes import Board
from worker.counting.range_merge import Disagreement
from worker.counting.records.protocol import Records
from worker.counting.roll import Roll


def certify(
    roll: Roll,
    image: Image,
    *,
    counter: Counter,
    records: Records,
    on_votes: Callable[[Board, Identity], None] = lambda _board, _identity: None,
) -> FinishedResult:
    """The certificates of one image: one per noise level and target, all fixed in the request.

    The same roll and image give the same certificates, however often this was interrupted and
    resumed.

    Args:
        roll: the request and the secret. The request fixes everything before keys are derived.
        image: the prepared image, uint8 (3, H, W).
        counter: counts the votes.
        records: what is kept of this roll beyond this run. A tuned prompt is kept before any
            certification noise is drawn, so that what is certified is frozen. The attempt is
            counted once the engine can count its votes.
        on_votes: called after each counted range.

    Raises:
        PromptMissing: a prompt that the request names is not stored.
    """
    request = roll.request
    prompts = sessions.find_prompts(request, records.find_prompt)
    tuned = sessions.NOTHING_TUNED
    if request.tuned_targets:
        tuned = records.keep_tuned(
            lambda: counter.tune(sessions.create_tuning(request, prompts, roll.tuning_key), image)
        )
    opened = counter.open(sessions.create_session(request, prompts, tuned, roll.keys), image)
    board = Board(request, create_contests(request), _name_noise(roll, records.disagreements))
    stored = records.get_checkpoints()
    attempt = records.count_attempt(
        opened.identity, anew=_was_counted_by_another(stored, roll, opened.identity)
    )
    board.resume(stored, opened.identity)
    votes = Prefetch(counter)
    while not board.complete:
        for wanted in board.wanted():
            votes.count(wanted)
        for likely in board.prefetchable(opened.identity.batch_size):
            votes.prefetch(likely)
        board.add(votes.receive())
        board.roll = _name_noise(roll, records.disagreements)
        on_votes(board, opened.identity)
    made = _Made(
        opened=opened,
        tuned=tuned,
        attempt=attempt,
        disagreements=records.disagreements,
        learned=frozenset(
            sha256 for sha256, prompt in prompts.items() if records.was_learned_on_image(prompt)
        ),
    )
    return _conclude(roll, board, made)


@dataclass(frozen=True, kw_only=True)
class _Made:
    """What certificates state beside their counts. `learned` are prompts, by digest."""

    opened: SessionOpened
    tuned: PromptsTuned
    attempt: Attempt
    disagreements: frozenset[Disagreement]
    learned: frozenset[str]


def _name_noise(roll: Roll, disagreements: Collection[Disagreement]) -> str:
    """Names the noise and what is ambiguous on it. Only votes under one name may be added up."""
    return f"{roll.sha256}+{len(disagreements)}" if disagreements else roll.sha256


def _was_counted_by_another(
    stored: Mapping[str, Checkpoint], roll: Roll, identity: Identity
) -> bool:
    """Whether another f counted votes on this noise: counts are shown when they are stored."""
    return any(
        one.roll.split("+")[0] == roll.sha256 and not one.identity.merges_with(identity)
        for one in stored.values()
    )


def _conclude(roll: Roll, board: Board, made: _Made) -> FinishedResult:
    request = roll.request

    def certificate(i: int, place: int) -> CertifiedDocument | AbstainedDocument:
        counted = Counted(
            contest=board.contests[place],
            looks=board.looks(i, place),
            roots=board.roots(i, place),
        )
        return create_certificate(
            request,
            i,
            place,
            counted=counted,
            attempt=made.attempt,
            tuned=sessions.find_tuned(request, made.tuned, i, place),
            learned=made.learned,
        )

    identity = made.opened.identity
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
            key_commitment=roll.commitment,
            noise_keys={purpose: key.text for purpose, key in roll.revealed_keys.items()},
            table_sha256=made.opened.table_sha256,
            disagreements=tuple(
                DisagreedSample(
                    sigma=request.sigmas[one.sigma_index],
                    phase=one.phase,
                    ballot=one.ballot,
                    sample=one.sample,
                )
                for one in sorted(made.disagreements)
            ),
            **identity.model_dump(exclude={"model", "architecture"}),
        ),
    )
