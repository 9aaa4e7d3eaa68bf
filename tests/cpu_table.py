"""What the tests cost: CPU seconds of each file, with those of the processes that its tests start.

Time on a clock says how busy the machine was; CPU seconds say what a change to a test saves.
`make test CPU=build/cpu.txt` writes the table.
"""

import json
import os
import resource
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

_TICKS = os.sysconf("SC_CLK_TCK")


def spent_s() -> float:
    """CPU seconds of this process, of its children that have ended, and of those that live."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = (resource.getrusage(kind) for kind in kinds)
    own = sum(one.ru_utime + one.ru_stime for one in used)
    return own + sum(_read_s(process) for process in _list_descendants(os.getpid()))


def _list_descendants(process: int) -> Iterator[int]:
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text().split()]
        except OSError:
            continue
        for child in children:
            yield child
            yield from _list_descendants(child)


def _read_s(process: int) -> float:
    """CPU seconds of a living process and of its children that have ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0  # it has ended in the meantime
    return sum(map(int, fields[11:15])) / _TICKS


class CpuTable:
    """Counts for each test of this process; the process that started it adds the tables up.

    Args:
        file: where the table goes.
        worker: the name of this process among those that run tests.
        counts: whether this process runs tests itself.
    """

    def __init__(self, file: Path, worker: str, *, counts: bool) -> None:
        self._parts = file.with_suffix(".parts")
        self._file, self._worker, self._counts = file, worker, counts
        self._tests: Counter[str] = Counter()
        self._last = 0.0

    def pytest_collection_finish(self) -> None:
        self._count("(collection)")

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._count(nodeid)

    def _count(self, name: str) -> None:
        if self._counts:
            now = spent_s()
            self._tests[name] += now - self._last
            self._last = now

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        self._parts.mkdir(parents=True, exist_ok=True)
        self._parts.joinpath(f"{self._worker}.json").write_text(json.dumps(self._tests))

    def write(self) -> None:
        """The table, of this process and of those that ran tests for it: files, then tests."""
        tests: Counter[str] = Counter()
        for part in sorted(self._parts.glob("*.json")):  # none of a process that was killed
            tests.update(json.loads(part.read_text()))
        shutil.rmtree(self._parts, ignore_errors=True)
        files: Counter[str] = Counter()
        for test, seconds in tests.items():
            files[test.partition("::")[0]] += seconds
        lines = [f"{seconds:9.2f}  {name}" for name, seconds in files.most_common()]
        lines += ["", *(f"{seconds:9.2f}  {name}" for name, seconds in tests.most_common(200))]
        total = f"{files.total():9.2f}  CPU seconds in all"
        self._file.write_text("\n".join([total, "", *lines, ""]))
