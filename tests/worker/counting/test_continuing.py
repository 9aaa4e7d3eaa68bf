"""A request with a cap goes on: one roll, one noise, and certificates that hold together."""

import json
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from worker.contract import StagedParameters, TemplateTarget
from worker.contract.certificate.audit import audit_document
from worker.contract.certificate.signature import create_signing_key, encode_public_key, sign
from worker.counting.certify import certify
from worker.counting.records.prefix_files import load_prefix, save_prefix
from worker.counting.records.protocol import Unrecorded
from worker.counting.reproduce import reproduce
from worker.counting.roll import Roll
from worker.engine.local import LocalCounter
from worker.sampling.table import create_noise_table

SECRET = b"s" * 32
KEY = encode_public_key(create_signing_key(SECRET).public_key())
PARTS = 4
TARGETS = (
    TemplateTarget(template="a photo of {}.", class_names=("a hand", "a chest", "a head")),
    TemplateTarget(template="{}", class_names=("dark", "bright")),
)
PROCEDURE = StagedParameters(n_max=80, n_cap=600)


@pytest.fixture(scope="module")
def asked(create_request):
    """Two label sets at two noise levels, whose looks end at different samples."""
    return create_request(
        "bundled-2", sigmas=["0.1", "1"], targets=TARGETS, procedure=PROCEDURE, seed=5
    )


def list_parts(request):
    parts = [request]
    while (following := parts[-1].find_continued()) is not None:
        parts.append(following)
    return parts


def count(engine, request, image, checkpoints=None):
    """The result of one part, the prefix at its end, and the samples that were counted for it."""
    prefix, counter = dict(checkpoints or {}), CountingCounter(engine)
    result = certify(
        Roll(request, SECRET),
        image,
        counter=counter,
        records=Unrecorded(checkpoints=checkpoints or {}),
        on_votes=lambda board, identity: prefix.update(board.checkpoints(identity)),
    )
    return sign(result, SECRET), prefix, counter.samples


class CountingCounter(LocalCounter):
    """Counts the samples whose votes were passed on."""

    samples = 0

    def receive(self):
        counted = super().receive()
        self.samples += counted.stop - counted.start
        return counted


@pytest.fixture(scope="module")
def made(engine, asked):
    """Each part on from the prefix before it: results, prefixes and samples."""
    request, image = asked
    found, prefix = [], {}
    for part in list_parts(request):
        result, prefix, samples = count(engine, part, image, prefix)
        found.append((result, prefix, samples))
    return found


def test_parts_are_one_canonical_request_and_one_roll(asked):
    parts = list_parts(asked[0])
    assert len(parts) == PARTS
    rolls = [Roll(part, SECRET) for part in parts]
    assert len({roll.sha256 for roll in rolls}) == 1
    assert all(dict(roll.keys) == dict(rolls[0].keys) for roll in rolls)
    assert [part.samples_total for part in parts] == [160, 320, 640, 1200]


def test_a_request_without_a_cap_is_canonically_what_it_was(create_request):
    request, _ = create_request(procedure=StagedParameters(n_max=80))
    assert set(request.identity()["procedure"]) == {
        *("procedure", "n_max", "target_radius", "tolerance", "minimum_radius")
    }
    capped, _ = create_request(procedure=PROCEDURE)
    assert capped.identity()["procedure"] == request.identity()["procedure"] | {"n_cap": 600}


@pytest.mark.parametrize(("n_cap", "continuations"), [(159, 0), (600, PARTS), (None, 1), (600, -1)])
def test_a_cap_below_twice_n_max_and_a_part_that_is_not_there_are_refused(n_cap, continuations):
    with pytest.raises(ValueError, match=r"n_cap|parts|continuations"):
        StagedParameters(n_max=80, n_cap=n_cap, continuations=continuations)


def test_a_continuation_goes_on_from_the_samples_before_it(made):
    for (before, _, _), (after, _, samples) in pairwise(made):
        assert after.provenance.noise_keys == before.provenance.noise_keys
        for old, new in zip(before.certificates, after.certificates, strict=True):
            assert new.looks[: len(old.looks)] == old.looks
        furthest = [
            max(entry.n_used for entry in result.certificates if entry.sigma == sigma)
            for result in (before, after)
            for sigma in (Decimal("0.1"), Decimal("1"))
        ]
        assert samples == sum(furthest[2:]) - sum(furthest[:2])


def test_looks_that_had_ended_for_one_label_set_alone_are_made_later(made):
    """Its votes were counted for the other; the looks on them come with the continuation."""
    caught_up = [
        (old, new)
        for (before, _, _), (after, _, _) in pairwise(made)
        for old, new in zip(before.certificates, after.certificates, strict=True)
        if old.n_used < max(e.n_used for e in before.certificates if e.sigma == old.sigma)
        and new.n_used > old.n_used
    ]
    assert caught_up


def test_the_last_part_counted_from_the_first_sample_has_the_same_certificates(engine, asked, made):
    """So a prefix that was lost, or that another f counted, costs samples and nothing else."""
    for part, (result, _, _) in zip(list_parts(asked[0]), made, strict=True):
        anew, _, _ = count(engine, part, asked[1])
        assert anew == result


def test_a_continuation_cut_off_anywhere_ends_in_the_same_certificates(engine, asked, made):
    part = list_parts(asked[0])[2]
    (_, prefix, _), (whole, _, _) = made[1], made[2]
    stored = []
    certify(
        Roll(part, SECRET),
        asked[1],
        counter=LocalCounter(engine),
        records=Unrecorded(checkpoints=prefix),
        on_votes=lambda board, identity: stored.append(board.checkpoints(identity)),
    )
    assert len(stored) > 1
    for checkpoints in stored:
        result, _, _ = count(engine, part, asked[1], checkpoints)
        assert result == whole


def test_each_part_s_certificate_passes_its_audit_and_says_which_it_is(made):
    for continuations, (result, _, _) in enumerate(made):
        document = json.loads(result.model_dump_json())
        report = audit_document(document, (KEY,), lambda sigma: create_noise_table(sigma).sha256)
        assert report.holds, report.verdict
        (schema,) = (one.sentence for one in report.findings if one.code == "schema")
        assert (f"continuation {continuations} of its request" in schema) == (continuations > 0)
        for entry in document["certificates"]:
            assert entry["n_cap"] == 600
            assert entry.get("continuations", 0) == continuations
            assert "may go on up to 600 samples" in entry["statement"]
            assert (f"continuation {continuations}" in entry["statement"]) == (continuations > 0)


@pytest.mark.parametrize("said", [0, 1, 3])
def test_a_certificate_that_names_another_part_than_its_own_is_refuted(made, said):
    document = json.loads(made[2][0].model_dump_json())
    for entry in document["certificates"]:
        entry["continuations"] = said
        if not said:
            del entry["continuations"]
    failing = {f.code for f in audit_document(document, ()).findings if not f.holds}
    assert failing >= {"signature", "statement"}
    assert failing & {"stop", "counts"}


def test_a_continued_certificate_is_reproduced_vote_by_vote(engine, asked, made):
    findings = reproduce(made[-1][0], asked[1], LocalCounter(engine))
    assert all(finding.holds for finding in findings), findings


def test_prefixes_in_files_are_those_of_the_part_before(tmp_path: Path, asked, made):
    first, second, third, _ = (Roll(part, SECRET) for part in list_parts(asked[0]))
    assert load_prefix(tmp_path, second) == {}
    save_prefix(tmp_path, first, made[0][1])
    assert load_prefix(tmp_path, first) == {}  # a first part goes on from nothing
    assert load_prefix(tmp_path, second) == load_prefix(tmp_path, third) == made[0][1]
    save_prefix(tmp_path, second, made[1][1])
    assert load_prefix(tmp_path, third) == made[1][1]
    assert load_prefix(tmp_path, second) == made[0][1]
    (damaged,) = tmp_path.glob("*-0.json")
    damaged.write_text("nonsense")
    assert load_prefix(tmp_path, second) == {}
