"""Zero-shot prompt tuning: context vectors for one image, without a label (PromptSmooth 3.2).

The objective is the entropy of the *mean* class distribution over noisy copies of the image. Under
a prompt on which the copies agree, the smoothed classifier is certain. Nothing is drawn here: the
caller passes the copies as image features, which do not depend on the prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.prompts.prompt import Prompt
from models.vlm.vlm import VLM


@dataclass(frozen=True, kw_only=True)
class TuningStep:
    """How the vectors are moved; the defaults are the published values."""

    steps: int = 1
    learning_rate: float = 5e-3
    weight_decay: float = 0.01


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """A prompt tuned on one image, with the objective before the first and after the last step."""

    prompt: Prompt
    entropy_before: float
    entropy_after: float


def mean_entropy(logits: Tensor) -> Tensor:
    """Returns the entropy in nats of the copies' mean class distribution; (copies, C) to ()."""
    log_mean = logits.log_softmax(dim=-1).logsumexp(dim=0) - torch.log(
        torch.tensor(float(len(logits)), dtype=logits.dtype, device=logits.device)
    )  # (C,)
    return -(log_mean.exp() * log_mean).sum()


def tune_prompt(
    vlm: VLM,
    image_features: Tensor,
    start: Prompt,
    class_names: Sequence[str],
    step: TuningStep | None = None,
) -> Tuned:
    """Returns the prompt after AdamW steps on the mean entropy, from a fresh optimiser state.

    On one device, the same features give the same prompt, whatever was tuned before.

    Args:
        vlm: the frozen model.
        image_features: features of noisy copies of one image, float32 (copies, D).
        start: the prompt to start from.
        class_names: the C class names.
        step: how the vectors are moved.

    Raises:
        ValueError: the prompt is not for this model, a prompt is too long for its context, or the
            vectors are not finite afterwards.
    """
    with torch.inference_mode(False), torch.enable_grad():  # whatever mode the caller is in
        return _tune(vlm, image_features.clone(), start, class_names, step or TuningStep())


def _tune(
    vlm: VLM, copies: Tensor, start: Prompt, class_names: Sequence[str], step: TuningStep
) -> Tuned:
    texts = [start.create_text(name) for name in class_names]
    ctx = torch.tensor(start.ctx, device=vlm.device, requires_grad=True)  # (n_ctx, width)
    optimizer = torch.optim.AdamW([ctx], lr=step.learning_rate, weight_decay=step.weight_decay)

    def objective() -> Tensor:
        text_features = vlm.encode_prompts(ctx, texts)  # (C, D)
        return mean_entropy(vlm.logit_scale * copies @ text_features.T)  # ()

    entropies = []
    for _ in range(step.steps):
        loss = objective()
        entropies.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        entropies.append(objective().item())
    prompt = Prompt(ctx=ctx.detach().cpu().numpy(), suffix=start.suffix)
    return Tuned(prompt=prompt, entropy_before=entropies[0], entropy_after=entropies[-1])
