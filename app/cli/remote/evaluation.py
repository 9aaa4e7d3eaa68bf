"""What `promptsmooth evaluate --server` asks a service, and the results of its answers."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

from app.cli.remote.prompts import SharedPrompt, share_prompts
from app.client import AsyncClient
from app.local.evaluation_options import EvaluationOptions, choose_images, name_fields
from app.local.noiseless import measure_noiseless
from app.request.certify import parse_fields
from app.request.certify_request import resolve_targets
from app.request.evaluation_needs import estimate_needs, write_mb
from models.catalogue.cards import reads_texts
from models.datasets.files import LabelledFile
from models.datasets.subset import content_sha256, digest_listing
from worker.contract import ANY_IMAGE, CertifyRequest, Identity, ModelRef, Procedure, Target
from worker.contract.host import f_sha256
from worker.contract.witness import FinishedWitness
from worker.evaluation.noiseless import Noiseless
from worker.evaluation.question import EvaluationQuestion
from worker.evaluation.results import EvaluationResults, create_results
from worker.evaluation.run_file import (
    RUN_FILE,
    EvaluatedImage,
    SkippedImage,
    count_ended,
)
from worker.evaluation.tightness import measure_tightness
from worker.evaluation.trained import describe_prompt


@dataclass(frozen=True, kw_only=True)
class RemoteModel:
    """A model as `GET /models/{id}` describes it."""

    id: str
    sha256: str
    weights_sha256: str
    architecture: str
    class_names: tuple[str, ...]
    template: str
    size: int

    @property
    def ref(self) -> ModelRef:
        """The model as certificates name it."""
        return ModelRef(id=self.id, sha256=self.sha256)

    @property
    def has_texts(self) -> bool:
        """Whether a text tower reads the class names."""
        return reads_texts(self.architecture)

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> "RemoteModel":
        """Takes what is needed from the service's answer."""
        facts = {**answer["preprocessing"], **answer, "class_names": tuple(answer["class_names"])}
        return cls(**{name: facts[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True, kw_only=True)
class RemoteEvaluation:
    """What to evaluate, where to ask, and where to write the run.

    Attributes:
        files: the images, in order.
        sent: the fields of each image's certification.
        targets, sigmas, procedure, alpha: what they mean.
        attacked: the number of images, from the first, for which the service looks for a witness.
        most: the most images under way at a time; None: what the service has room for.
    """

    dataset: str
    split: str
    seed: int
    files: Sequence[LabelledFile]
    model: RemoteModel
    sent: Mapping[str, Any]
    targets: tuple[Target, ...]
    sigmas: tuple[Decimal, ...]
    procedure: Procedure
    alpha: Decimal
    prompts: tuple[SharedPrompt, ...]
    folder: Path
    attacked: int = 0
    most: int | None = None

    @cached_property
    def contents(self) -> tuple[str, ...]:
        """The digests of the files. Each is read once for it."""
        return tuple(content_sha256(file.path) for file in self.files)

    @cached_property
    def listing_sha256(self) -> str:
        """Identifies the chosen files by their order, names, classes and contents."""
        return digest_listing(self.files, self.contents)

    def create_request(self) -> CertifyRequest:
        """What is asked about each image: about any one, to say what it costs."""
        return CertifyRequest(
            input=ANY_IMAGE,
            model=self.model.ref,
            targets=self.targets,
            sigmas=self.sigmas,
            procedure=self.procedure,
            alpha=self.alpha,
        )

    def create_question(self, identity: Identity, key_commitment: str) -> EvaluationQuestion:
        """The header of the run, once it is known which f and which key secret the service has."""
        return EvaluationQuestion(
            dataset=self.dataset,
            split=self.split,
            images=len(self.files),
            seed=self.seed,
            listing_sha256=self.listing_sha256,
            identity=identity.model_copy(update={"model": self.model.ref}),
            targets=self.targets,
            sigmas=self.sigmas,
            procedure=self.procedure,
            alpha=self.alpha,
            key_commitment=key_commitment,
        )


async def create_remote(
    options: EvaluationOptions, client: AsyncClient, *, prompts: Path | None
) -> RemoteEvaluation:
    """Lists the images here, asks for the model, and sends the prompts that the service lacks.

    Args:
        options: what the command line says.
        client: of the service.
        prompts: this machine's folder of prompts.

    Raises:
        ValueError: an option makes no sense, or the service refuses one.
    """
    chosen = choose_images(options)
    model = RemoteModel.parse(await client.model(options.model))
    shared = await share_prompts(client, options.prompts, prompts)
    cards = {name: one.card for one in shared for name in (one.card.id, one.card.sha256)}
    digests = [one.card.sha256 for one in shared]
    sent = name_fields(options, chosen.dataset, model.template, digests)
    fields = parse_fields(sent)
    return RemoteEvaluation(
        dataset=chosen.dataset.id,
        split=options.split,
        seed=options.seed,
        files=chosen.files,
        model=model,
        sent={**sent, "model": model.id, "priority": "batch"},
        targets=resolve_targets(fields, model, cards.get),
        sigmas=tuple(fields.sigma),
        procedure=fields.requested_procedure,
        alpha=fields.alpha,
        prompts=shared,
        folder=options.out or Path(f"evaluation-{chosen.dataset.id}-{model.id}"),
        attacked=options.attacked,
        most=options.concurrent,
    )


async def check_needs(client: AsyncClient, asked: RemoteEvaluation) -> str:
    """Says what the images that are missing take at most of this disk and the service's memory.

    Raises:
        ValueError: there is less.
    """
    missing = len(asked.files) - count_ended(asked.folder / RUN_FILE)
    needs = estimate_needs(asked.create_request(), images=missing, size=asked.model.size)
    capacity, disk = await client.capacity(), _find_free_disk(asked.folder)
    memory, reserved = capacity["memory_free_bytes"], capacity["memory_reserved_bytes"]
    said = (
        f"at most {write_mb(needs.disk)} of disk here, of which {write_mb(disk)} are free, and "
        f"{write_mb(needs.redis)} of the service's memory"
    )
    said += "" if memory is None else f", of which {write_mb(memory)} are free"
    if reserved:
        said += f" and evaluations that the service runs still take up to {write_mb(reserved)}"
    if needs.disk > disk or (memory is not None and needs.redis + reserved > memory):
        raise ValueError(f"the evaluation needs {said}; choose fewer images or samples")
    return said


def _find_free_disk(folder: Path) -> int:
    return shutil.disk_usage(next(one for one in folder.absolute().parents if one.is_dir())).free


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A run in which every image has ended.

    Attributes:
        images: its certified images in order, each read when it is asked for.
        skipped: the others.
        witnesses: those of the first images.
    """

    question: EvaluationQuestion
    images: Sequence[EvaluatedImage]
    skipped: tuple[SkippedImage, ...]
    witnesses: tuple[FinishedWitness, ...]


def summarise(
    asked: RemoteEvaluation, finished: FinishedRun, radii: Sequence[Decimal]
) -> tuple[EvaluationResults, tuple[str, ...]]:
    """The results of a finished run, and what a person should know before reading them."""
    images = finished.images
    prompts = {one.card.sha256: one.prompt for one in asked.prompts}
    measured = measure_noiseless(finished.question, images, asked.files, prompts, asked.folder)
    results = create_results(
        finished.question,
        images,
        radii=radii,
        noiseless=measured or [Noiseless()] * len(finished.question.rows),
        trained=[describe_prompt(one.known) for one in asked.prompts],
        skipped=finished.skipped,
        tightness=[measure_tightness(row, finished.witnesses) for row in finished.question.rows],
    )
    return results, tuple(_list_notes(asked, images, measured))


def _list_notes(
    asked: RemoteEvaluation,
    images: Sequence[EvaluatedImage],
    measured: list[Noiseless] | None,
) -> Iterator[str]:
    if measured is None:
        yield f"the model {asked.model.id} is not installed here: nothing is said without noise"
    said = [(f_sha256(one.result.provenance), one.result.input.sha256) for one in images]
    others = {f for f, _ in said}
    if len(others) > 1:
        yield f"{len(others)} different f certified the images; each certificate names its own"
    for one in asked.prompts:
        learned = frozenset() if one.known.learning is None else one.known.learning.images
        met = sum(sha256 in learned for _, sha256 in said)
        if met and one.known != one.card:
            yield (
                f"the prompt {one.known.id} was learned on {met} of these images, which the "
                "service does not know"
            )
