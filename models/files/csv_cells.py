"""Cells of CSV files that a spreadsheet opens without computing them."""

import re

# A formula begins like this, also in full-width letters and where a program splits at semicolons.
_FORMULA = re.compile(r"(^|[;\t\r\n])(?=\s*[=+\-@＝＋－＠])")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


def disarm(value: object) -> str:
    """Returns a cell's text, with a quote before what a spreadsheet would take for a formula.

    Names of files, classes and prompts come from others. Numbers stay as they are, and None is
    empty. See OWASP, "CSV Injection".
    """
    text = "" if value is None else str(value)
    return text if _NUMBER.fullmatch(text) else _FORMULA.sub(r"\1'", text)
