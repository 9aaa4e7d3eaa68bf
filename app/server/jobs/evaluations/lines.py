"""The lines of runs, read while somebody writes them; each line is parsed once.

A line has whole documents. What is held of it is only what answers show.
"""

import sys
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from threading import Lock
from typing import Self

from pydantic import TypeAdapter

from worker.contract.certificate.document import CertifiedDocument
from worker.evaluation.accuracy import find_right_radius
from worker.evaluation.question import EvaluationQuestion, Row
from worker.evaluation.run_file import EvaluatedImage, Line, SkippedImage

_LINE: TypeAdapter[Line] = TypeAdapter(Line)
_MOST_RUNS = 8  # held at a time


@dataclass(frozen=True, slots=True)
class RowOutcome:
    """What an image's certificate of one row says; `prediction` and `radius` if it is certified.

    `right_radius` is the radius within which the right class is certified, or None.
    """

    prediction: str | None
    radius: Decimal | None
    right_radius: Decimal | None

    @classmethod
    def of(cls, image: EvaluatedImage, row: Row) -> Self:
        """What is shown of a certificate."""
        one = image.find_certificate(row)
        if not isinstance(one, CertifiedDocument):
            return cls(None, None, None)
        prediction, right = sys.intern(one.prediction), find_right_radius(one, image.class_index)
        return cls(prediction, one.radius, right)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownImage:
    """What answers need of a finished image; `outcomes` in the order of the question's rows."""

    place: int
    file: str
    class_index: int
    input_sha256: str
    certification: str | None
    sitting: int
    elapsed_s: float
    outcomes: tuple[RowOutcome, ...]

    @classmethod
    def of(cls, image: EvaluatedImage, rows: Sequence[Row]) -> Self:
        """What is shown of an image's line."""
        return cls(
            place=image.place,
            file=image.file,
            class_index=image.class_index,
            input_sha256=image.result.input.sha256,
            certification=image.certification,
            sitting=image.sitting,
            elapsed_s=image.elapsed_s,
            outcomes=tuple(RowOutcome.of(image, row) for row in rows),
        )


@dataclass
class Lines:
    """What a run's file held when it was last read."""

    question: EvaluationQuestion | None = None
    rows: tuple[Row, ...] = ()
    images: dict[int, ShownImage] = field(default_factory=dict)
    skipped: dict[int, SkippedImage] = field(default_factory=dict)
    offset: int = 0

    def read_on(self, path: Path) -> None:
        """Takes the lines that were added. A last line without an end is left for later."""
        with path.open("rb") as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._take(line)
                self.offset += len(line)

    def _take(self, line: bytes) -> None:
        if self.question is None:
            self.question = EvaluationQuestion.model_validate_json(line)
            self.rows = self.question.rows
            return
        match _LINE.validate_json(line):
            case SkippedImage() as skipped:
                self.skipped[skipped.place] = skipped
            case EvaluatedImage() as image:
                self.images[image.place] = ShownImage.of(image, self.rows)

    def copy(self) -> "Lines":
        """One that is not read on."""
        images, skipped = dict(self.images), dict(self.skipped)
        return Lines(self.question, self.rows, images, skipped, self.offset)


@dataclass
class LineCount:
    """How many whole lines a run's file had when it was last read, its header included."""

    lines: int = 0
    offset: int = 0

    def read_on(self, path: Path) -> None:
        """Counts the lines that were added."""
        with path.open("rb") as file:
            file.seek(self.offset)
            for line in file:
                if line.endswith(b"\n"):
                    self.lines, self.offset = self.lines + 1, self.offset + len(line)


@dataclass
class _Held:
    """A run that is kept: one thread reads it on at a time."""

    lock: Lock = field(default_factory=Lock)
    lines: Lines = field(default_factory=Lines)


class RunReader:
    """Reads runs for answers. Those asked for last are kept, and only read on."""

    def __init__(self) -> None:
        self._held: OrderedDict[Path, _Held] = OrderedDict()
        self._counts: dict[Path, LineCount] = {}
        self._lock, self._counting = Lock(), Lock()

    def read(self, path: Path) -> Lines:
        """The lines of a run so far; none where there is no file yet. Other runs do not wait."""
        held = self._hold(path)
        try:
            with held.lock:
                if path.stat().st_size < held.lines.offset:  # another run, or one cut short
                    held.lines = Lines()
                held.lines.read_on(path)
                return held.lines.copy()
        except FileNotFoundError:
            self._forget(path)
            return Lines()

    def count(self, path: Path) -> int:
        """The lines of a run so far, its header included. None of them is parsed."""
        with self._counting:
            count = self._counts.pop(path, None) or LineCount()
            try:
                if path.stat().st_size < count.offset:
                    count = LineCount()
                count.read_on(path)
            except FileNotFoundError:
                return 0
            self._counts[path] = count
            return count.lines

    def _hold(self, path: Path) -> _Held:
        with self._lock:
            held = self._held.pop(path, None) or _Held()
            self._held[path] = held
            if len(self._held) > _MOST_RUNS:
                self._held.popitem(last=False)
            return held

    def _forget(self, path: Path) -> None:
        with self._lock:
            self._held.pop(path, None)


READER = RunReader()
"""The one of this process."""
