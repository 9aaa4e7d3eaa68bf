"""The file of an evaluation: a header, then one JSON line for each finished or skipped image.

Each line is written whole and synced, so a run that is killed loses only the unfinished images.
"""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import Field, TypeAdapter, ValidationError

from worker.contract import Contract
from worker.contract.certificate.document import (
    AbstainedDocument,
    CertifiedDocument,
    FinishedResult,
)
from worker.evaluation.question import EvaluationQuestion, Row


class RunNotContinued(ValueError):
    """The run in the folder cannot be continued by this one."""


class EvaluatedImage(Contract):
    """One image of the subset, with all its certificates.

    `samples` counts passes of image towers, copies for tuning included. `elapsed_s` runs from the
    start of the sitting. `seconds` runs from the start of this image, which shares the engine with
    the images certified at the same time. `baselines` are in the order of the question's.
    """

    place: int = Field(ge=0)
    file: str
    class_index: int = Field(ge=0)
    samples: int = Field(ge=1)
    seconds: float = Field(ge=0)
    sitting: int = Field(ge=0)
    elapsed_s: float = Field(ge=0)
    result: FinishedResult
    baselines: tuple[FinishedResult, ...] = Field(default=(), exclude_if=lambda found: not found)

    def find_certificate(self, row: Row) -> CertifiedDocument | AbstainedDocument:
        """The certificate of this image in a row of the tables."""
        return (self.result, *self.baselines)[row.document].certificates[row.certificate]


class SkippedImage(Contract):
    """One image of the subset that cannot be certified, and why.

    `code` is that of the refusal (`models.imaging.ImageError`), and `why_not` its sentence.
    """

    place: int = Field(ge=0)
    file: str
    class_index: int = Field(ge=0)
    code: str
    why_not: str


Line = EvaluatedImage | SkippedImage
_LINE: TypeAdapter[Line] = TypeAdapter(Line)


class RunFile:
    """The file of one run, held by one process while the context lasts.

    Entering the context raises `RunNotContinued` if another process holds the file, the file holds
    a different question, or it is damaged.
    """

    def __init__(self, path: Path, question: EvaluationQuestion) -> None:
        self._path, self._question = path, question
        self.images: dict[int, EvaluatedImage] = {}
        self.skipped: dict[int, SkippedImage] = {}

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a+b")
        try:
            self._lock()
            self._resume()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def sitting(self) -> int:
        """The number of this sitting: one more than the last sitting that finished an image."""
        return 1 + max((image.sitting for image in self.images.values()), default=-1)

    def append(self, line: Line) -> None:
        """Adds a finished or skipped image. It is on disk when this returns."""
        self._write(line)
        self._add(line)

    def _add(self, line: Line) -> None:
        if isinstance(line, SkippedImage):
            self.skipped[line.place] = line
        else:
            self.images[line.place] = line

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunNotContinued(
                f"another process is writing {self._path}; wait until it ends"
            ) from None

    def _resume(self) -> None:
        self._file.seek(0)
        lines = self._file.read().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):  # a kill cut this line short
            self._file.truncate(sum(map(len, lines[:-1])))
            lines.pop()
        if not lines:
            self._write(self._question)
            return
        try:
            stored = EvaluationQuestion.model_validate_json(lines[0])
            found = [_LINE.validate_json(line) for line in lines[1:]]
        except ValidationError as error:
            raise RunNotContinued(
                f"{self._path} is not a run of this version; choose another --out"
            ) from error
        if (other := stored.find_difference(self._question)) is not None:
            raise RunNotContinued(
                f"{self._path} holds a run with a different {other}. Repeat its arguments to "
                "continue it, or choose another --out."
            )
        for line in found:
            self._add(line)

    def _write(self, line: EvaluationQuestion | Line) -> None:
        self._file.write(line.model_dump_json().encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
