"""The context-vector half of a `VLM` for the toys, which have no text tower."""

from collections.abc import Sequence

from torch import Tensor

from models.catalogue.cards import ModelCard


class NoContext:
    """The part of a `VLM` that takes context vectors, for models that take none."""

    card: ModelCard
    text_width = 0

    def embed_text(self, text: str) -> Tensor:
        """Raises ValueError, because there is no text tower; see `VLM.embed_text`."""
        raise ValueError(f"The model {self.card.id} takes no context vectors; got {text!r}.")

    def encode_prompts(self, ctx: Tensor, texts: Sequence[str]) -> Tensor:
        """Raises ValueError, because there is no text tower; see `VLM.encode_prompts`."""
        came = f"{len(ctx)} of them for {len(texts)} classes"
        raise ValueError(f"The model {self.card.id} takes no context vectors; got {came}.")
