"""The identity of the f that an engine runs: everything that can change a logit."""

from collections.abc import Callable

import torch

from models.catalogue.cards import DeviceClass
from models.vlm.provenance import find_versions, get_device_name
from models.vlm.vlm import VLM
from worker.contract import Identity, ModelRef
from worker.engine.shelf.fingerprint import probe

MeasureTau = Callable[[VLM, str | None], float]
"""Measures tau of an f, which its fingerprint names, or finds what was measured before."""

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


def find_precision(vlm: VLM) -> str:
    """The precision of a model's image tower: what its compilation took, or the card's."""
    taken: str | None = getattr(vlm, "precision", None)
    return taken or vlm.card.precision[find_device_class(vlm)]


def create_identity(vlm: VLM, *, measure_tau: MeasureTau | None = None) -> Identity:
    """The identity of a loaded model on its device, whose fingerprint is taken here."""
    return name_identity(vlm, probe(vlm, find_rows(vlm)).fingerprint, measure_tau)


def name_identity(
    vlm: VLM, fingerprint: str | None, measure_tau: MeasureTau | None = None
) -> Identity:
    """The identity of a loaded model whose fingerprint is known.

    On a GPU, a model whose card names no tau has it measured by `measure_tau`.
    """
    card, device_class = vlm.card, find_device_class(vlm)
    tau = card.tau[device_class]
    if tau is None and device_class == "cuda" and measure_tau is not None:
        tau = measure_tau(vlm, fingerprint)
    return Identity(
        model=ModelRef(id=card.id, sha256=card.sha256),
        architecture=card.architecture,
        precision=find_precision(vlm),
        device_class=device_class,
        device=get_device_name(vlm.device),
        threads=torch.get_num_threads(),
        batch_size=card.batch_size[device_class],
        tau=tau,
        versions=find_versions(*_PACKAGES) | _find_kernels(vlm),
        fingerprint=fingerprint,
        alike=_find_alike(vlm, fingerprint),
    )


def _find_alike(vlm: VLM, fingerprint: str | None) -> tuple[str, ...]:
    """The fingerprints that the card's tau covers together with this one."""
    covered = vlm.card.alike.get(find_device_class(vlm), ())
    return tuple(sorted(covered)) if fingerprint in covered else ()


def _find_kernels(vlm: VLM) -> dict[str, str]:
    """What computes the image tower's matrix products, if the tower names it."""
    kernels = getattr(vlm, "kernels", None)
    return {} if kernels is None else {"kernels": str(kernels)}
