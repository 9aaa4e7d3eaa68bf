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
from models.prompts.prompt import Prompt
from models.vlm.vlm import VLM
from worker.contract import Identity, Procedure, Target
from worker.contract.certificate.document import FinishedResult
from worker.contract.certificate.signature import sign
from worker.contract.image import Image
from worker.counting.certify import certify
from worker.counting.prefixes import Board
from worker.counting.records.files import FileRecords
from worker.counting.records.tuned_files import TUNED_FOLDER
from worker.counting.roll import Roll
from worker.engine.engine import Engine
from worker.engine.shared import SharedEngine
from worker.engine.shelf.identity import create_identity
from worker.engine.shelf.shelf import Shelf
from worker.evaluation.baselines import Baseline
from worker.evaluation.csv_table import format_csv
from worker.evaluation.noiseless import Noiseless, NoiselessModel
from worker.evaluation.plot import write_plots
from worker.evaluation.question import EvaluationQuestion
from worker.evaluation.results import EvaluationResults, create_results, order_images
from worker.evaluation.run_file import EvaluatedImage, RunFile, SkippedImage
from worker.evaluation.tables import format_markdown
from worker.evaluation.trained import Trained
from worker.key_secret import commitment, create_secret, load_secret
from worker.prepare import prepare_image

RUN_FILE = "images.jsonl"
SECRET_FILE = "run-secret"  # noqa: S105 - the name of a file


@dataclass(frozen=True, kw_only=True)
class EvaluationProgress:
    """The progress of a sitting.

    Attributes:
        images: the number of finished or skipped images, those of earlier sittings included.
        samples: the number of samples drawn in this sitting.
    """

    images: int
    samples: int


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
        folder: the folder of the run. It holds the run's secret, its finished images and the
            prompts tuned on them.
        ledger: where attempts on images are counted.
        concurrent: the number of images certified at the same time. It changes no result.
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
    ledger: Path
    learned_on: Mapping[str, frozenset[str]] = field(default_factory=dict)
    baselines: tuple[Baseline, ...] = ()
    trained: tuple[Trained, ...] = ()
    concurrent: int = 8

    def create_question(self, secret: bytes) -> EvaluationQuestion:
        """The header of the run under its secret. Raises ValueError if a value is out of range."""
        return EvaluationQuestion(
            dataset=self.dataset,
            split=self.split,
            images=len(self.files),
            seed=self.seed,
            listing_sha256=listing_sha256(self.files),
            identity=create_identity(self.vlm),
            targets=self.targets,
            sigmas=self.sigmas,
            procedure=self.procedure,
            alpha=self.alpha,
            key_commitment=commitment(secret),
            baselines=tuple(one.describe() for one in self.baselines),
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
    create_secret(asked.folder / SECRET_FILE)
    secret = load_secret(asked.folder / SECRET_FILE)
    question = asked.create_question(secret)
    with RunFile(asked.folder / RUN_FILE, question) as run:
        _Sitting(asked, question, secret, run, on_progress).finish()
        skipped = list(run.skipped.values())
        images = order_images(question, list(run.images.values()), skipped)
        return create_results(
            question,
            images,
            radii=radii,
            noiseless=_measure_noiseless(asked, question, images),
            trained=asked.trained,
            skipped=skipped,
        )


def _measure_noiseless(
    asked: Evaluation, question: EvaluationQuestion, images: Sequence[EvaluatedImage]
) -> list[Noiseless]:
    files = [asked.files[image.place] for image in images]
    models = [
        NoiselessModel(
            vlm=vlm, files=files, prompts=asked.prompts, tuned=asked.folder / TUNED_FOLDER
        )
        for vlm in (asked.vlm, *(one.vlm for one in asked.baselines))
    ]
    return [models[row.document].measure(row, images) for row in question.rows]


def write_results(results: EvaluationResults, folder: Path) -> None:
    """Writes results.json, results.csv, results.md, plot.svg and plot.png."""
    (folder / "results.json").write_text(results.model_dump_json(indent=1) + "\n", "utf-8")
    (folder / "results.csv").write_text(format_csv(results), "utf-8")
    (folder / "results.md").write_text(format_markdown(results), "utf-8")
    write_plots(results, folder)


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
        engine = Engine(Shelf.holding(vlms))
        with (
            ThreadPoolExecutor(self._asked.concurrent) as pool,
            SharedEngine(engine) as shared,  # ends before the pool, so that no thread waits for it
        ):
            futures = [pool.submit(self._evaluate, place, shared) for place in missing]
            try:
                for future in as_completed(futures):
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
