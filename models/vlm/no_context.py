"""What the toys share: they have no text tower, so they take no context vectors."""

from collections.abc import Sequence

from torch import Tensor

from models.catalogue.cards import ModelCard


class NoContext:
    """The part of a `VLM` that takes context vectors, of a model that takes none."""

    card: ModelCard
    text_width = 0

    def embed_text(self, text: str) -> Tensor:
        """See `VLM.embed_text`. There is no text tower."""
        raise ValueError(f"The model {self.card.id} takes no context vectors; {text!r} came.")

    def encode_prompts(self, ctx: Tensor, texts: Sequence[str]) -> Tensor:
        """See `VLM.encode_prompts`. There is no text tower."""
        came = f"{len(ctx)} of them for {len(texts)} classes"
        raise ValueError(f"The model {self.card.id} takes no context vectors; {came} came.")
