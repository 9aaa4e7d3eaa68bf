"""Tests lie where what they test lies."""

from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_every_folder_of_tests_has_the_name_of_a_room():
    rooms = ("app", "worker", "models")
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}
    mirrors = [folder for folder in folders if folder.parts[0] in rooms]
    assert len(mirrors) > 20
    assert [one for one in mirrors if not (TESTS.parent / one / "__init__.py").is_file()] == []
