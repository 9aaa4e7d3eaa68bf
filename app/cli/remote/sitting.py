"""promptsmooth evaluate with a service: every image is a certification of its own.

Each has an idempotency key made of the run's images, of its own file and of what is asked. So a run
that is interrupted, here or there, goes on when it is started again: what the service has certified
is fetched, what it has queued is waited for, and only what it does not know is sent.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.cli.certify_remotely import read_result
from app.cli.remote.evaluation import FinishedRun, RemoteEvaluation
from app.cli.remote.prompts import fetch_prompt
from app.cli.remote.window import Window
from app.cli.remote.witnesses import RemoteWitnesses
from app.client import AsyncClient, Certification, ServiceRefused
from models.datasets.files import LabelledFile
from models.imaging.pixels.errors import list_errors
from models.prompts.files import TUNED_FOLDER, save_prompt
from worker.contract.certificate.document import FinishedResult
from worker.contract.witness import FinishedWitness
from worker.evaluation.answered import count_samples, describe_f
from worker.evaluation.run_file import (
    RUN_FILE,
    EvaluatedImage,
    EvaluationProgress,
    RunFile,
    RunNotContinued,
    SkippedImage,
)

PATIENCE_S = 3600.0
"""How long a service may be away before the run ends. It can be continued later."""
_TRIES = 3  # of one image in one sitting
_IMAGE_CODES = frozenset(error.code for error in list_errors())


async def run_remotely(
    client: AsyncClient,
    asked: RemoteEvaluation,
    on_progress: Callable[[EvaluationProgress], None],
) -> FinishedRun:
    """Has the missing images certified and writes their certificates into the run's file.

    Raises:
        RunNotContinued: the folder holds a different run, the service has another key secret or
            model than the run began with, or another process is writing there.
        ValueError: no image can be used, a certification fails again and again, or the service
            cannot look for a witness that is asked for.
        app.client.ClientError: the service refuses, or was away for too long.
    """
    with RunFile(asked.folder / RUN_FILE) as run:
        if (stored := run.question) is not None:
            run.begin(asked.create_question(stored.identity, stored.key_commitment))
        sitting = _Sitting(client, asked, run, on_progress)
        await sitting.finish()
        if run.question is None:
            raise ValueError(f"none of the images can be used. {run.skipped[0].why_not}")
        return FinishedRun(
            question=run.question,
            images=run.images.in_order(),
            skipped=tuple(run.skipped.values()),
            witnesses=sitting.list_witnesses(),
        )


@dataclass(kw_only=True)
class _Times:
    """When a sitting began, and the samples of the images that it has finished."""

    began: float = field(default_factory=time.monotonic)
    samples: int = 0


class _Sitting:
    """One sitting of a run, with as many images under way as the service has room for."""

    def __init__(
        self,
        client: AsyncClient,
        asked: RemoteEvaluation,
        run: RunFile,
        on_progress: Callable[[EvaluationProgress], None],
    ) -> None:
        self._client, self._asked, self._run = client, asked, run
        self._on_progress = on_progress
        self._witnesses = RemoteWitnesses(client, asked.folder)
        self._number, self._times = run.sitting, _Times()
        settings = json.dumps(asked.sent, sort_keys=True, default=str)
        self._of_run = f"{asked.listing_sha256}\n{asked.model.sha256}\n{settings}"
        self._window = Window(client, asked.model.id, most=asked.most)

    async def finish(self) -> None:
        """Has every image certified that is missing. A failure ends the sitting, not the run."""
        known = {*self._run.images, *self._run.skipped}
        missing = [place for place in range(len(self._asked.files)) if place not in known]
        self._report()
        async with self._window:
            await _finish_all(self._evaluate(place) for place in missing)
            await _finish_all(
                self._attack(image.place, image.certification) for image in self._list_attacked()
            )

    def list_witnesses(self) -> tuple[FinishedWitness, ...]:
        """The witnesses of the first images, once the sitting is finished."""
        return tuple(self._witnesses.found[image.place] for image in self._list_attacked())

    def _list_attacked(self) -> Sequence[EvaluatedImage]:
        return self._run.images.in_order()[: self._asked.attacked]

    async def _attack(self, place: int, certification: str | None) -> None:
        async with self._window.under_way():
            await self._witnesses.look_for(place, certification)

    async def _evaluate(self, place: int) -> None:
        """Has an image certified and writes its line; what it says is not held."""
        await self._append(await self._find_line(place))

    async def _find_line(self, place: int) -> EvaluatedImage | SkippedImage:
        async with self._window.under_way():
            file, began = self._asked.files[place], time.monotonic()
            content = await asyncio.to_thread(file.path.read_bytes)
            if hashlib.sha256(content).hexdigest() != self._asked.contents[place]:
                raise RunNotContinued(f"{file.shown_name} has changed since the run was started")
            try:
                ended = await self._certify(place, content)
            except ServiceRefused as refused:
                if refused.code not in _IMAGE_CODES:
                    raise
                return _skip(place, file, refused)
            if place < self._asked.attacked:  # now, for images are kept for a while only
                await self._witnesses.look_for(place, ended.id)
            return self._describe(place, ended, began)

    async def _certify(self, place: int, content: bytes) -> Certification:
        """The finished certification of a file.

        One that was purged, or that had failed or been cancelled before, is sent again under
        another key: the request is the same, so its noise is too.
        """
        tries = generation = 0
        while True:
            key = self._create_key(self._asked.contents[place], generation)
            try:
                ended, anew = await self._send(content, key)
            except ServiceRefused as refused:
                if not refused.is_gone or generation > 100:
                    raise
                generation += 1
                continue
            if ended.status == "finished":
                return ended
            generation, tries = generation + 1, tries + anew
            if tries >= _TRIES:
                said = f"certification {ended.id} {ended.status}. {ended.failure}"
                raise ValueError(f"{said.strip()} The same command tries again.")

    async def _send(self, content: bytes, key: str) -> tuple[Certification, bool]:
        """The ended certification under a key, and whether it ended only now."""
        job = await self._client.submit(content, idempotency_key=key, **self._asked.sent)
        if job.ended:
            return job, False
        async with self._window.watched():
            return await self._client.wait(job.id), True

    def _create_key(self, image_sha256: str, generation: int) -> str:
        """An idempotency key: of the dataset, the image, the model and what is asked of it."""
        said = f"promptsmooth evaluate 2\n{self._of_run}\n{image_sha256}\n{generation}"
        return hashlib.sha256(said.encode()).hexdigest()

    def _describe(self, place: int, ended: Certification, began: float) -> EvaluatedImage:
        file, result, now = self._asked.files[place], read_result(ended), time.monotonic()
        return EvaluatedImage(
            place=place,
            file=file.shown_name,
            class_index=file.class_index,
            samples=count_samples(result),
            seconds=round(now - began, 3),
            sitting=self._number,
            elapsed_s=round(now - self._times.began, 3),
            result=result,
            certification=ended.id,
        )

    async def _append(self, line: EvaluatedImage | SkippedImage) -> None:
        """Writes an image's line, and before it the prompts that were tuned on the image."""
        if isinstance(line, EvaluatedImage):
            self._require_same(line.result)
            await _keep_tuned(self._client, self._asked.folder / TUNED_FOLDER, line.result)
            self._times.samples += line.samples
        self._run.append(line)
        self._report()

    def _require_same(self, result: FinishedResult) -> None:
        """Writes the header with the first image; later ones must be of the same secret."""
        if result.model != self._asked.model.ref:
            raise RunNotContinued(
                f"the service has another model {self._asked.model.id} than when it was asked. "
                "Choose another --out."
            )
        said = result.provenance.key_commitment
        if self._run.question is None:
            identity = describe_f(result, self._asked.model.architecture)
            self._run.begin(self._asked.create_question(identity, said))
        elif self._run.question.key_commitment != said:
            raise RunNotContinued(
                f"the service has another key secret than when the run in {self._asked.folder} "
                "began. Choose another --out."
            )

    def _report(self) -> None:
        ended = len(self._run.images) + len(self._run.skipped)
        self._on_progress(EvaluationProgress(images=ended, samples=self._times.samples))


def _skip(place: int, file: LabelledFile, refused: ServiceRefused) -> SkippedImage:
    return SkippedImage(
        place=place,
        file=file.shown_name,
        class_index=file.class_index,
        code=refused.code,
        why_not=refused.detail,
    )


async def _keep_tuned(client: AsyncClient, folder: Path, result: FinishedResult) -> None:
    """Fetches the prompts that were tuned on an image, as a run on one machine keeps them."""
    for one in result.certificates:
        if one.adaptation is None or one.prompt is None:
            continue
        path = folder / f"{one.prompt.id}.toml"
        if path.exists():
            continue
        card, prompt = await fetch_prompt(client, one.prompt.id)
        save_prompt(folder, card, prompt)


async def _finish_all(each: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Runs coroutines at a time. The first failure ends the others."""
    tasks = [asyncio.create_task(one) for one in each]
    try:
        for ended in asyncio.as_completed(tasks):
            await ended
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
