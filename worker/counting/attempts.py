"""Attempts on an image outside the service: one small file an image, one line a canonical request.

The service counts attempts in Redis. The command line has no Redis, and a certificate still says
how often the image was rolled for, as far as this folder's records go.
"""

import fcntl
from pathlib import Path


def count_attempt(folder: Path, image_sha256: str, request_sha256: str) -> int:
    """Registers a roll for an image and says the how-manieth it is; safe between processes."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{image_sha256}.txt").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        known = file.read().split()
        if request_sha256 not in known:
            file.write(request_sha256 + "\n")
            known.append(request_sha256)
        return known.index(request_sha256) + 1
