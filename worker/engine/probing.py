"""Answers questions about f outside sessions: gradients for an attack, and votes without noise.

A question is cut into slices of few rows, and the engine runs at most one slice between two batches
of votes. So an attack takes its turns among certifications, and never holds them up for longer than
one slice takes.
"""

from collections.abc import Callable
from typing import final

import numpy as np
import torch
from torch import Tensor

from models.vlm.base_classifier import BaseClassifier
from worker.contract import protocol
from worker.contract.image import Image
from worker.contract.job import Failure
from worker.engine.runner.batch import Voter
from worker.engine.shelf.loaded_model import LoadedModel
from worker.engine.shelf.refusal import SessionNotServed
from worker.sampling.kernel import sample_noisy_images
from worker.sampling.table import create_noise_table

SLICE_ROWS = 16

_NO_MEMORY = Failure(code="no_gradient", detail="the device has no memory left for a gradient")
Deliver = Callable[[protocol.Answer], None]


@final
class GradientProbe:
    """The mean margin's gradient at an image or its noisy copies, some copies at a time.

    Raises:
        SessionNotServed: the text has no such class, or the model gives no gradient.
    """

    def __init__(
        self,
        model: LoadedModel,
        classifier: BaseClassifier,
        spec: protocol.TakeGradient,
        image: Image,
        deliver: Deliver,
    ) -> None:
        if spec.class_index >= classifier.num_classes:
            raise SessionNotServed("text_unusable", "the text has no class of this index")
        if model.vlm.card.architecture == "onnx":
            raise SessionNotServed("gives_no_gradient", "OpenVINO gives no gradient of a network")
        self.model = model
        self._classifier, self._spec, self._image = classifier, spec, image
        self._deliver = deliver
        self._done = 0
        self._gradient = np.zeros(image.shape, dtype=np.float64)
        self._counts = np.zeros(classifier.num_classes, dtype=np.int64)

    def step(self) -> bool:
        """Computes the next copies. Returns whether all are done and the answer is delivered."""
        levels = self._sample(min(SLICE_ROWS, self._spec.rows - self._done))
        try:
            with torch.inference_mode(False), torch.enable_grad():  # whatever mode the caller is in
                self._add(levels.requires_grad_())
        except torch.OutOfMemoryError:
            self._deliver(protocol.SessionRefused(failure=_NO_MEMORY))
            return True
        self._done += len(levels)
        if self._done < self._spec.rows:
            return False
        mean = (self._gradient / self._spec.rows).astype(np.float32)
        self._deliver(protocol.GradientTaken.of(mean, self._counts.tolist()))
        return True

    def _sample(self, rows: int) -> Tensor:
        """The next copies as grey levels, float32 (rows, 3, H, W), on the model's device."""
        noise = self._spec.noise
        copies = np.repeat(self._image[None].astype(np.int16), rows, axis=0)
        if noise is not None:
            table, start = create_noise_table(noise.sigma), noise.start + self._done
            flat = copies.reshape(rows, -1)
            sample_noisy_images(self._image, noise.key, table, start=start, out=flat)
        with torch.inference_mode(False):
            return torch.from_numpy(copies).to(self.model.vlm.device, torch.float32)

    def _add(self, levels: Tensor) -> None:
        features = self.model.vlm.encode_levels(levels)
        texts = self._classifier.text_features.clone()  # was made in inference mode
        logits = self.model.vlm.logit_scale * (features @ texts.T)  # (rows, C)
        own = logits[:, self._spec.class_index]
        others = logits.clone()
        others[:, self._spec.class_index] = -torch.inf
        (own - others.amax(dim=1)).sum().backward()
        assert levels.grad is not None, "a gradient reaches the pixels"
        self._gradient += levels.grad.sum(dim=0).cpu().numpy()
        answers = logits.detach().argmax(dim=1).cpu().numpy()
        self._counts += np.bincount(answers, minlength=len(self._counts))


@final
class PlainProbe:
    """The votes of f for images without noise, at its own batch shape, one batch at a time."""

    def __init__(self, model: LoadedModel, voter: Voter, images: Image, deliver: Deliver) -> None:
        self.model = model
        self._voter, self._images, self._deliver = voter, images, deliver
        self._votes: list[int] = []

    @torch.inference_mode()
    def step(self) -> bool:
        """Classifies the next images. Returns whether all are done and the answer is delivered."""
        rows = self.model.identity.batch_size
        part = self._images[len(self._votes) : len(self._votes) + rows]
        pixels = np.zeros((rows, *part.shape[1:]), dtype=np.int16)
        pixels[: len(part)] = part
        features = self.model.vlm.encode_images(torch.from_numpy(pixels).to(self.model.vlm.device))
        self._votes += self._voter.vote(features)[: len(part)].tolist()
        if len(self._votes) < len(self._images):
            return False
        self._deliver(protocol.ImagesClassified(votes=tuple(self._votes)))
        return True


Probe = GradientProbe | PlainProbe
