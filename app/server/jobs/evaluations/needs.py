"""What an evaluation takes of the app's disk and of Redis, and what others leave of both."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from app.request.evaluation_needs import EvaluationNeeds, estimate_needs
from app.server.jobs.evaluations.lines import READER
from app.server.jobs.evaluations.record import StoredEvaluation, list_open
from models.catalogue import Catalogue
from models.catalogue.cards import ModelCard
from worker.contract import ANY_IMAGE
from worker.store.connection import find_free_memory


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Bytes that an evaluation takes at most, those that are free, and those not to be had.

    Attributes:
        taken: what the evaluation takes at most.
        reserved: what evaluations that have not ended still take at most, of what is free.
        disk_free: of the app's disk.
        redis_free: of the memory of Redis; None: not known.
    """

    taken: EvaluationNeeds
    reserved: EvaluationNeeds
    disk_free: int
    redis_free: int | None

    @property
    def fits(self) -> bool:
        """Whether there is enough of both."""
        disk, redis = (
            self.taken.disk + self.reserved.disk,
            self.taken.redis + self.reserved.redis,
        )
        return disk <= self.disk_free and (self.redis_free is None or redis <= self.redis_free)


def find_needs(
    redis: Redis, root: Path, catalogue: Catalogue, asked: StoredEvaluation, card: ModelCard
) -> Needs:
    """What an evaluation takes, all samples taken, beside those that are open in the folder."""
    return Needs(
        taken=_estimate(asked, card, len(asked.files)),
        reserved=find_reserved(root, catalogue),
        disk_free=shutil.disk_usage(root).free,
        redis_free=find_free_memory(redis),
    )


def find_reserved(root: Path | None, catalogue: Catalogue) -> EvaluationNeeds:
    """What the open evaluations of a folder still take at most: their images that have not ended.

    One whose model is not installed any more cannot go on, and takes nothing.
    """
    found = [] if root is None else list(_list_left(root, catalogue))
    return EvaluationNeeds(
        disk=sum(one.disk for one in found), redis=sum(one.redis for one in found)
    )


def _list_left(root: Path, catalogue: Catalogue) -> Iterator[EvaluationNeeds]:
    cards = {card.id: card for card in catalogue.list()}
    for folder, asked in list_open(root):
        if (card := cards.get(asked.model.id)) is not None:
            ended = max(0, READER.count(folder.run_file) - 1)
            yield _estimate(asked, card, len(asked.files) - ended)


def _estimate(asked: StoredEvaluation, card: ModelCard, images: int) -> EvaluationNeeds:
    request = asked.create_request(ANY_IMAGE)
    return estimate_needs(request, images=images, size=card.preprocessing.size)
