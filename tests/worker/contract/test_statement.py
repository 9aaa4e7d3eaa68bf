"""The sentences to quote say no more than was proved, and how often they are false together."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from worker.certification import Tally
from worker.contract import (
    CertifyRequest,
    InputImage,
    ModelRef,
    StagedParameters,
    TemplateTarget,
)
from worker.contract.attempt import Attempt
from worker.contract.certificate.audit import audit_document
from worker.contract.certificate.statement import covers_no_other_image, create_statement
from worker.counting.certificates import Counted, create_certificate
from worker.counting.contests import create_contest

VERSION_1 = Path(__file__).parents[2] / "frozen" / "version_1"
NAMES = ("a", "b", "c")


def create(votes: int = 64, *, sigmas=("0.5",), attempt=None, **changes):
    request = CertifyRequest(
        input=InputImage(sha256="1" * 64, height=64, width=64, source="png"),
        model=ModelRef(id="m", sha256="2" * 64),
        targets=(TemplateTarget(template="A {}.", class_names=NAMES),),
        sigmas=tuple(map(Decimal, sigmas)),
        procedure=StagedParameters(n_max=64),
        **changes,
    )
    looks = {"selection": (), "estimation": (Tally(counts=(0, 64 - votes, votes)),)}
    contest = create_contest(request, request.targets[0])
    counted = Counted(contest=contest, looks=[looks], roots=[{"estimation": "3" * 64}])
    attempt = attempt or Attempt(number=1, alpha_sum=request.alpha_spent)
    return create_certificate(request, 0, 0, counted=counted, attempt=attempt)


def test_a_certificate_among_several_carries_its_multiplicity():
    sixteen = [f"0.{i:02}" for i in range(10, 26)]
    said = create(sigmas=sixteen).statement
    assert "one of 16 certificates of this request, each at its own alpha" in said
    assert "the best of them, picked afterwards, is false with probability at most 0.016." in said
    assert "picked afterwards" not in create().statement


def test_a_joint_certificate_needs_no_multiplicity():
    said = create(sigmas=("0.25", "0.5"), joint=True).statement
    assert "picked afterwards" not in said
    assert "for all 2 certificates of this request together" in said


def test_attempts_are_on_exactly_this_image_and_say_what_they_spent():
    assert "the first attempt on exactly this image" in create().statement
    third = create(attempt=Attempt(number=3, alpha_sum=Decimal("0.012")))
    assert third.alpha_of_attempts == Decimal("0.012")
    assert "attempt 3 on exactly this image" in third.statement
    assert "at most 0.012, the sum of their alphas" in third.statement
    second = create(attempt=Attempt(number=2, alpha_sum=Decimal("0.010")))
    read = type(second).model_validate_json(second.model_dump_json())
    image = InputImage(sha256="1" * 64, height=64, width=64, source="png")
    assert create_statement(read, image) == second.statement, "whatever zeros JSON keeps"
    unknown = create(attempt=Attempt(number=3))
    assert "at most the sum of their alphas" in unknown.statement


@pytest.mark.parametrize("sigma", ["0.001", "0.002"])
def test_a_radius_of_one_grey_level_covers_no_other_image_and_says_so(sigma):
    entry = create(sigmas=(sigma,))
    assert 0 < entry.radius <= Decimal(1) / 255
    assert covers_no_other_image(entry)
    assert "No other 8-bit image lies within that distance" in entry.statement


def test_a_radius_above_one_grey_level_and_an_abstention_say_no_such_thing():
    for entry in (create(), create(votes=30)):
        assert not covers_no_other_image(entry)
        assert "No other 8-bit image" not in entry.statement


@pytest.mark.parametrize(
    "path", sorted(VERSION_1.glob("certificates/*.json")), ids=lambda p: p.stem
)
def test_a_certificate_of_version_1_audits_and_says_its_version(path):
    document = json.loads(path.read_text())
    report = audit_document(document, ())
    assert [f.sentence for f in report.findings if not f.holds] == []
    assert "version 1" in report.findings[0].sentence


def test_versions_keep_their_own_sentences():
    entry = create(attempt=Attempt(number=2))
    described = InputImage(sha256="1" * 64, height=64, width=64, source="png")
    assert "exactly" not in create_statement(entry, described, 1)
    assert "exactly" in create_statement(entry, described)
