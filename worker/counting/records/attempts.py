"""Attempts on an image outside the service: one small file per image, one line per request.

The service counts attempts in Redis. The command line has no Redis, so its certificates state how
often this folder's records say that the image was rolled for.
"""

import fcntl
from pathlib import Path


def count_attempt(folder: Path, image_sha256: str, request_sha256: str) -> int:
    """Registers a roll for an image and returns its ordinal number, starting from 1.

    Processes may call it at the same time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{image_sha256}.txt").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        known = file.read().split()
        if request_sha256 not in known:
            file.write(request_sha256 + "\n")
            known.append(request_sha256)
        return known.index(request_sha256) + 1
