"""No cell of a CSV file is a formula."""

import re

import pytest

from models.files.csv_cells import disarm


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "＝", " =", "\t=", "\r=", "a;="])
def test_formulas_are_disarmed(sign: str) -> None:
    text = disarm(f"{sign}1+1")
    first = re.search(r"[=+\-@＝]", text)
    assert first is not None
    assert "'" in text[: first.start()]


@pytest.mark.parametrize(
    "value", ["benign", "a-b", "a = b", 0.25, "", "0.057475", "x@y", -0.5, "-1e-05"]
)
def test_other_cells_stay_as_they_are(value: object) -> None:
    assert disarm(value) == str(value)
