"""Checks what import-linter cannot: sizes of rooms and files, and cycles among the page's modules.

`make check` runs it. A room is a folder of Python modules; `__init__.py` does not count.
"""

import re
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("app", "worker", "models")
LARGEST = 16
SMALLEST = 3  # unless it holds rooms
LONGEST = {"app": 450, "worker": 450, "models": 450, "tests": 550}  # lines of a file
PAGE = ROOT / "app" / "web" / "page"
_IMPORT = re.compile(r"""^\s*(?:import|export)\b[^;'"]*['"](\.{1,2}/[\w./]+)['"]""", re.MULTILINE)


def find_rooms(package: Path) -> Iterator[Path]:
    """The package itself and every package folder below it."""
    return (file.parent for file in sorted(package.rglob("__init__.py")))


def check_size(room: Path) -> Iterator[str]:
    """Reports a room with too many or too few modules."""
    modules = sum(1 for file in room.glob("*.py") if file.name != "__init__.py")
    holds_rooms = any(room.glob("*/__init__.py"))
    name = room.relative_to(ROOT) if room.is_relative_to(ROOT) else room
    if modules > LARGEST:
        yield f"{name} has {modules} modules; a room has at most {LARGEST}: split it by noun"
    if modules < SMALLEST and not holds_rooms:
        yield f"{name} has {modules} modules; a room has at least {SMALLEST}: merge it"


def check_lengths(folder: Path, longest: int) -> Iterator[str]:
    """Reports a Python file with more lines than that."""
    for file in sorted(folder.rglob("*.py")):
        lines = len(file.read_text(encoding="utf-8").splitlines())
        if lines > longest:
            name = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file
            yield f"{name} has {lines} lines; a file has at most {longest}: split it by noun"


def check_page(folder: Path) -> Iterator[str]:
    """Reports an import cycle among the ES modules of a page, in all of its folders."""
    folder = folder.resolve()
    imports = {
        file: {(file.parent / path).resolve() for path in _IMPORT.findall(file.read_text())}
        for file in folder.rglob("*.js")
    }
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        circle = " -> ".join(str(file.relative_to(folder)) for file in error.args[1])
        yield f"{folder.name}: an import cycle: {circle}"


def main() -> None:
    """Prints the faults. Exit status 1 if there are any."""
    faults = [
        fault for name in PACKAGES for room in find_rooms(ROOT / name) for fault in check_size(room)
    ]
    for name, longest in LONGEST.items():
        faults += check_lengths(ROOT / name, longest)
    faults += check_page(PAGE)
    for fault in faults:
        print(f"rooms: {fault}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
