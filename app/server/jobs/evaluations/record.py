"""An evaluation in its folder: what was asked, the lines of its images, and how it ended.

Nothing of it is in Redis but the certifications of its images. The folder is of the form that
`promptsmooth evaluate` writes, so every program that reads the one reads the other.
"""

import shutil
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from app.settings import Quotas
from models.catalogue.cards import Sha256
from models.files.whole_file import create_whole
from models.log import get_logger
from worker.contract import (
    ANONYMOUS,
    Alpha,
    CertifyRequest,
    Contract,
    Failure,
    Identity,
    InputImage,
    ModelRef,
    NoiseLevels,
    Procedure,
    Target,
)
from worker.evaluation.question import EvaluationQuestion
from worker.evaluation.run_file import RUN_FILE

log = get_logger(__name__)
_ASKED, _ENDED = "asked.json", "ended.json"


class LabelledName(Contract):
    """An image of the dataset: `<class folder>/<file>`, its class, and the digest of the file."""

    name: str
    class_index: int = Field(ge=0)
    sha256: Sha256


class StoredEvaluation(Contract):
    """What an evaluation was asked, fixed before its first image is certified.

    `owner` and `quotas` are those of the key that asked; its certifications are that key's too.
    `fingerprint` is the digest of the request, for its idempotency key.
    """

    id: str
    owner: str
    quotas: Quotas
    submitted_at: datetime
    request_id: str
    fingerprint: Sha256
    dataset: str
    split: Literal["train", "test"]
    seed: int
    listing_sha256: Sha256
    files: tuple[LabelledName, ...] = Field(min_length=1)
    model: ModelRef
    architecture: str
    targets: tuple[Target, ...] = Field(min_length=1)
    sigmas: NoiseLevels
    procedure: Procedure
    alpha: Alpha
    radii: tuple[Decimal, ...]

    def create_question(self, identity: Identity, key_commitment: str) -> EvaluationQuestion:
        """The header of the run, once it is known which f and key secret the hosts have."""
        return EvaluationQuestion(
            dataset=self.dataset,
            split=self.split,
            images=len(self.files),
            seed=self.seed,
            listing_sha256=self.listing_sha256,
            identity=identity,
            targets=self.targets,
            sigmas=self.sigmas,
            procedure=self.procedure,
            alpha=self.alpha,
            key_commitment=key_commitment,
        )

    def create_request(self, described: InputImage) -> CertifyRequest:
        """The request for one image, fixed before its noise keys exist."""
        return CertifyRequest(
            input=described,
            model=self.model,
            targets=self.targets,
            sigmas=self.sigmas,
            procedure=self.procedure,
            alpha=self.alpha,
        )


class EndedEvaluation(Contract):
    """How an evaluation ended."""

    status: Literal["finished", "failed", "cancelled"]
    ended_at: datetime
    failure: Failure | None = None


@dataclass(frozen=True)
class EvaluationFolder:
    """The folder of one evaluation."""

    path: Path

    @property
    def run_file(self) -> Path:
        """Where the lines of finished images are."""
        return self.path / RUN_FILE

    def create(self, asked: StoredEvaluation) -> bool:
        """Stores what is asked, on disk before this returns. Returns False if there is some."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return create_whole(self.path / _ASKED, asked.model_dump_json().encode())

    def read(self) -> StoredEvaluation | None:
        """What was asked; None where nothing is, or what cannot be read."""
        try:
            return StoredEvaluation.model_validate_json((self.path / _ASKED).read_bytes())
        except FileNotFoundError:
            return None
        except (ValidationError, OSError) as error:
            log.error("evaluation_unreadable", error=type(error).__name__)
            return None

    @property
    def is_stored(self) -> bool:
        """Whether it is there; False once it was purged."""
        return (self.path / _ASKED).exists()

    @property
    def has_ended(self) -> bool:
        """Whether it has ended, in whatever way."""
        return (self.path / _ENDED).exists()

    def find_end(self) -> EndedEvaluation | None:
        """How it ended; None while it is queued or running."""
        try:
            return EndedEvaluation.model_validate_json((self.path / _ENDED).read_bytes())
        except FileNotFoundError:
            return None

    def end(self, ended: EndedEvaluation) -> bool:
        """Stores how it ended. The first end stands; returns whether this is it."""
        return create_whole(self.path / _ENDED, ended.model_dump_json().encode())

    def remove(self) -> None:
        """Removes the folder: what was asked first, so that half of it is nothing."""
        (self.path / _ASKED).unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)


Stored = tuple[EvaluationFolder, StoredEvaluation]


def list_evaluations(root: Path) -> list[Stored]:
    """All evaluations of a folder, the oldest first."""
    return _read_in_order(_list_folders(root))


def list_open(root: Path, without: Collection[str] = ()) -> list[Stored]:
    """Those that have not ended, the oldest first. Of the others nothing is read.

    Args:
        root: the folder of evaluations.
        without: ids of some to leave out.
    """
    folders = (folder for folder in _list_folders(root) if folder.path.name not in without)
    return _read_in_order(folder for folder in folders if not folder.has_ended)


def find_key_owner(root: Path | None) -> str | None:
    """The id of a key that an evaluation belongs to; None if none belongs to any."""
    owners = (asked.owner for _, asked in list_evaluations(root)) if root is not None else ()
    return next((owner for owner in owners if owner != ANONYMOUS), None)


def _list_folders(root: Path) -> list[EvaluationFolder]:
    return [EvaluationFolder(path) for path in root.iterdir()] if root.is_dir() else []


def _read_in_order(folders: Iterable[EvaluationFolder]) -> list[Stored]:
    found = [(folder, asked) for folder in folders if (asked := folder.read()) is not None]
    return sorted(found, key=lambda pair: (pair[1].submitted_at, pair[1].id))
