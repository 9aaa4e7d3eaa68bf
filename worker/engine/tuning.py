"""Tunes prompts on the features of one image's noisy copies."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

import torch

from models.learning.zero_shot import TuningStep, tune_prompt
from models.prompts.prompt import Prompt
from models.vlm.vlm import VLM
from worker.contract import Failure
from worker.contract.prompt import EncodedPrompt
from worker.contract.protocol import PromptsTuned, SessionRefused, TunedPrompt
from worker.engine.runner.batch import Batch, Finish, Samples


@dataclass(frozen=True, kw_only=True)
class Start:
    """The prompt that tuning starts from, and how it is tuned."""

    prompt: Prompt
    class_names: tuple[str, ...]
    copies: int
    step: TuningStep


@final
class TuningTaker:
    """Collects the features of an image's noisy copies, then tunes each prompt at each noise level.

    Each prompt is tuned on its first `copies` of them, so prompts of one image share copies without
    influencing one another. An ambiguous copy is used like any other, because nothing is proved
    from it.
    """

    def __init__(
        self,
        vlm: VLM,
        starts: Sequence[Start],
        levels: int,
        deliver: Callable[[PromptsTuned | SessionRefused], None],
    ) -> None:
        copies = max(start.copies for start in starts)
        shape = (levels, copies, vlm.embed_dim)
        self._vlm, self._starts, self._deliver = vlm, starts, deliver
        self._features = torch.zeros(shape, device=vlm.device)
        self._missing = levels * copies

    def take(self, samples: Samples, rows: slice, batch: Batch) -> Finish:
        """See `Taker`."""
        place = slice(samples.start, samples.stop)
        self._features[samples.sigma_index, place] = batch.image_features[rows]
        return partial(self._took, samples.count)

    def _took(self, copies: int) -> None:
        self._missing -= copies
        if self._missing == 0:
            self._deliver(self._answer())

    def _answer(self) -> PromptsTuned | SessionRefused:
        try:
            tuned = tuple(map(self._tune, range(len(self._features))))
        except ValueError as error:  # the tuned vectors are not finite
            return SessionRefused(failure=Failure(code="tuning_failed", detail=str(error)))
        return PromptsTuned(weights_sha256=self._vlm.card.weights_sha256, tuned=tuned)

    def _tune(self, level: int) -> tuple[TunedPrompt, ...]:
        return tuple(_tune(self._vlm, self._features[level], start) for start in self._starts)


def _tune(vlm: VLM, features: torch.Tensor, start: Start) -> TunedPrompt:
    began = time.perf_counter()
    copies = features[: start.copies]
    tuned = tune_prompt(vlm, copies, start.prompt, start.class_names, start.step)
    return TunedPrompt(
        prompt=EncodedPrompt.of(tuned.prompt),
        start=EncodedPrompt.of(start.prompt),
        entropy_before=tuned.entropy_before,
        entropy_after=tuned.entropy_after,
        seconds=round(time.perf_counter() - began, 4),
    )
