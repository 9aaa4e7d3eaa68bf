"""What is attacked in the engine: a model under one text."""

from dataclasses import dataclass

import numpy as np

from worker.attack.victim import Glance, Prober
from worker.contract import protocol
from worker.contract.image import Image
from worker.contract.prompt import EncodedPrompt
from worker.contract.request import ModelRef


@dataclass(frozen=True, kw_only=True)
class Target:
    """A model under one text, and the prompts that the text may name.

    `tau` is that of the certificates: votes are counted under it, as when they are reproduced.
    """

    model: ModelRef
    tau: float
    text: protocol.Text
    prompts: tuple[EncodedPrompt, ...]

    def glance(
        self,
        prober: Prober,
        image: Image,
        class_index: int,
        noise: protocol.ProbeNoise | None = None,
    ) -> Glance:
        """What `Victim.glance` says of f at the image, or as a mean over its noisy copies."""
        _, height, width = image.shape
        wanted = protocol.TakeGradient(
            model=self.model,
            height=height,
            width=width,
            prompts=self.prompts,
            text=self.text,
            class_index=class_index,
            noise=noise,
        )
        taken = prober.take_gradient(wanted, image)
        answer = int(np.argmax(taken.counts))
        return Glance(gradient=taken.decode(height, width), answer=answer)
