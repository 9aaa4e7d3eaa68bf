"""A model with open_clip's architecture as a `VLM`."""

import math
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional

from models.catalogue.cards import ModelCard
from models.files.quoting import quote
from models.vlm.clip_text import ClipTextTower
from models.vlm.onednn import find_kernels, use_onednn
from models.vlm.vlm import PixelNormalisation


@final
class OpenClipVLM:
    """open_clip's `CLIP`, frozen, behind the pixel normalisation. Implements `VLM`.

    The image tower computes in `image_dtype`. The text tower runs once for each prompt and computes
    in float32. Features are returned in float32.
    """

    def __init__(
        self,
        *,
        card: ModelCard,
        clip: Any,  # open_clip is untyped
        tokenizer: Any,  # open_clip's SimpleTokenizer
        image_dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.card = card
        self.device = device
        self.image_dtype = image_dtype
        self.tokenizer = tokenizer
        self.clip = clip.to(device).eval().requires_grad_(False)
        use_onednn(self.clip.visual, device)
        self.kernels = find_kernels(self.clip.visual)
        self.normalise = PixelNormalisation(card.preprocessing, device)
        self.logit_scale = math.exp(self.clip.logit_scale.item())
        self.embed_dim = int(self.encode_texts([""]).shape[1])
        self.text_tower = ClipTextTower(self.clip)
        self.text_width = self.text_tower.width

    @torch.no_grad()
    def encode_images(self, pixels: Tensor) -> Tensor:
        """See `VLM.encode_images`."""
        return self.encode_normalised(self.normalise(pixels).to(self.image_dtype))

    @torch.no_grad()
    def encode_normalised(self, inputs: Tensor) -> Tensor:
        """See `NormalisedTower.encode_normalised`."""
        features: Tensor = self.clip.encode_image(inputs)
        return functional.normalize(features.to(torch.float32), dim=-1)  # (B, D)

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """See `VLM.encode_texts`.

        Raises:
            ValueError: a text is longer than the context; open_clip would silently truncate it.
        """
        for text in texts:
            self._check_text(text)
        tokens = self.tokenizer(list(texts)).to(self.device)  # (C, context_length)
        features: Tensor = self.clip.encode_text(tokens)
        return functional.normalize(features, dim=-1)  # (C, D)

    @torch.no_grad()
    def embed_text(self, text: str) -> Tensor:
        """See `VLM.embed_text`."""
        tokens = self.tokenizer.encode(text)
        if not tokens:
            raise ValueError(f"Expected a text with at least one token; {quote(text)} has none.")
        return self.text_tower.embed(torch.tensor(tokens, device=self.device))  # (n, text_width)

    def encode_prompts(self, ctx: Tensor, texts: Sequence[str]) -> Tensor:
        """See `VLM.encode_prompts`."""
        if ctx.ndim != 2 or ctx.shape[1] != self.text_width:
            raise ValueError(
                f"The model {self.card.id} takes context vectors of width {self.text_width}; "
                f"got {tuple(ctx.shape)}."
            )
        for text in texts:
            self._check_text(text, n_ctx=len(ctx))
        tokens = self.tokenizer(list(texts)).to(self.device)  # (C, context_length)
        features = self.text_tower(ctx, tokens)
        return functional.normalize(features.to(torch.float32), dim=-1)  # (C, D)

    def _check_text(self, text: str, *, n_ctx: int = 0) -> None:
        """Refuses a text that the text tower would read differently from how it is written."""
        tokens = self.tokenizer.encode(text)
        marks = {self.tokenizer.sot_token_id, self.tokenizer.eot_token_id}
        if marks.intersection(tokens):
            raise ValueError(
                f"A text must not contain start or end marks; {quote(text)} contains one."
            )
        length = n_ctx + len(tokens) + 2  # with [SOS] and [EOS]
        if length > self.card.context_length:
            raise ValueError(
                f"A text has at most {self.card.context_length} tokens; {quote(text)} has {length}."
            )
