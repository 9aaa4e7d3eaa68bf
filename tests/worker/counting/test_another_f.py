"""Identity names f by what f does, and another f in its last bits refutes nobody."""

import copy
import dataclasses
import json
from decimal import Decimal

import pytest
import torch

from models.catalogue import load_catalogue
from models.loading.loading import load_vlm
from models.vlm.base_classifier import create_base_classifier
from worker.certification.merkle import audit_path
from worker.contract import StagedParameters
from worker.contract.certificate.document import parse_document
from worker.contract.host import f_sha256
from worker.contract.request import canonical_bytes
from worker.contract.votes import VoteWithPath
from worker.counting.certify import certify
from worker.counting.other_f import is_explained
from worker.counting.range_merge import Disagreement
from worker.counting.records.attempts import count_attempt
from worker.counting.records.protocol import Unrecorded
from worker.counting.reproduce import reproduce
from worker.counting.roll import Roll
from worker.counting.vote_check import check_votes
from worker.engine.engine import Engine
from worker.engine.local import LocalCounter
from worker.engine.shelf.fingerprint import probe
from worker.engine.shelf.identity import create_identity
from worker.engine.shelf.loaded_model import hold_model
from worker.engine.shelf.shelf import Shelf
from worker.engine.voting import ClassVoter

SECRET = b"s" * 32
TAU = 1.0  # of logits: makes votes ambiguous here
NUDGE = 0.02  # moves a vote in a hundred; a change in the last bits moves one in a million


class OtherBits:
    """The same model on a machine whose kernels round otherwise. Implements `VLM`."""

    def __init__(self, vlm, by: float) -> None:
        self._vlm, self._by = vlm, by

    def __getattr__(self, name: str):
        return getattr(self._vlm, name)

    def encode_images(self, pixels):
        features = self._vlm.encode_images(pixels)
        features = features + self._by * torch.linspace(-1, 1, features.shape[1])
        return torch.nn.functional.normalize(features, dim=-1)


def hold_with(vlm, tau: float | None) -> Shelf:
    """A shelf with a model whose tau was measured at its first load, as a GPU does, or was not."""
    held, shelf = hold_model(vlm), Shelf.holding([])
    identity = held.identity.model_copy(update={"tau": tau})
    shelf._put(dataclasses.replace(held, identity=identity))
    return shelf


@pytest.fixture(scope="module")
def vlm():
    catalogue = load_catalogue(None)
    card = catalogue.get("bundled-2")
    return load_vlm(card, catalogue.folder(card.id), torch.device("cpu"))


@pytest.fixture(scope="module")
def other(vlm):
    return OtherBits(vlm, NUDGE)


@pytest.fixture(scope="module")
def asked(cards, create_request):
    procedure = StagedParameters(n_max=256, tolerance=Decimal(0))
    return create_request("bundled-2", sigmas=["0.5"], procedure=procedure, seed=3)


@pytest.fixture(scope="module")
def counters(vlm, other):
    return {
        name: LocalCounter(Engine(shelf))
        for name, shelf in (
            ("here", Shelf.holding([vlm])),
            ("there", Shelf.holding([other])),
            ("measured", hold_with(vlm, TAU)),
            ("unmeasured", hold_with(vlm, None)),
        )
    }


def certified(asked, counter, **records):
    request, image = asked
    voted: list[int] = []

    def collect(board, _identity) -> None:
        for drained in board.drain_votes():
            voted.extend(drained.votes)

    result = certify(
        Roll(request, SECRET),
        image,
        counter=counter,
        records=Unrecorded(**records),
        on_votes=collect,
    )
    return result, voted


@pytest.fixture(scope="module")
def made(asked, counters):
    return certified(asked, counters["here"])


def test_a_fingerprint_names_what_f_does_and_nothing_else(vlm, other):
    rows = 8
    assert probe(vlm, rows).fingerprint == probe(vlm, rows).fingerprint
    assert probe(vlm, rows).fingerprint != probe(vlm, 2 * rows).fingerprint
    assert probe(vlm, rows).fingerprint != probe(other, rows).fingerprint
    assert probe(vlm, rows).fingerprint != probe(OtherBits(vlm, 1e-7), rows).fingerprint


def test_an_f_that_does_not_repeat_itself_has_no_fingerprint(vlm):
    class Drifting(OtherBits):
        def encode_images(self, pixels):
            self._by += 1e-6
            return super().encode_images(pixels)

    assert probe(Drifting(vlm, 0.0), 8).fingerprint is None
    assert create_identity(Drifting(vlm, 0.0)).fingerprint is None


def test_a_fingerprint_is_in_the_document_and_never_in_the_noise(asked, counters, made):
    """Moving to another host is no new roll."""
    here, there = made[0], certified(asked, counters["there"])[0]
    assert here.provenance.fingerprint != there.provenance.fingerprint
    assert None not in (here.provenance.fingerprint, there.provenance.fingerprint)
    assert here.provenance.noise_keys == there.provenance.noise_keys
    canonical = canonical_bytes(asked[0].identity()).decode()
    assert "fingerprint" not in canonical
    assert here.provenance.fingerprint not in canonical


def test_an_honest_certificate_is_not_refuted_by_another_f(asked, counters, made):
    about, finding = reproduce(made[0], asked[1], counters["there"])
    assert about.holds
    assert "another f in its last bits" in about.sentence
    assert finding.holds
    assert "votes differ" in finding.sentence
    assert "bounds" in finding.sentence


def test_counts_that_no_last_bit_explains_are_refuted_by_another_f(asked, counters, made):
    document = json.loads(made[0].model_dump_json())
    look = document["certificates"][0]["looks"][-1]
    look["counts"] = [look["n"] - look["ambiguous"]] + [0] * (len(look["counts"]) - 1)
    look["counts"].reverse()
    _, finding = reproduce(parse_document(document), asked[1], counters["there"])
    assert not finding.holds
    assert "counted again" in finding.sentence


def test_by_the_same_f_one_vote_too_many_is_refuted(asked, counters, made):
    document = json.loads(made[0].model_dump_json())
    counts = document["certificates"][0]["looks"][0]["counts"]
    first = next(i for i, count in enumerate(counts) if count)
    counts[first], counts[first - 1] = counts[first] - 1, counts[first - 1] + 1
    _, finding = reproduce(parse_document(document), asked[1], counters["here"])
    assert not finding.holds


def test_a_document_without_a_fingerprint_is_judged_by_its_bounds(asked, counters, made):
    """One of an earlier version: nothing says which f counted it."""
    document = json.loads(made[0].model_dump_json())
    del document["provenance"]["fingerprint"]
    about, finding = reproduce(parse_document(document), asked[1], counters["there"])
    assert about.holds
    assert "fingerprint" in about.sentence
    assert finding.holds


def show(votes, *samples):
    return [VoteWithPath(sample=i, vote=votes[i], path=audit_path(votes, i)) for i in samples]


def test_votes_that_differ_in_the_last_bits_alone_do_not_refute(asked, counters, made):
    result, votes = made
    there = certified(asked, counters["there"])[1]
    differing = [i for i, (a, b) in enumerate(zip(votes, there, strict=False)) if a != b][:1]
    found = check_votes(
        result,
        asked[1],
        counters["there"],
        certificate=0,
        phase="estimation",
        shown=show(votes, *differing, *range(12)),
    )
    assert differing
    assert all(finding.holds for finding in found)
    assert "votes differ here, by another f in its last bits" in found[-1].sentence


def test_as_many_lies_as_another_f_never_tells_are_refuted():
    assert is_explained(0, 64)
    assert is_explained(1, 4)
    assert not is_explained(4, 4)
    assert not is_explained(20, 64)


def test_a_sample_that_hosts_disagreed_on_is_in_the_document_and_reproduced(asked, counters, made):
    """Signed with it, and honoured by whoever counts again."""
    doubted = Disagreement(0, "estimation", 0, 5)

    class Doubting(LocalCounter):
        """The merged votes of two hosts, one of which counted sample 5 otherwise."""

        def receive(self):
            counted = super().receive()
            votes = list(counted.get_votes(0))
            if counted.start <= doubted.sample < counted.stop:
                votes[doubted.sample - counted.start] = -1
            return type(counted).of(
                sigma_index=counted.sigma_index,
                phase=counted.phase,
                start=counted.start,
                votes=[votes],
                options=[len(counted.counts[0])],
            )

    counter = Doubting(counters["here"]._engine)
    result, votes = certified(asked, counter, disagreements=frozenset({doubted}))
    (listed,) = json.loads(result.model_dump_json())["provenance"]["disagreements"]
    assert listed == {"sigma": 0.5, "phase": "estimation", "ballot": 0, "sample": 5}
    parsed = parse_document(json.loads(result.model_dump_json()))
    found = reproduce(parsed, asked[1], counters["here"])
    assert [finding.holds for finding in found] == [True, True]
    assert "every single vote is the same" in found[1].sentence
    (finding,) = check_votes(
        parsed,
        asked[1],
        counters["here"],
        certificate=0,
        phase="estimation",
        shown=show(votes, 5),
    )
    assert finding.holds
    assert "disagreed" in finding.sentence
    forgotten = copy.deepcopy(json.loads(result.model_dump_json()))
    del forgotten["provenance"]["disagreements"]
    assert not reproduce(parse_document(forgotten), asked[1], counters["here"])[1].holds


def test_a_document_of_two_f_that_tau_covers_is_judged_by_its_bounds_on_either(
    asked, counters, made, other
):
    """Its provenance names one f; votes of the other may be among those of the document."""
    document = json.loads(made[0].model_dump_json())
    here, there = document["provenance"]["fingerprint"], create_identity(other).fingerprint
    document["provenance"] |= {"alike": sorted((here, there)), "fingerprint": there}
    about, finding = reproduce(parse_document(document), asked[1], counters["there"])
    assert "one of several f that tau covers" in about.sentence
    assert finding.holds
    assert "votes differ" in finding.sentence
    look = document["certificates"][0]["looks"][-1]
    look["counts"] = [look["n"] - look["ambiguous"]] + [0] * (len(look["counts"]) - 1)
    look["counts"].reverse()
    assert not reproduce(parse_document(document), asked[1], counters["here"])[1].holds


def test_votes_are_counted_again_under_the_tau_that_the_document_names(asked, counters):
    """A command line that measured none counts as many ambiguous votes as the service did."""
    result, _ = certified(asked, counters["measured"])
    assert result.provenance.tau == TAU
    assert result.certificates[0].looks[-1].ambiguous > 10
    about, finding = reproduce(result, asked[1], counters["unmeasured"])
    assert about.sentence == "Same f, same noise tables."
    assert finding.sentence.endswith("every single vote is the same.")
    assert reproduce(result, asked[1], counters["there"])[1].holds


def test_a_document_without_tau_is_not_refuted_where_tau_is_measured(asked, counters):
    result, _ = certified(asked, counters["unmeasured"])
    about, finding = reproduce(result, asked[1], counters["measured"])
    assert "another f (tau)" in about.sentence
    assert finding.sentence.endswith("every single vote is the same.")


def test_voters_under_two_taus_never_share_their_votes(vlm):
    classifier = create_base_classifier(vlm, vlm.card.template, vlm.card.class_names)
    assert ClassVoter(classifier, 0.0).key != ClassVoter(classifier, TAU).key


def test_votes_merge_under_one_fingerprint_or_where_tau_covers_two(vlm):
    one = create_identity(vlm)
    two = one.model_copy(update={"fingerprint": "0" * 64})
    assert one.merges_with(one)
    assert not one.merges_with(two)
    alike = tuple(sorted((one.fingerprint, two.fingerprint)))
    covered = [each.model_copy(update={"alike": alike, "tau": 1e-5}) for each in (one, two)]
    assert covered[0].merges_with(covered[1])
    assert not covered[0].merges_with(two)
    uncovered = [each.model_copy(update={"tau": 0.0}) for each in covered]
    assert not uncovered[0].merges_with(uncovered[1])
    other = covered[1].model_copy(update={"device": "another"})
    assert not covered[0].merges_with(other)


def test_what_keeps_identities_from_merging_gives_f_another_name(vlm, made):
    """So votes and attempts of one fingerprint under another tau or library are told apart."""
    one = create_identity(vlm)
    assert f_sha256(one) == f_sha256(made[0].provenance)  # the document finds its votes
    changes = {"tau": 1e-5, "threads": 99, "device": "other", "versions": {}, "batch_size": 1}
    changes |= {"fingerprint": None, "alike": ("0" * 64,), "precision": "p", "device_class": "c"}
    names = {f_sha256(one.model_copy(update={name: new})) for name, new in changes.items()}
    assert len(names - {f_sha256(one)}) == len(changes)
    assert changes.keys() == type(one).model_fields.keys() - {"model", "architecture"}


def test_votes_of_an_f_without_a_fingerprint_merge_with_no_others(vlm):
    """Two hosts whose runs differ may be described alike, and vote otherwise."""
    unnamed = create_identity(vlm).model_copy(update={"fingerprint": None})
    for tau in (None, 0.0, 1e-5):
        one = unnamed.model_copy(update={"tau": tau})
        assert not one.merges_with(one.model_copy())


def test_on_the_command_line_every_run_of_an_f_without_a_fingerprint_is_an_attempt(tmp_path):
    given = {"alpha": Decimal("0.001"), "f": None}
    found = [count_attempt(tmp_path, "image", "a", **given) for _ in range(3)]
    assert [one.number for one in found] == [1, 2, 3]
    assert found[-1].alpha_sum == Decimal("0.003")


def test_on_the_command_line_another_f_is_a_further_attempt(tmp_path):
    def count(request: str, f: str | None, alpha: str = "0.001"):
        return count_attempt(tmp_path, "image", request, alpha=Decimal(alpha), f=f)

    assert count("a", "f").number == count("a", "f").number == 1
    second = count("a", "g", "0.001")
    assert (second.number, second.alpha_sum) == (2, Decimal("0.002"))
    third = count("b", None, "0.01")
    assert (third.number, third.alpha_sum) == (3, Decimal("0.012"))
    assert count("a", "f").alpha_sum == Decimal("0.001")


def test_an_attempt_of_an_earlier_version_leaves_the_sum_unknown(tmp_path):
    (tmp_path / "image.txt").write_text("a\n")
    found = [
        count_attempt(tmp_path, "image", request, alpha=Decimal("0.001"), f="f")
        for request in ("a", "b")
    ]
    assert [(one.number, one.alpha_sum) for one in found] == [(1, None), (2, None)]
