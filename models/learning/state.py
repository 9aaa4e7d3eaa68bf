"""The state of a prompt learning between two epochs, and its checkpoints."""

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
    """A prompt learning cannot resume from this checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One point of the learning curve.

    `number` counts from 1. `loss` and `accuracy` are means over the epoch's noisy training images,
    each measured before the optimiser step that it contributed to.
    """

    number: int
    loss: float
    accuracy: float
    seconds: float


@dataclass(kw_only=True)
class LearningState:
    """Everything that the next epoch depends on; it changes with every step."""

    ctx: Tensor  # (n_ctx, text_width)
    optimizer: torch.optim.SGD
    generator: torch.Generator  # on the CPU, so that every device sees the same draws
    curve: list[Epoch] = field(default_factory=list)

    def create_prompt(self, suffix: str) -> Prompt:
        """Returns the current vectors as a prompt; raises ValueError if they are not valid."""
        return Prompt(ctx=self.ctx.detach().cpu().numpy(), suffix=suffix)


def create_state(vlm: VLM, settings: LearningSettings) -> LearningState:
    """Returns the state before the first epoch.

    Raises:
        ValueError: the model takes no context vectors, or `ctx_init` has no tokens or too many.
    """
    if not vlm.text_width:
        raise ValueError(f"The model {vlm.card.id} takes no context vectors and learns no prompts.")
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
    state.create_prompt(settings.suffix)  # fails now rather than after all epochs
    return state


def write_checkpoint(state: LearningState, task_sha256: str) -> bytes:
    """Returns the state as bytes, which `restore` accepts for the same task."""
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
    """Sets a fresh state to a checkpoint's; no code in the checkpoint runs.

    Raises:
        CheckpointUnusable: the checkpoint is damaged or belongs to another task.
    """
    content = _parse(checkpoint)
    if content.get("form") != _FORM:
        raise _damaged()
    if content.get("task_sha256") != task_sha256:
        raise CheckpointUnusable(
            "The checkpoint belongs to another learning: other images, settings, classes or model. "
            "Resume with those, or start again without the checkpoint."
        )
    try:
        with torch.no_grad():
            state.ctx.copy_(content["ctx"])
        state.optimizer.load_state_dict(content["optimizer"])
        state.generator.set_state(content["generator"])
        state.curve[:] = [Epoch(**epoch) for epoch in content["curve"]]
    except Exception as error:  # damaged values make torch raise anything
        raise _damaged() from error


def _parse(checkpoint: bytes) -> Mapping[str, Any]:
    if len(checkpoint) > MAX_CHECKPOINT_BYTES:
        raise _damaged()
    try:
        content = torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged pickles make torch's reader raise anything
        raise _damaged() from error
    if not isinstance(content, Mapping):
        raise _damaged()
    return content


def _damaged() -> CheckpointUnusable:
    return CheckpointUnusable(
        "Expected a checkpoint of this program; this one is damaged, truncated or something else. "
        "Start again without it."
    )
