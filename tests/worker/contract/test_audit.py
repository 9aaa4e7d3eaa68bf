"""What an audit reads, recomputes and says; what forgeries it finds is in `test_forgeries.py`."""

import copy
import json
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.certification import Tally, audit_certificate
from worker.certification.merkle import VoteTree, audit_path
from worker.contract import (
    CertifyRequest,
    InputImage,
    ModelRef,
    StagedParameters,
    TemplateTarget,
)
from worker.contract.attempt import Attempt
from worker.contract.certificate.audit import MAX_DOCUMENT_BYTES, audit_document, parse_json
from worker.contract.certificate.document import FinishedResult, Provenance, parse_document
from worker.contract.certificate.signature import (
    check_signature,
    create_signing_key,
    encode_public_key,
    sign,
)
from worker.contract.certificate.statement import create_statement
from worker.contract.votes import VoteWithPath
from worker.counting.certificates import Counted, create_certificate
from worker.counting.certify import certify
from worker.counting.contests import create_contest
from worker.counting.recorded import NotReproducible
from worker.counting.records.protocol import Unrecorded
from worker.counting.reproduce import reproduce
from worker.counting.roll import Roll
from worker.counting.vote_check import check_votes
from worker.engine.local import LocalCounter
from worker.sampling.table import create_noise_table

SECRET, OTHER = b"s" * 32, b"o" * 32
KEY = encode_public_key(create_signing_key(SECRET).public_key())
PROCEDURE = StagedParameters(n_max=1000, tolerance=Decimal(0))


def failures(document) -> list[tuple[str, int | None]]:
    found = audit_certificate(document).findings
    return [(finding.code, finding.certificate) for finding in found if not finding.holds]


def test_an_honest_document_holds_and_says_what_was_not_seen(document):
    audit = audit_certificate(document)
    assert audit.holds
    assert {f.certificate for f in audit.findings} == {None, 0, 1}
    assert any("came from the model" in sentence for sentence in audit.unseen)
    assert check_signature(document, (KEY,)).holds
    assert document["certificates"][0]["outcome"] == "certified"


def test_a_smaller_radius_is_no_lie(document):
    entry = document["certificates"][0]
    entry["radius"] = float(Decimal(str(entry["radius"])) - Decimal("0.000001"))
    assert failures(document) == []


@pytest.mark.parametrize(
    "path", ["certificates", "input", "provenance", "certificates.0.sigma", "certificates.0.alpha"]
)
@pytest.mark.parametrize("value", [None, "x", -1, float("nan"), [], {}])
def test_what_cannot_be_read_is_a_finding_and_no_crash(document, path, value):
    *parents, leaf = path.split(".")
    place = document
    for name in parents:
        place = place[int(name) if name.isdigit() else name]
    place[leaf] = value
    assert not audit_certificate(document).holds


@pytest.mark.parametrize("document", [{}, {"certificates": []}, {"certificates": [{}]}])
def test_what_is_no_document_is_a_finding(document):
    assert not audit_certificate(document).holds


def test_the_signature_of_another_key_fails_with_its_own_sentence(document):
    stolen = json.loads(sign(parse_document(document), OTHER).model_dump_json())
    finding = check_signature(stolen, (KEY,))
    assert not finding.holds
    assert "another key" in finding.sentence
    assert check_signature(stolen, ()).holds  # by the key it names, which the sentence says


def test_a_signature_covers_the_document_and_not_what_is_around_it(document):
    around = {**document, "id": "x", "links": {}, "status": "finished"}
    assert check_signature(around, (KEY,)).holds


def test_a_document_is_reproduced_vote_by_vote(documents, engine):
    for document, image in documents.values():
        findings = reproduce(parse_document(document), image, LocalCounter(engine))
        assert len(findings) == 3  # the provenance, and two certificates
        assert all(finding.holds for finding in findings)


def test_a_reproduction_shows_counts_that_were_made_up(documents, engine):
    document, image = copy.deepcopy(documents["staged"])
    look = document["certificates"][0]["looks"][0]
    look["counts"] = [look["counts"][1], look["counts"][0]]
    _, first, second = reproduce(parse_document(document), image, LocalCounter(engine))
    assert not first.holds
    assert "counted again" in first.sentence
    assert second.holds


def test_a_reproduction_sees_votes_swapped_between_samples(documents, engine):
    """Counts stay as they were; the Merkle root does not."""
    document, image = copy.deepcopy(documents["staged"])
    document["certificates"][0]["votes_root"]["estimation"] = "0" * 64
    _, first, second = reproduce(parse_document(document), image, LocalCounter(engine))
    assert not first.holds
    assert "Merkle" in first.sentence
    assert second.holds


def test_another_image_is_not_reproduced(documents, engine):
    document, image = documents["staged"]
    other = np.ascontiguousarray(image[:, ::-1])
    with pytest.raises(NotReproducible, match="not the certified one"):
        reproduce(parse_document(document), other, LocalCounter(engine))


def show(votes: list[int], *samples: int) -> list[VoteWithPath]:
    return [VoteWithPath(sample=i, vote=votes[i], path=audit_path(votes, i)) for i in samples]


@pytest.fixture(scope="session")
def voted(engine, create_request):
    """A document on the linear model with its single votes of certificate 1."""
    request, image = create_request(sigmas=["0.02", "10"], procedure=PROCEDURE, seed=3)
    votes: list[int] = []

    def collect(board, _identity) -> None:
        for drained in board.drain_votes():
            if drained.stream == "estimation:10:0":
                assert drained.start == len(votes)
                votes.extend(drained.votes)

    result = certify(
        Roll(request, SECRET),
        image,
        counter=LocalCounter(engine),
        records=Unrecorded(),
        on_votes=collect,
    )
    return result, image, votes


def check(voted, engine, shown):
    result, image, _ = voted
    return check_votes(
        result, image, LocalCounter(engine), certificate=1, phase="estimation", shown=shown
    )


def test_votes_of_an_auditor_s_choice_hold(voted, engine):
    result, _, votes = voted
    n = len(votes)
    assert n == result.certificates[1].n_used
    assert all(f.holds for f in check(voted, engine, show(votes, 0, 17, n // 2, n - 1)))


def test_a_vote_that_is_not_under_the_root_is_seen(voted, engine):
    _, _, votes = voted
    (honest,) = show(votes, 17)
    forged = replace(honest, vote=1 - honest.vote)
    beyond = replace(honest, sample=len(votes))
    assert [f.holds for f in check(voted, engine, [forged, beyond])] == [False, False]


def test_a_root_over_made_up_votes_is_seen_by_evaluating_them_again(voted, engine):
    result, image, votes = voted
    lies = [1 - vote for vote in votes]
    entry = result.certificates[1]
    root = {"estimation": VoteTree().appended(lies).root}
    forged = result.model_copy(
        update={
            "certificates": (
                result.certificates[0],
                entry.model_copy(update={"votes_root": root}),
            )
        }
    )
    (finding,) = check((forged, image, lies), engine, show(lies, 5))
    assert not finding.holds
    assert "evaluated again" in finding.sentence


def audited(document, *, keys=(KEY,)) -> set[str]:
    """Codes that fail in the whole audit, as the command line runs it."""
    report = audit_document(document, keys, lambda sigma: create_noise_table(sigma).sha256)
    return {finding.code for finding in report.findings if not finding.holds}


def test_an_honest_document_passes_the_whole_audit(document):
    assert audited(document) == set()


@pytest.mark.parametrize(
    ("attempts", "share", "asked", "holds"),
    [
        (1, "1", None, True),
        (1, "0.999", None, False),
        (1, "1.001", None, False),
        (3, "1", None, True),
        (3, "7", None, True),
        (40, "0.000001", None, False),
        (1, "0.25", 4, True),
        (1, "0.24", 4, False),
        (2, "0.24", 4, False),
    ],
)
def test_attempts_spent_no_less_than_this_one_and_the_first_no_more(
    staged, attempts, share, asked, holds
):
    """`share` is of what the certificates spend that are not joint; `asked` of those that are."""
    spent = sum(Decimal(str(entry["alpha"])) for entry in staged["certificates"])
    for entry in staged["certificates"]:
        entry |= {"attempts": attempts, "alpha_of_attempts": float(Decimal(share) * spent)}
        entry |= {} if asked is None else {"joint": True, "certificates_in_request": asked}
    assert (("parameters", 0) not in failures(staged)) == holds


@pytest.mark.parametrize(
    ("said", "holds"),
    [
        ("0.01", True),
        ("0.010", True),
        ("0.0100", True),
        ("0.011", False),
        ("0.001", False),
        ("0.1", False),
        ("0.01, or 0.010", False),
    ],
)
def test_a_statement_may_keep_the_zeros_of_its_probability_and_no_other_number(staged, said, holds):
    for entry in staged["certificates"]:
        entry |= {"attempts": 2, "alpha_of_attempts": 0.01}
    result = parse_document(staged)
    entries = tuple(
        entry.model_copy(
            update={
                "statement": create_statement(entry, result.input).replace(
                    "at most 0.01, the sum", f"at most {said}, the sum"
                )
            }
        )
        for entry in result.certificates
    )
    signed = sign(result.model_copy(update={"certificates": entries}), SECRET)
    assert audited(json.loads(signed.model_dump_json())) == (set() if holds else {"statement"})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema_version", 99),
        ("research_use_only", False),
        ("certificates.0.guarantee_scope", "joint_pipeline"),
        ("certificates.0.prompting", "few_shot"),
        ("certificates.0.attempts", 0),
        ("certificates.0.class_names", ["a", "a"]),
        ("certificates.0.p_b_upper", 7),
        ("certificates.0.radius", -5),
        ("certificates.0.votes_root", {"other": "0" * 64}),
        ("certificates.0.sigma", 1e9),
        ("provenance.sampler", "torch.randn"),
        ("provenance.key_commitment", ""),
        ("input.width", 500_000_000),
        ("input.height", "xxxx"),
    ],
)
def test_what_is_no_certificate_of_this_version_fails_at_once(document, path, value):
    *parents, leaf = path.split(".")
    place = document
    for name in parents:
        place = place[int(name) if name.isdigit() else name]
    place[leaf] = value
    assert audited(document) == {"schema"}


@pytest.mark.parametrize("n_max", [1e400, 10**400, 1e6, -1, True])
def test_no_size_makes_the_schedule_run_away(staged, n_max):
    staged["certificates"][0]["n_max"] = n_max
    assert not audit_certificate(staged).holds


@pytest.mark.parametrize(
    "data",
    [
        b'{"certificates": [], "certificates": []}',
        b'{"a": {"radius": 9.5, "radius": 0.1}}',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b"[" * 100_000,
        b"[]",
        b"",
        b" " * (MAX_DOCUMENT_BYTES + 1),
    ],
)
def test_what_two_readers_would_read_differently_is_no_document(data):
    with pytest.raises(ValueError, match="certificate"):
        parse_json(data)


@pytest.mark.parametrize("name", ["value", "public_key"])
def test_a_signature_has_one_spelling(document, name):
    text = document["signature"][name]
    for spelled in (f"!!{text}", f"{text}junk", f"{text}\n\x1b[2Kholds"):
        document["signature"][name] = spelled
        assert not check_signature(document, ()).holds


def test_a_reproduction_under_another_identity_says_so(documents, engine):
    document, image = copy.deepcopy(documents["staged"])
    document["provenance"]["device"] = "another"
    same, *_ = reproduce(parse_document(document), image, LocalCounter(engine))
    assert "device" in same.sentence
    document["provenance"]["table_sha256"]["0.02"] = "0" * 64
    other, *_ = reproduce(parse_document(document), image, LocalCounter(engine))
    assert not other.holds


def test_keys_that_were_not_revealed_are_a_sentence(documents, engine):
    document, image = copy.deepcopy(documents["staged"])
    document["provenance"]["noise_keys"] = {}
    with pytest.raises(NotReproducible, match="noise keys"):
        reproduce(parse_document(document), image, LocalCounter(engine))


@settings(max_examples=300, deadline=None)
@given(st.integers(33, 64), st.sampled_from(["0.1", "0.25", "0.5", "1"]))
def test_every_document_survives_json_and_its_audit(create_document, votes, sigma):
    """Also where a radius ends in 0, which a number in JSON does not show."""
    document = create_document(votes, sigma)
    report = audit_document(parse_json(json.dumps(document).encode()), ())
    broken = [f.sentence for f in report.findings if not f.holds and f.code != "signature"]
    assert broken == []


@pytest.fixture(scope="module")
def create_document():
    """A document of 64 votes, by the code that makes them, through JSON."""

    def create(votes: int, sigma: str) -> dict:
        request = CertifyRequest(
            input=InputImage(sha256="1" * 64, height=64, width=64, source="png"),
            model=ModelRef(id="m", sha256="2" * 64),
            targets=(TemplateTarget(template="A {}.", class_names=("a", "b", 'c "quoted"')),),
            sigmas=(Decimal(sigma),),
            procedure=StagedParameters(n_max=64),
        )
        looks = {"selection": (), "estimation": (Tally(counts=(0, 64 - votes, votes)),)}
        contest = create_contest(request, request.targets[0])
        counted = Counted(contest=contest, looks=[looks], roots=[{"estimation": "3" * 64}])
        entry = create_certificate(request, 0, 0, counted=counted, attempt=Attempt(number=1))
        result = FinishedResult(
            model=request.model,
            input=request.input,
            certificates=(entry,),
            provenance=Provenance(
                sampler="philox4x64-10/rounded-gaussian-255/1",
                key_commitment="0" * 64,
                noise_keys={"selection": "0" * 32, "estimation": "1" * 32},
                table_sha256={sigma: "4" * 64},
                precision="fp32",
                device_class="cpu",
                device="test",
                threads=1,
                batch_size=64,
                tau=0.0,
                versions={},
            ),
        )
        return json.loads(result.model_dump_json())

    return create
