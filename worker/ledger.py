"""Attempts on an image outside the service: one small file an image, one line a canonical request.

The service counts attempts in Redis. The command line has no Redis, and a certificate still says
how often the image was rolled for.
"""

from pathlib import Path


def count_attempt(folder: Path, image_sha256: str, request_sha256: str) -> int:
    """Registers a roll for an image and says how many there have been, this one included."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{image_sha256}.txt"
    known = path.read_text().split() if path.exists() else []
    if request_sha256 not in known:
        with path.open("a") as file:
            file.write(request_sha256 + "\n")
        known.append(request_sha256)
    return len(known)
