"""Every trap of RQ that docs/queue.md names has its tests, and they exist."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_every_trap_names_tests_that_there_are():
    page = (REPOSITORY / "docs" / "queue.md").read_text()
    table = page.partition("## Traps of RQ")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and "---" not in line][1:]
    assert len(rows) >= 19
    for row in rows:
        named = re.findall(r"`(tests/[\w/.]+\.py)`: `([\w ]+)`", row)
        assert named, row
        for file, test in named:
            assert re.search(rf"^def {test}\(|\"{test}\"", _read(file), re.MULTILINE), test


def _read(file: str) -> str:
    return (REPOSITORY / file).read_text()
