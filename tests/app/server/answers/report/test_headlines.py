"""A headline says no more than the statement below it."""

from decimal import Decimal
from io import StringIO
from pathlib import Path

from rich.console import Console

from app.cli.certificate_table import print_certificates
from app.server.answers.report.text import find_largest
from worker.contract.certificate.document import FinishedResult

SAMPLE = Path(__file__).parents[4] / "frozen/samples/certificates/several-sigmas.json"


def load() -> FinishedResult:
    return FinishedResult.model_validate_json(SAMPLE.read_text())


def claim(radius: str, scope: str = "global_prompt"):
    one = next(c for c in load().certificates if c.outcome == "certified")
    return one.model_copy(update={"radius": Decimal(radius), "guarantee_scope": scope})


def shown(result: FinishedResult) -> str:
    out = StringIO()
    print_certificates(result, Console(file=out, width=80))
    return " ".join(out.getvalue().split())


def test_a_certificate_for_a_frozen_prompt_never_heads_one_that_covers_more():
    whole, frozen = claim("0.01"), claim("0.9", "frozen_prompt")
    assert find_largest([frozen, whole]) == whole
    assert find_largest([frozen]) == frozen
    assert find_largest([claim("0.2"), whole]).radius == Decimal("0.2")


def test_the_terminal_states_the_confidence():
    assert "confidence 0.99 each." in shown(load())


def test_different_classes_are_headed_contradictory():
    one, other = claim("0.1"), claim("0.2").model_copy(update={"prediction": "something else"})
    result = load().model_copy(update={"certificates": (one, other)})
    assert "contradictory" in shown(result)
    assert "contradictory" not in shown(load())


def test_a_radius_that_covers_no_other_image_is_said_at_the_terminal():
    result = load().model_copy(update={"certificates": (claim("0.003921"),)})
    assert "no other 8-bit image is that near" in shown(result)
