"""Turns a template into a prompt whose vectors are its words' embeddings, as a start for tuning."""

from collections.abc import Sequence

import torch

from models.catalogue.texts import create_text
from models.prompts.prompt import Prompt, split_template
from models.vlm.vlm import VLM

_SAME = 1e-4  # tolerance on unit features: the same tokens differ by 1e-6, others by 1e-2 or more


def create_template_prompt(vlm: VLM, template: str, class_names: Sequence[str]) -> Prompt:
    """Returns the prompt that gives the same features as the template, before any tuning.

    Raises:
        ValueError: the model takes no context vectors, the template has no words before the class
            name, or the class name is part of a longer word, so the parts do not give the text.
    """
    words, suffix = split_template(template)
    prompt = Prompt(ctx=vlm.embed_text(words).cpu().numpy(), suffix=suffix)
    ctx = torch.tensor(prompt.ctx, device=vlm.device)
    with torch.no_grad():
        found = vlm.encode_prompts(ctx, [prompt.create_text(name) for name in class_names])
        meant = vlm.encode_texts([create_text(template, name) for name in class_names])
    if not torch.allclose(found, meant, rtol=0, atol=_SAME):
        raise ValueError(
            "A prompt is tuned in the words before the class name, which must be separate words; "
            f"in {template!r} the class name is part of one."
        )
    return prompt
