"""What is said of a witness, where less is known than usual."""

from decimal import Decimal

import pytest

from worker.attack.statement import create_statement
from worker.contract.certificate.document import LookCounts
from worker.contract.witness import CertificateWitness, Changed, NotAsked, NothingFound

OTHER_F = "another f in its last bits"
PROVED = 'Proved: "a" up to 0.500000.'


def create_witness(smoothed, *, alarm: bool = False) -> CertificateWitness:
    return CertificateWitness(
        certificate=0,
        sigma=Decimal("0.25"),
        prediction="a",
        radius=Decimal("0.5"),
        smoothed=smoothed,
        undefended_prediction=None,
        undefended=NotAsked(reason="routed"),
        alarm=alarm,
        statement="",
    )


def change(distance: str) -> Changed:
    votes = LookCounts(n=10, counts=(2, 8), ambiguous=0)
    fields = {"class_index": 1, "prediction": "b", "image_sha256": "0" * 64, "votes": votes}
    return Changed(distance=Decimal(distance), **fields)


@pytest.mark.parametrize(
    ("other_f", "end"),
    [(None, "The truth lies between."), (OTHER_F, f"These votes are of {OTHER_F}.")],
)
def test_the_truth_lies_between_where_the_same_f_voted(other_f, end):
    said = create_statement(create_witness(change("0.9")), other_f)
    assert (
        said == f'{PROVED} Changed: at 0.900000 the smoothed answer is "b" (8 of 10 votes). {end}'
    )


@pytest.mark.parametrize("other_f", [None, OTHER_F])
def test_an_alarm_names_another_f_that_voted(other_f):
    said = create_statement(create_witness(change("0.4"), alarm=True), other_f)
    assert said.startswith(f"ALARM. {PROVED}")
    assert (OTHER_F in said) == (other_f is not None)


def test_a_change_that_votes_do_not_confirm_is_not_said_to_be_unseen():
    found = NothingFound(farthest=Decimal("0.7"), unconfirmed=True)
    said = create_statement(create_witness(found))
    assert "saw another smoothed answer, which fresh votes did not confirm" in said
    assert "saw no other" not in said


def test_a_sentence_that_holds_for_both_models_is_said_once():
    ended = NotAsked(reason="time_ended")
    witness = create_witness(ended).model_copy(update={"undefended": ended})
    assert create_statement(witness).count("ended with its time") == 1
