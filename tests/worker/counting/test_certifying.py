"""From a request to its certificates, in process and over the socket."""

import threading
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from waiting import HANG_S

from worker.certification import Tally, certify_cohen, rounded_down
from worker.certification.merkle import VoteTree
from worker.contract import CohenParameters, TemplateTarget
from worker.contract.certificate.document import AbstainedDocument, CertifiedDocument
from worker.contract.protocol import RangeCounted
from worker.contract.request import request_sha256
from worker.contract.votes import Checkpoint, encode_votes
from worker.counting.certify import certify
from worker.counting.contests import create_contests
from worker.counting.prefixes import Board, VotesOutOfOrder
from worker.counting.range_merge import Disagreement
from worker.counting.records.protocol import Unrecorded
from worker.counting.roll import Roll
from worker.engine.client import EngineClient, EngineLost, EngineRefused
from worker.engine.local import LocalCounter
from worker.engine.server import EngineServer
from worker.key_secret import commitment

SECRET = b"s" * 32


def run(engine, request, image, **options):
    records = {name: options.pop(name) for name in ("attempts", "checkpoints") if name in options}
    return certify(
        Roll(request, options.pop("secret", SECRET)),
        image,
        counter=LocalCounter(engine),
        records=Unrecorded(**records),
        **options,
    )


@pytest.mark.long
def test_radius_of_the_linear_model_is_below_its_distance_and_near_it(
    engine, create_request, linear
):
    """Geometry is the oracle; sigma is chosen so that n, not sigma, limits the radius."""
    for seed in range(6):
        request, image = create_request(seed=seed, sigmas=["0.1", "0.25"], n0=100, n=20_000)
        distance = linear.distance(image)
        result = run(engine, request, image)
        for entry in result.certificates:
            if isinstance(entry, CertifiedDocument):
                assert entry.class_index == linear.class_index(image)
                assert float(entry.radius) < distance
        if distance > 0.05:
            assert all(isinstance(e, CertifiedDocument) for e in result.certificates)


def test_the_same_request_gives_the_same_certificates(engine, create_request):
    request, image = create_request("bundled-2", sigmas=["0.25", "0.5"])
    assert run(engine, request, image) == run(engine, request, image)


@pytest.mark.parametrize(
    "change",
    [
        {"attempt": 1},
        {"alpha": Decimal("0.002")},
        {"procedure": CohenParameters(n0=20, n=301)},
        {"targets": (TemplateTarget(template="{}", class_names=("above", "below")),)},
    ],
)
def test_another_request_gets_other_noise(create_request, change):
    request, _ = create_request()
    other, _ = create_request(**change)
    assert request.identity() != other.identity()


def test_another_secret_gives_other_votes_and_another_commitment(engine, create_request):
    request, image = create_request(n=2000)
    one, two = run(engine, request, image), run(engine, request, image, secret=b"t" * 32)
    assert one.provenance.key_commitment != two.provenance.key_commitment
    assert one.certificates[0].counts_estimation != two.certificates[0].counts_estimation


def test_spelling_of_sigma_and_of_the_file_is_no_new_roll(create_request):
    plain, _ = create_request(sigmas=["0.25", "0.5"])
    spelled, _ = create_request(sigmas=["5e-1", "0.2500"])
    source = plain.input.model_copy(update={"source": "dicom", "window": (40.0, 400.0)})
    encoded = plain.model_copy(update={"input": source})
    assert plain.identity() == spelled.identity() == encoded.identity()


def test_a_run_resumed_from_checkpoints_ends_in_the_same_certificates(engine, create_request):
    request, image = create_request(sigmas=["0.1", "0.25"])
    whole = run(engine, request, image)
    stored: list[dict[str, Checkpoint]] = []
    run(engine, request, image, on_votes=lambda b, identity: stored.append(b.checkpoints(identity)))
    assert len(stored) > 4
    for checkpoints in stored:
        assert run(engine, request, image, checkpoints=checkpoints) == whole


def test_votes_of_another_f_are_counted_again(engine, create_request):
    request, image = create_request()
    whole = run(engine, request, image)
    (identity,) = (m for m in engine.status().models if m.model.id == "linear")
    forged = {
        "estimation:0.25": Checkpoint(
            roll=request_sha256(request, commitment(SECRET)),
            identity=identity.model_copy(update={"batch_size": 32}),
            prefixes=(Tally(counts=(300, 0), ambiguous=0),),
            looks=((Tally(counts=(300, 0), ambiguous=0),),),
            peaks=(tuple(peak.hex() for peak in VoteTree().appended([0] * 300).peaks),),
            roots=("",),
        )
    }
    assert run(engine, request, image, checkpoints=forged) == whole


def test_votes_on_the_noise_of_another_secret_are_counted_again(engine, create_request):
    """Two secrets' votes in one certificate could be neither reproduced nor audited."""
    request, image = create_request()
    stored: list[dict[str, Checkpoint]] = []
    run(
        engine,
        request,
        image,
        secret=b"t" * 32,
        on_votes=lambda b, identity: stored.append(b.checkpoints(identity)),
    )
    for checkpoints in stored:
        assert run(engine, request, image, checkpoints=checkpoints) == run(engine, request, image)


def test_several_label_sets_share_the_noise(engine, create_request):
    alone, image = create_request("bundled-2", n=200)
    swapped = TemplateTarget(
        template=alone.targets[0].template, class_names=alone.targets[0].class_names[::-1]
    )
    both = alone.model_copy(update={"targets": (alone.targets[0], swapped)})
    first, second = run(engine, both, image).certificates
    assert first.counts_estimation == second.counts_estimation[::-1]
    assert getattr(first, "radius", None) == getattr(second, "radius", None)


def test_a_document_is_its_counts(engine, create_request):
    request, image = create_request("bundled-2", sigmas=["0.1", "1"], n=500)
    for entry in run(engine, request, image, attempts=3).certificates:
        outcome = certify_cohen(
            entry.counts_selection,
            entry.counts_estimation,
            sigma=float(entry.sigma),
            alpha=0.001,
            ambiguous=entry.ambiguous,
        )
        assert entry.n_used == 520
        assert entry.attempts == 3
        assert "attempt 3" in entry.statement
        assert "8-bit" in entry.statement or "no class is predicted" in entry.statement
        if isinstance(entry, AbstainedDocument):
            assert not hasattr(entry, "radius")
        else:
            assert entry.radius == rounded_down(outcome.radius)


def counted(start: int, stop: int, counts: tuple[int, ...]) -> RangeCounted:
    return RangeCounted(
        sigma_index=0,
        phase="estimation",
        start=start,
        stop=stop,
        counts=(counts,),
        ambiguous=(0,),
        votes=(encode_votes(np.zeros(stop - start, np.int64)),),
    )


@pytest.mark.parametrize(
    "votes", [counted(5, 8, (3, 0)), counted(0, 4, (3, 0)), counted(0, 2, (3, 0))]
)
def test_votes_that_do_not_continue_the_prefix_are_refused(create_request, votes):
    request, _ = create_request()
    board = Board(request, create_contests(request), "0" * 64)
    list(board.wanted())
    with pytest.raises(VotesOutOfOrder):
        board.add(votes)


def test_a_disagreement_that_arises_during_the_run_is_stated_and_renames_the_noise(
    engine, create_request
):
    """Votes counted before and after it never go on from each other's checkpoint."""

    request, image = create_request(n0=64, n=300)
    records, rolls = Unrecorded(), []

    def arise(board, identity) -> None:
        rolls.extend({one.roll for one in board.checkpoints(identity).values()})
        found = frozenset({Disagreement(0, "estimation", 0, 299)})
        object.__setattr__(records, "disagreements", found)  # frozen, as no service's records are

    roll = Roll(request, SECRET)
    result = certify(roll, image, counter=LocalCounter(engine), records=records, on_votes=arise)
    assert [one.sample for one in result.provenance.disagreements] == [299]
    assert (rolls[0], rolls[-1]) == (roll.sha256, f"{roll.sha256}+1")


@contextmanager
def serving(engine, folder: Path):
    server = EngineServer(engine, folder / "engine.sock")
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield folder / "engine.sock"
    finally:
        server.stop()
        thread.join()


@pytest.fixture
def served(engine, tmp_path: Path):
    with serving(engine, tmp_path) as path:
        yield path


def test_certificates_over_the_socket_are_those_made_in_process(engine, tmp_path, create_request):
    request, image = create_request("bundled-2", sigmas=["0.25", "0.5"])
    with serving(engine, tmp_path) as path, EngineClient.connect(path, wait_s=HANG_S) as client:
        over_socket = certify(Roll(request, SECRET), image, counter=client, records=Unrecorded())
    assert over_socket == run(engine, request, image)


def test_a_client_that_vanishes_harms_nobody(served, create_request):
    request, image = create_request()
    for _ in range(3):
        with EngineClient.connect(served, wait_s=HANG_S) as client:
            certify_some(client, request, image)
    with EngineClient.connect(served, wait_s=HANG_S) as client:
        certify(Roll(request, SECRET), image, counter=client, records=Unrecorded())


def certify_some(client: EngineClient, request, image: np.ndarray) -> None:
    class Enough(Exception):
        pass

    def stop(*_: object) -> None:
        raise Enough

    with pytest.raises(Enough):
        certify(Roll(request, SECRET), image, counter=client, records=Unrecorded(), on_votes=stop)


def test_a_refusal_over_the_socket_says_why(served, create_request):
    request, image = create_request()
    other = request.model_copy(
        update={"model": request.model.model_copy(update={"sha256": "0" * 64})}
    )
    with (
        EngineClient.connect(served, wait_s=HANG_S) as client,
        pytest.raises(EngineRefused) as caught,
    ):
        certify(Roll(other, SECRET), image, counter=client, records=Unrecorded())
    assert caught.value.failure.code == "model_changed"


def test_an_engine_that_is_not_there_is_lost(tmp_path):
    with pytest.raises(EngineLost):
        EngineClient.connect(tmp_path / "none.sock", wait_s=0.2)


def test_status_names_the_models_that_are_ready(served):
    with EngineClient.connect(served, wait_s=HANG_S) as client:
        status = client.status(timeout_s=HANG_S)
    assert [m.model.id for m in status.models] == ["bundled-2", "linear"]
