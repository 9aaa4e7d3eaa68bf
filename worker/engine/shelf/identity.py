"""The identity of the f that an engine runs: everything that can change a logit."""

import torch

from models.catalogue.cards import DeviceClass
from models.vlm.provenance import find_versions, get_device_name
from models.vlm.vlm import VLM
from worker.contract import Identity, ModelRef
from worker.engine.shelf.fingerprint import probe

_PACKAGES = (
    "promptsmooth-service",
    "torch",
    "open_clip_torch",
    "timm",  # image towers of open_clip
    "transformers",  # Swin and BERT
    "tokenizers",
    "numpy",
    "numba",
    "scipy",
)


def find_device_class(vlm: VLM) -> DeviceClass:
    """The kind of device that holds a model."""
    return "cuda" if vlm.device.type == "cuda" else "cpu"


def find_rows(vlm: VLM) -> int:
    """The one batch shape of a model on its device."""
    return vlm.card.batch_size[find_device_class(vlm)]


def create_identity(vlm: VLM) -> Identity:
    """The identity of a loaded model on its device, whose fingerprint is taken here."""
    return name_identity(vlm, probe(vlm, find_rows(vlm)).fingerprint)


def name_identity(vlm: VLM, fingerprint: str | None, measured_tau: float | None = None) -> Identity:
    """The identity of a loaded model whose fingerprint is known.

    `measured_tau` stands in where the card names no tau for the device.
    """
    card, device_class = vlm.card, find_device_class(vlm)
    return Identity(
        model=ModelRef(id=card.id, sha256=card.sha256),
        architecture=card.architecture,
        precision=card.precision[device_class],
        device_class=device_class,
        device=get_device_name(vlm.device),
        threads=torch.get_num_threads(),
        batch_size=card.batch_size[device_class],
        tau=measured_tau if card.tau[device_class] is None else card.tau[device_class],
        versions=find_versions(*_PACKAGES) | _find_kernels(vlm),
        fingerprint=fingerprint,
        alike=_find_alike(vlm, fingerprint),
    )


def _find_alike(vlm: VLM, fingerprint: str | None) -> tuple[str, ...]:
    """The fingerprints that the card's tau covers together with this one."""
    covered = vlm.card.alike.get(find_device_class(vlm), ())
    return tuple(sorted(covered)) if fingerprint in covered else ()


def _find_kernels(vlm: VLM) -> dict[str, str]:
    """The library that computes the image tower's matrix products, if the tower names it."""
    kernels = getattr(vlm, "kernels", None)
    return {} if kernels is None else {"kernels": str(kernels)}
