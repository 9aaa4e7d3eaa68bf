"""What computed a value: the versions of the packages and the device."""

import platform
from importlib.metadata import version

import torch


def find_versions(*packages: str) -> dict[str, str]:
    """The installed version of each package.

    torch's is the one that it reports itself, because it names the build (`2.13.0+cpu`,
    `2.13.0+cu130`). The version of its package names the build only for some wheels.
    """
    found = {name: version(name) for name in packages}
    return found | ({"torch": str(torch.__version__)} if "torch" in found else {})


def get_device_name(device: torch.device) -> str:
    """The GPU's name, or the processor's architecture and instruction set."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
