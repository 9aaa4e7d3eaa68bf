"""What is known of a row of an evaluation without noise."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from worker.evaluation.accuracy import Share
from worker.evaluation.others import OtherImages
from worker.evaluation.question import Row
from worker.evaluation.run_file import EvaluatedImage


@dataclass(frozen=True, kw_only=True)
class Noiseless:
    """A row without noise.

    Attributes:
        clean: the accuracy of its base classifier; None if each image has its own, or it is chosen
            from several.
        others: what the prompts tuned on single images answer on the others; None if none is tuned.
    """

    clean: Share | None = None
    others: OtherImages | None = None


TunedIds = tuple[str | None, ...]
"""The ids of the prompts that were tuned on images or for rows; None where none was."""


def list_tuned(rows: Sequence[Row], images: Iterable[EvaluatedImage]) -> dict[int, TunedIds]:
    """Of each image, by place and in order, the prompts that were tuned on it for the rows."""
    return {image.place: tuple(_find_tuned(image, row) for row in rows) for image in images}


def _find_tuned(image: EvaluatedImage, row: Row) -> str | None:
    ref = image.find_certificate(row).prompt
    return ref.id if ref is not None and ref.is_tuned_on_an_image else None
