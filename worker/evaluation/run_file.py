"""The file of an evaluation: a header, then one JSON line for each finished or skipped image.

Each line is written whole and synced, so a run that is killed loses only the unfinished images.
Documents are not held: of an image that is certified it is known where its line is.
"""

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, overload

from pydantic import Field, TypeAdapter, ValidationError

from worker.contract import Contract
from worker.contract.certificate.document import (
    AbstainedDocument,
    CertifiedDocument,
    FinishedResult,
)
from worker.evaluation.question import EvaluationQuestion, Row

RUN_FILE = "images.jsonl"
"""Its name in the folder of the run."""


class RunNotContinued(ValueError):
    """The run in the folder cannot be continued by this one."""


class RunBusy(RunNotContinued):
    """Another process is writing the run."""


class EvaluatedImage(Contract):
    """One image of the subset, with all its certificates.

    `samples` counts passes of image towers, copies for tuning included. `elapsed_s` runs from the
    start of the sitting. `seconds` runs from the start of this image, which shares the engine with
    the images certified at the same time. `baselines` are in the order of the question's.
    `certification` is the id of the image's certification, if a service made it.
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
    certification: str | None = Field(default=None, exclude_if=lambda found: found is None)

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


@dataclass(frozen=True, slots=True)
class _Span:
    """Where a line is in the file, and the sitting that wrote it."""

    offset: int
    length: int
    sitting: int


class StoredImages(Mapping[int, EvaluatedImage]):
    """The certified images of a run by place, in the order in which they ended.

    Each is read from the file when it is asked for. The file may have ended being written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._spans: dict[int, _Span] = {}

    def __getitem__(self, place: int) -> EvaluatedImage:
        span = self._spans[place]
        with self._path.open("rb") as file:
            file.seek(span.offset)
            return EvaluatedImage.model_validate_json(file.read(span.length))

    def __iter__(self) -> Iterator[int]:
        return iter(self._spans)

    def __len__(self) -> int:
        return len(self._spans)

    def add(self, image: EvaluatedImage, offset: int, length: int) -> None:
        """Takes note of an image whose line is there."""
        self._spans[image.place] = _Span(offset, length, image.sitting)

    @property
    def last_sitting(self) -> int:
        """The last sitting that finished an image; -1 where none did."""
        return max((span.sitting for span in self._spans.values()), default=-1)

    def in_order(self) -> "ImagesInOrder":
        """Those that are certified by now, by place."""
        return ImagesInOrder(self, sorted(self._spans))


class ImagesInOrder(Sequence[EvaluatedImage]):
    """Certified images of a run in order, each read from the file when it is asked for."""

    def __init__(self, images: StoredImages, places: Sequence[int]) -> None:
        self._images, self._places = images, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> EvaluatedImage: ...

    @overload
    def __getitem__(self, index: slice) -> "ImagesInOrder": ...

    def __getitem__(self, index: int | slice) -> "EvaluatedImage | ImagesInOrder":
        if isinstance(index, slice):
            return ImagesInOrder(self._images, self._places[index])
        return self._images[self._places[index]]


@dataclass(frozen=True, kw_only=True)
class EvaluationProgress:
    """The progress of a sitting.

    Attributes:
        images: the number of finished or skipped images, those of earlier sittings included.
        samples: the number of samples drawn in this sitting.
    """

    images: int
    samples: int


def count_ended(path: Path) -> int:
    """The finished or skipped images in a run's file, which may be written meanwhile."""
    try:
        with path.open("rb") as file:
            return max(0, sum(line.endswith(b"\n") for line in file) - 1)
    except FileNotFoundError:
        return 0


class RunFile:
    """The file of one run, held by one process while the context lasts.

    Entering the context raises `RunNotContinued` if another process holds the file, the file holds
    a different question, or it is damaged.

    Attributes:
        question: the header. It may be given later, to `begin`, by a run that learns from its
            first image which f and which key secret a service has. Skipped images wait for it.
        images: those that are certified.
        skipped: those that cannot be, by place.
    """

    def __init__(self, path: Path, question: EvaluationQuestion | None = None) -> None:
        self._path, self._asked = path, question
        self.question: EvaluationQuestion | None = None
        self.images = StoredImages(path)
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
        return 1 + self.images.last_sitting

    def begin(self, question: EvaluationQuestion) -> None:
        """Writes the header, or compares it with the one that is there.

        Raises:
            RunNotContinued: the file holds a different question.
        """
        if self.question is not None:
            self._require_same(question)
            return
        self.question = question
        self._write(question)
        for line in self.skipped.values():
            self._write(line)

    def append(self, line: Line) -> None:
        """Adds a finished or skipped image. Once there is a header, it is on disk at the end.

        Before there is one, only skipped images can be added.
        """
        if isinstance(line, SkippedImage):
            if self.question is not None:
                self._write(line)
            self.skipped[line.place] = line
        else:
            assert self.question is not None, "a certified image answers a question"
            self.images.add(line, *self._write(line))

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunBusy(f"another process is writing {self._path}; wait until it ends") from None

    def _resume(self) -> None:
        try:
            for offset, line in read_lines(self._file):
                self._read(offset, line)
        except ValidationError as error:
            raise RunNotContinued(
                f"{self._path} is not a run of this version; choose another --out"
            ) from error
        if self._asked is not None:
            self.begin(self._asked)

    def _read(self, offset: int, line: bytes) -> None:
        if self.question is None:
            self.question = EvaluationQuestion.model_validate_json(line)
            return
        match _LINE.validate_json(line):
            case SkippedImage() as skipped:
                self.skipped[skipped.place] = skipped
            case EvaluatedImage() as image:
                self.images.add(image, offset, len(line))

    def _require_same(self, question: EvaluationQuestion) -> None:
        assert self.question is not None, "there is something to compare with"
        if (other := self.question.find_difference(question)) is not None:
            raise RunNotContinued(
                f"{self._path} holds a run with a different {other}. Repeat its arguments to "
                "continue it, or choose another --out."
            )

    def _write(self, line: EvaluationQuestion | Line) -> tuple[int, int]:
        """Writes a line at the end of the file. Returns where it begins, and its length."""
        offset, written = self._file.seek(0, os.SEEK_END), line.model_dump_json().encode() + b"\n"
        self._file.write(written)
        self._file.flush()
        os.fsync(self._file.fileno())
        return offset, len(written)


def read_lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that is opened for reading and writing, each with where it begins.

    Removes a last one that a kill cut.
    """
    offset = file.seek(0)
    for line in file:
        if not line.endswith(b"\n"):
            file.truncate(offset)
            return
        yield offset, line
        offset += len(line)
