"""Attempts on an image outside the service: one small file per image, one line per roll.

The service counts attempts in Redis. The command line has no Redis, so its certificates state how
often this folder's records say that the image was rolled for. A line has the request's digest, the
alpha that its certificates spend, and the digest of the f; version 0.1.0 wrote the request's
digest alone.
"""

import fcntl
from decimal import Decimal
from pathlib import Path

from worker.contract.attempt import Attempt, create_attempt

_ANY_F = "none"  # stands for an f that no fingerprint names


def count_attempt(
    folder: Path,
    image_sha256: str,
    request_sha256: str,
    *,
    alpha: Decimal,
    f: str | None,
) -> Attempt:
    """Registers a roll for an image, and says which of its attempts this is.

    The same request under the same f is the same roll; under another f it is a further one, because
    a certificate under the first was shown. So is every run of an f without a fingerprint, whose
    votes may be others each time. Processes may call it at the same time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{image_sha256}.txt").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        lines = [line.split() for line in file.read().splitlines() if line.strip()]
        own = [request_sha256, f"{alpha:f}", f or _ANY_F]
        same = (i for i, line in enumerate(lines) if f and _is_same(line, own))
        place = next(same, len(lines))
        if place == len(lines):
            file.write(" ".join(own) + "\n")
            lines.append(own)
    numbers = {str(i): i + 1 for i in range(len(lines))}
    spent = {str(i): Decimal(line[1]) for i, line in enumerate(lines) if len(line) > 1}
    return create_attempt(numbers, spent, str(place))


def _is_same(line: list[str], own: list[str]) -> bool:
    """Whether a line is of this roll; one of an earlier version names no f."""
    return line[0] == own[0] and (len(line) == 1 or line[2] == own[2])
