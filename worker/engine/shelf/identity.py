"""The identity of the f that an engine runs: everything that can change a logit."""

import torch

from models.catalogue.cards import DeviceClass
from models.vlm.provenance import find_versions, get_device_name
from models.vlm.vlm import VLM
from worker.contract import Identity, ModelRef

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


def create_identity(vlm: VLM) -> Identity:
    """The identity of a loaded model on its device."""
    card = vlm.card
    device_class: DeviceClass = "cuda" if vlm.device.type == "cuda" else "cpu"
    return Identity(
        model=ModelRef(id=card.id, sha256=card.sha256),
        architecture=card.architecture,
        precision=card.precision[device_class],
        device_class=device_class,
        device=get_device_name(vlm.device),
        threads=torch.get_num_threads(),
        batch_size=card.batch_size[device_class],
        tau=card.tau[device_class],
        versions=find_versions(*_PACKAGES) | _find_kernels(vlm),
    )


def _find_kernels(vlm: VLM) -> dict[str, str]:
    """The library that computes the image tower's matrix products, if the tower names it."""
    kernels = getattr(vlm, "kernels", None)
    return {} if kernels is None else {"kernels": str(kernels)}
