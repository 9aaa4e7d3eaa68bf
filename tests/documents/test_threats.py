"""Every row of the threat model names tests, and they exist."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_every_threat_names_tests_that_there_are() -> None:
    page = (REPOSITORY / "docs" / "security.md").read_text()
    table = page.partition("## Threat model")[2].partition("**Out of scope**")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and "---" not in line][1:]
    assert len(rows) >= 20
    for row in rows:
        assert row.count(" | ") == 3, row
        named = re.findall(r"`(tests/[\w/.]+\.py)`: `(\w+)`", row)
        assert named, row
        for file, test in named:
            text = (REPOSITORY / file).read_text()
            assert re.search(rf"^def {test}\(", text, re.MULTILINE), f"{file}: {test}"
