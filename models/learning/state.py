"""Where a learning stands between two epochs, and its checkpoint."""

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from models.prompts.learning_settings import INIT_STD, LearningSettings
from models.prompts.prompt import Prompt
from models.vlm.vlm import VLM

MAX_CHECKPOINT_BYTES = 16 * 2**20
_FORM = "promptsmooth learning 1"


class CheckpointUnusable(ValueError):
    """A learning cannot go on from this checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One point of the learning curve.

    `number` counts from 1; `loss` and `accuracy` are means over the epoch's noisy training images,
    each before the step that it took part in.
    """

    number: int
    loss: float
    accuracy: float
    seconds: float


@dataclass(kw_only=True)
class LearningState:
    """Everything that the next epoch depends on. Changes with every step."""

    ctx: Tensor  # (n_ctx, text_width)
    optimizer: torch.optim.SGD
    generator: torch.Generator  # on the CPU, so that every device sees the same draws
    curve: list[Epoch] = field(default_factory=list)

    def create_prompt(self, suffix: str) -> Prompt:
        """The vectors as they are now. ValueError: they are no prompt."""
        return Prompt(ctx=self.ctx.detach().cpu().numpy(), suffix=suffix)


def create_state(vlm: VLM, settings: LearningSettings) -> LearningState:
    """The state before the first epoch.

    Raises:
        ValueError: the model takes no context vectors, or the words have no token or too many.
    """
    if not vlm.text_width:
        raise ValueError(f"The model {vlm.card.id} takes no context vectors: it learns no prompt.")
    generator = torch.Generator().manual_seed(settings.seed)
    if settings.ctx_init is not None:
        start = vlm.embed_text(settings.ctx_init)
    else:
        start = INIT_STD * torch.randn(settings.n_ctx, vlm.text_width, generator=generator)
    ctx = start.to(vlm.device, copy=True).requires_grad_()
    optimizer = torch.optim.SGD(
        [ctx],
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    state = LearningState(ctx=ctx, optimizer=optimizer, generator=generator)
    state.create_prompt(settings.suffix)  # what could not be kept is not learned
    return state


def write_checkpoint(state: LearningState, task_sha256: str) -> bytes:
    """The state as bytes that `restore` takes back for the same task."""
    content = {
        "form": _FORM,
        "task_sha256": task_sha256,
        "ctx": state.ctx.detach().cpu(),
        "optimizer": state.optimizer.state_dict(),
        "generator": state.generator.get_state(),
        "curve": [asdict(epoch) for epoch in state.curve],
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def restore(state: LearningState, checkpoint: bytes, task_sha256: str) -> None:
    """Puts a fresh state where the checkpoint's was. No code in the checkpoint runs.

    Raises:
        CheckpointUnusable: it is damaged, or of another learning.
    """
    content = _parse(checkpoint)
    if content.get("form") != _FORM:
        raise _damaged()
    if content.get("task_sha256") != task_sha256:
        raise CheckpointUnusable(
            "The checkpoint belongs to another learning: other images, settings, classes or model. "
            "Go on with those, or begin anew without it."
        )
    try:
        with torch.no_grad():
            state.ctx.copy_(content["ctx"])
        state.optimizer.load_state_dict(content["optimizer"])
        state.generator.set_state(content["generator"])
        state.curve[:] = [Epoch(**epoch) for epoch in content["curve"]]
    except Exception as error:  # a damaged value ends anywhere in torch
        raise _damaged() from error


def _parse(checkpoint: bytes) -> Mapping[str, Any]:
    if len(checkpoint) > MAX_CHECKPOINT_BYTES:
        raise _damaged()
    try:
        content = torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle ends anywhere in torch's reader
        raise _damaged() from error
    if not isinstance(content, Mapping):
        raise _damaged()
    return content


def _damaged() -> CheckpointUnusable:
    return CheckpointUnusable(
        "A checkpoint of this program was expected; what came is damaged, cut short or something "
        "else. Begin anew without it."
    )
