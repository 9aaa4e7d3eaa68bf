"""What HTTP shows of evaluations."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, PlainSerializer

from app.server.answers.schemas import Schema
from worker.contract import Failure, ModelRef
from worker.evaluation.accuracy import Share

Status = Literal["queued", "running", "finished", "failed", "cancelled"]
ResultsFile = Literal[
    "images.jsonl",
    "results.json",
    "results.csv",
    "results.md",
    "results.tex",
    "plot.svg",
    "plot.png",
]
_Figure = Annotated[Decimal, PlainSerializer(float, return_type=float, when_used="json")]


class DatasetView(Schema):
    """A dataset that lies with the service."""

    name: str
    splits: tuple[Literal["train", "test"], ...]


class DatasetList(Schema):
    """The datasets that an evaluation can name."""

    datasets: tuple[DatasetView, ...]


class EvaluationNeeds(Schema):
    """What an evaluation takes at most, and what there is. `fits`: it would be started."""

    images: int
    samples: int = Field(description="Passes of the image tower, if every image takes all.")
    disk_bytes: int
    disk_reserved_bytes: int = Field(
        description="Of the free disk, what evaluations that have not ended still take at most."
    )
    disk_free_bytes: int
    redis_bytes: int = Field(
        description="Memory of the queue while its certifications are kept; images go sooner."
    )
    redis_reserved_bytes: int = Field(
        description="Of the free memory, what evaluations that have not ended still take at most."
    )
    redis_free_bytes: int | None = Field(description="null: the queue does not say.")
    estimated_s: float | None = Field(
        description="Seconds at the speed that worker hosts measured, all samples taken and "
        "nothing else waiting; null: not known."
    )
    fits: bool


class RowAt(Schema):
    """Certified accuracy of a row at one radius, over the images that are finished."""

    radius: _Figure
    accuracy: Share


class EvaluationRow(Schema):
    """A target at one noise level, over the images that are finished.

    `right_radii` are the radii of the images that are certified right, ascending: certified
    accuracy at r is the share of those of at least r.
    """

    label: str
    sigma: _Figure
    images: int
    abstained: int
    wrong: int
    at_radius: tuple[RowAt, ...]
    right_radii: tuple[_Figure, ...]


class EvaluationLinks(Schema):
    """Where the rest is; `results` once it has finished."""

    self: str
    images: str
    results: dict[ResultsFile, str] = Field(default_factory=dict)


class EvaluationView(Schema):
    """An evaluation as it stands."""

    id: str
    status: Status
    submitted_at: datetime
    ended_at: datetime | None
    failure: Failure | None
    dataset: str
    split: Literal["train", "test"]
    seed: int
    listing_sha256: str = Field(description="The images by content, names, classes and order.")
    model: ModelRef
    images: int = Field(description="Images that were chosen.")
    done: int = Field(description="Images that are finished or skipped.")
    skipped: int = Field(description="Images that cannot be decoded; no row counts them.")
    estimated_s: float | None = Field(
        description="Seconds left at the pace of the last images; null: not known."
    )
    table: tuple[EvaluationRow, ...]
    links: EvaluationLinks


class EvaluationSummary(Schema):
    """An evaluation in the list."""

    id: str
    status: Status
    submitted_at: datetime
    dataset: str
    split: Literal["train", "test"]
    model: ModelRef
    images: int
    done: int
    links: EvaluationLinks


class EvaluationList(Schema):
    """The caller's evaluations, newest first."""

    evaluations: tuple[EvaluationSummary, ...]


class RowName(Schema):
    """What a column of `outcomes` is about."""

    label: str
    sigma: _Figure


class ImageOutcome(Schema):
    """What one image's certificate of one row says."""

    outcome: Literal["certified", "abstained"]
    prediction: str | None
    radius: _Figure | None
    right: bool


class EvaluationImage(Schema):
    """An image of an evaluation: its outcomes in the order of the rows, or why it was skipped."""

    place: int
    file: str
    class_name: str
    input_sha256: str | None = None
    certification: str | None = None
    outcomes: tuple[ImageOutcome, ...] = ()
    why_not: str | None = None


class EvaluationImages(Schema):
    """The images that are finished or skipped, in order, to compare evaluations one by one."""

    id: str
    rows: tuple[RowName, ...]
    images: tuple[EvaluationImage, ...]
