"""The output of an f in a file, so that eta between two hosts can be measured on either."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from models.vlm.base_classifier import BaseClassifier
from worker.engine.measure.eta import Elsewhere, Output, run_all
from worker.engine.shelf.identity import create_identity, find_precision

# What numpy raises for other files: a cut archive, an empty file, one array, another member.
_UNREADABLE = (OSError, EOFError, BadZipFile, ValueError, KeyError, TypeError)


class OtherMeasurement(ValueError):
    """A file holds the output of another model, or for other batches."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedOutput:
    """What a host computed for the batches, and the fingerprint of its f."""

    fingerprint: str
    elsewhere: Elsewhere

    def rerun(self, _batches: Sequence[Tensor]) -> Elsewhere:
        """The output as a `Rerun` gives it; the batches were compared when the file was read."""
        return self.elsewhere


def save_output(path: Path, classifier: BaseClassifier, batches: Sequence[Tensor]) -> None:
    """Writes what f computes here for whole batches, int16 (B, 3, H, W) each."""
    found = run_all(classifier, batches)
    fingerprint = create_identity(classifier.vlm).fingerprint
    with path.open("wb") as file:
        np.savez(
            file,
            about=np.array(json.dumps({"fingerprint": fingerprint, **_name(classifier, batches)})),
            text_features=found.text_features.numpy(),
            image_features=np.stack([one.image_features.numpy() for one in found.outputs]),
            logits=np.stack([one.logits.numpy() for one in found.outputs]),
        )


def load_output(path: Path, classifier: BaseClassifier, batches: Sequence[Tensor]) -> SavedOutput:
    """Reads what `save_output` wrote on another host.

    Raises:
        OtherMeasurement: it is about another model or other batches, or its f has no fingerprint.
    """
    try:
        with path.open("rb") as stream, np.load(stream) as file:
            about = json.loads(str(file["about"]))
            arrays = {name: torch.from_numpy(file[name]) for name in _ARRAYS}
    except _UNREADABLE as error:
        raise OtherMeasurement(f"{path} is no output of measure-eta --save") from error
    wanted = _name(classifier, batches)
    if {name: about.get(name) for name in wanted} != wanted:
        raise OtherMeasurement(
            f"{path} holds the output of another model, or for other images or another number of "
            "batches; give the same options on both hosts"
        )
    if about["fingerprint"] is None:
        raise OtherMeasurement(f"two runs differed on the host that wrote {path}: tau covers it")
    pairs = zip(arrays["image_features"], arrays["logits"], strict=True)
    outputs = [Output(image_features=features, logits=logits) for features, logits in pairs]
    elsewhere = Elsewhere(text_features=arrays["text_features"], outputs=outputs)
    return SavedOutput(fingerprint=about["fingerprint"], elsewhere=elsewhere)


_ARRAYS = ("text_features", "image_features", "logits")


def _name(classifier: BaseClassifier, batches: Sequence[Tensor]) -> dict[str, object]:
    digest = hashlib.sha256()
    for batch in batches:
        digest.update(batch.numpy().astype("<i2").tobytes())
    return {
        "weights_sha256": classifier.vlm.card.weights_sha256,
        "precision": find_precision(classifier.vlm),
        "batches_sha256": digest.hexdigest(),
        "batches": len(batches),
        "rows": len(batches[0]),
    }
