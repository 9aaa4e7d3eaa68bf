"""What a check of the doctor found."""

from typing import Literal

from app.server.answers.schemas import Schema

Verdict = Literal["ok", "warning", "fails"]


class Check(Schema):
    """The result of one check."""

    name: str
    verdict: Verdict
    found: str
    do: str = ""
