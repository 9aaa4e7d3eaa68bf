"""A template as a prompt: the embeddings of its words for vectors, where tuning may start from."""

from collections.abc import Sequence

import torch

from models.catalogue.cards import create_text
from models.prompts.prompt import Prompt, split_template
from models.vlm.vlm import VLM

_SAME = 1e-4  # of unit features: the same tokens give 1e-6, other ones 1e-2 and more


def create_template_prompt(vlm: VLM, template: str, class_names: Sequence[str]) -> Prompt:
    """The prompt whose features are those of the template, before anything is tuned.

    Raises:
        ValueError: the model takes no vectors, nothing stands before the class name, or the class
            name is no word of its own there, so that the parts do not add up to the text.
    """
    words, suffix = split_template(template)
    prompt = Prompt(ctx=vlm.embed_text(words).cpu().numpy(), suffix=suffix)
    ctx = torch.tensor(prompt.ctx, device=vlm.device)
    with torch.no_grad():
        found = vlm.encode_prompts(ctx, [prompt.create_text(name) for name in class_names])
        meant = vlm.encode_texts([create_text(template, name) for name in class_names])
    if not torch.allclose(found, meant, rtol=0, atol=_SAME):
        raise ValueError(
            "A prompt is tuned in the words before the class name, which must be words of their "
            f"own; in {template!r} the class name is part of one."
        )
    return prompt
