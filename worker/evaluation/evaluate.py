"""Runs an evaluation: certifies every image of a dataset as a real request, several at once.

All promptings and noise levels of an image form one request, so they are judged on the same noise
and share its image features. Baselines are other models and have requests of their own, which draw
the noise of that request. Only finished images count. An interrupted run continues where it
stopped. An image that cannot be decoded is skipped and named, and the others are certified.
"""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from models.datasets.files import LabelledFile
from models.datasets.subset import listing_sha256
from models.imaging import ImageError
from models.prompts.files import TUNED_FOLDER
from models.prompts.prompt import Prompt
from models.vlm.vlm import VLM
from worker.contract import Identity, Procedure, Target
from worker.contract.certificate.document import FinishedResult
from worker.contract.certificate.signature import sign
from worker.contract.image import Image
from worker.contract.witness import WitnessSettings
from worker.counting.certify import certify
from worker.counting.prefixes import Board
from worker.counting.records.files import FileRecords
from worker.counting.roll import Roll
from worker.engine.engine import Engine
from worker.engine.shared import SharedEngine
from worker.engine.shelf.identity import MeasureTau, create_identity
from worker.engine.shelf.shelf import Shelf
from worker.evaluation.loaded.attacks import Attacks
from worker.evaluation.loaded.baselines import Baseline
from worker.evaluation.loaded.noiseless import NoiselessModel
from worker.evaluation.noiseless import Noiseless, list_tuned
from worker.evaluation.question import EvaluationQuestion
from worker.evaluation.results import EvaluationResults, create_results, require_all
from worker.evaluation.run_file import (
    RUN_FILE,
    EvaluatedImage,
    EvaluationProgress,
    RunFile,
    SkippedImage,
)
from worker.evaluation.run_secret import find_run_secret
from worker.evaluation.tightness import Tightness, measure_tightness
from worker.evaluation.trained import Trained
from worker.key_secret import commitment
from worker.prepare import prepare_image


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What to evaluate, with which model, and where to write the run.

    Attributes:
        dataset, split, seed: the names of the dataset and split, and the seed that chose the files.
        files: the images, in order.
        vlm: the loaded model.
        targets, sigmas, procedure, alpha: the question about each image.
        prompts: the prompts that targets name, by digest.
        learned_on: the digests of the images that each of them was learned on.
        baselines: models to judge beside them.
        trained: what was trained for the rows, for the results.
        folder: the folder of the run. It holds its finished images and the prompts tuned on them,
            and may be published.
        secrets: the folder of the secrets of runs, which may not.
        ledger: where attempts on images are counted.
        concurrent: the number of images certified at the same time. It changes no result.
        measure_tau: measures tau on a GPU, for a model whose card names none.
        attacked: the number of images, from the first, for which a witness is looked for.
        witness: how hard to look.
    """

    dataset: str
    split: str
    seed: int
    files: Sequence[LabelledFile]
    vlm: VLM
    targets: tuple[Target, ...]
    sigmas: tuple[Decimal, ...]
    procedure: Procedure
    alpha: Decimal
    prompts: Mapping[str, Prompt]
    folder: Path
    secrets: Path
    ledger: Path
    learned_on: Mapping[str, frozenset[str]] = field(default_factory=dict)
    baselines: tuple[Baseline, ...] = ()
    trained: tuple[Trained, ...] = ()
    concurrent: int = 8
    measure_tau: MeasureTau | None = None
    attacked: int = 0
    witness: WitnessSettings = field(default_factory=WitnessSettings)

    def create_question(self, secret: bytes) -> EvaluationQuestion:
        """The header of the run under its secret. Raises ValueError if a value is out of range."""
        return EvaluationQuestion(
            dataset=self.dataset,
            split=self.split,
            images=len(self.files),
            seed=self.seed,
            listing_sha256=listing_sha256(self.files),
            identity=create_identity(self.vlm, measure_tau=self.measure_tau),
            targets=self.targets,
            sigmas=self.sigmas,
            procedure=self.procedure,
            alpha=self.alpha,
            key_commitment=commitment(secret),
            baselines=tuple(one.describe(self.measure_tau) for one in self.baselines),
        )


def evaluate(
    asked: Evaluation,
    *,
    radii: Sequence[Decimal],
    on_progress: Callable[[EvaluationProgress], None] = lambda _: None,
) -> EvaluationResults:
    """Certifies the images that are not certified yet, and returns the results of all images.

    Every image's result is signed with the run's secret. A prompt tuned on an image is stored in
    the run's folder before it is certified.

    Raises:
        RunNotContinued: the folder holds a different run, or another process is writing there.
        ValueError: no file holds an image that can be certified.
        worker.engine.shelf.refusal.SessionNotServed: a prompt or a text does not fit this model.
    """
    asked.folder.mkdir(parents=True, exist_ok=True)
    secret = find_run_secret(asked.folder / RUN_FILE, asked.secrets)
    question = asked.create_question(secret)
    with RunFile(asked.folder / RUN_FILE, question) as run:
        _Sitting(asked, question, secret, run, on_progress).finish()
        skipped = list(run.skipped.values())
        require_all(question, run.images, skipped)
        images = run.images.in_order()
        return create_results(
            question,
            images,
            radii=radii,
            noiseless=_measure_noiseless(asked, question, images),
            trained=asked.trained,
            skipped=skipped,
            tightness=_measure_tightness(asked, question, secret, images),
        )


def _measure_tightness(
    asked: Evaluation,
    question: EvaluationQuestion,
    secret: bytes,
    images: Sequence[EvaluatedImage],
) -> list[Tightness | None]:
    attacks = Attacks(
        asked.folder,
        question,
        secret,
        asked.vlm,
        asked.prompts,
        asked.folder / TUNED_FOLDER,
        asked.witness,
    )
    witnesses = attacks.run(images[: asked.attacked], asked.files)
    return [measure_tightness(row, witnesses) for row in question.rows]


def _measure_noiseless(
    asked: Evaluation, question: EvaluationQuestion, images: Sequence[EvaluatedImage]
) -> list[Noiseless]:
    tuned = list_tuned(question.rows, images)
    files = [asked.files[place] for place in tuned]
    models = [
        NoiselessModel(
            vlm=vlm, files=files, prompts=asked.prompts, tuned=asked.folder / TUNED_FOLDER
        )
        for vlm in (asked.vlm, *(one.vlm for one in asked.baselines))
    ]
    by_row = zip(question.rows, zip(*tuned.values(), strict=True), strict=True)
    return [models[row.document].measure(row, ids) for row, ids in by_row]


class _Sitting:
    """One sitting of a run, with several images at a time on one engine."""

    def __init__(
        self,
        asked: Evaluation,
        question: EvaluationQuestion,
        secret: bytes,
        run: RunFile,
        on_progress: Callable[[EvaluationProgress], None],
    ) -> None:
        self._asked, self._question, self._secret, self._run = asked, question, secret, run
        self._number, self._on_progress = run.sitting, on_progress
        self._lock = threading.Lock()
        self._samples: defaultdict[int, Counter[str]] = defaultdict(Counter)  # by place and roll
        self._began = time.monotonic()

    def finish(self) -> None:
        """Certifies every image that is missing. A failure ends the sitting, not the run."""
        known = {*self._run.images, *self._run.skipped}
        missing = [place for place in range(len(self._asked.files)) if place not in known]
        self._report()
        if not missing:
            return
        vlms = [self._asked.vlm, *(one.vlm for one in self._asked.baselines)]
        engine = Engine(Shelf.holding(vlms, measure_tau=self._asked.measure_tau))
        with (
            ThreadPoolExecutor(self._asked.concurrent) as pool,
            SharedEngine(engine) as shared,  # ends before the pool, so that no thread waits for it
        ):
            futures = {pool.submit(self._evaluate, place, shared) for place in missing}
            try:
                for future in as_completed(futures):
                    futures.discard(future)  # with its documents
                    self._run.append(future.result())
                    self._report()
            finally:
                for future in futures:
                    future.cancel()

    def _evaluate(self, place: int, engine: SharedEngine) -> EvaluatedImage | SkippedImage:
        file, began = self._asked.files[place], time.monotonic()
        try:
            image, described = prepare_image(file.path.read_bytes(), self._asked.vlm.card)
        except ImageError as error:
            return SkippedImage(
                place=place,
                file=file.shown_name,
                class_index=file.class_index,
                code=error.code,
                why_not=str(error),
            )
        request = self._question.create_request(described)
        others = [
            self._question.create_baseline_request(described, one)
            for one in self._question.baselines
        ]
        rolls = [
            Roll(request, self._secret),
            *(Roll(one, self._secret, noise_of=request) for one in others),
        ]
        result, *baselines = (self._certify(place, roll, image, engine) for roll in rolls)
        now = time.monotonic()
        return EvaluatedImage(
            place=place,
            file=file.shown_name,
            class_index=file.class_index,
            samples=self._samples[place].total(),
            seconds=round(now - began, 3),
            sitting=self._number,
            elapsed_s=round(now - self._began, 3),
            result=result,
            baselines=tuple(baselines),
        )

    def _certify(
        self, place: int, roll: Roll, image: Image, engine: SharedEngine
    ) -> FinishedResult:
        records = FileRecords(
            roll=roll,
            ledger=self._asked.ledger,
            tuned=self._asked.folder / TUNED_FOLDER,
            find=self._asked.prompts.get,
            find_images=lambda prompt: self._asked.learned_on.get(prompt.sha256, frozenset()),
        )

        def on_votes(board: Board, _identity: Identity) -> None:
            self._count(place, roll, board.samples_done)

        with engine.create_counter() as counter:
            result = certify(
                roll,
                image,
                counter=counter,
                records=records,
                on_votes=on_votes,
            )
        return sign(result, self._secret)

    def _count(self, place: int, roll: Roll, samples: int) -> None:
        with self._lock:
            self._samples[place][roll.sha256] = samples
        self._report()

    def _report(self) -> None:
        with self._lock:
            samples = sum(each.total() for each in self._samples.values())
            ended = len(self._run.images) + len(self._run.skipped)
            progress = EvaluationProgress(images=ended, samples=samples)
            self._on_progress(progress)
