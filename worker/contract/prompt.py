"""A prompt as text: how it travels until an engine decodes it. No torch, no safetensors."""

import base64
from functools import cached_property
from typing import Annotated

import numpy as np
from pydantic import Field

from models.prompts.prompt import MAX_N_CTX, MAX_SUFFIX, MAX_WIDTH, Prompt
from worker.contract.quantities import Contract


class EncodedPrompt(Contract):
    """The values of a prompt: float32, least significant byte first, in base64."""

    ctx: str
    n_ctx: Annotated[int, Field(ge=1, le=MAX_N_CTX)]
    width: Annotated[int, Field(ge=1, le=MAX_WIDTH)]
    suffix: Annotated[str, Field(max_length=MAX_SUFFIX)]

    @classmethod
    def of(cls, prompt: Prompt) -> "EncodedPrompt":
        data = prompt.ctx.astype("<f4").tobytes()
        return cls(
            ctx=base64.b64encode(data).decode(),
            n_ctx=prompt.n_ctx,
            width=prompt.width,
            suffix=prompt.suffix,
        )

    @cached_property
    def sha256(self) -> str:
        """The digest that identifies the prompt, computed once. ValueError as `decode`."""
        return self.decode().sha256

    def decode(self) -> Prompt:
        """The prompt. ValueError when the text does not hold n_ctx x width finite numbers."""
        data = base64.b64decode(self.ctx, validate=True)
        if len(data) != 4 * self.n_ctx * self.width:
            raise ValueError(
                f"{self.n_ctx} vectors of width {self.width} were expected, {len(data)} bytes came"
            )
        ctx = np.frombuffer(data, dtype="<f4").reshape(self.n_ctx, self.width)
        return Prompt(ctx=ctx.astype(np.float32), suffix=self.suffix)
