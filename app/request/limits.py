"""The most that one request may ask for."""

from dataclasses import dataclass

from worker.contract import MAX_SIGMAS


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of an operator. The defaults are the service's, and those of the command line."""

    images: int = 16
    sigmas: int = MAX_SIGMAS
    n: int = 100_000
    n0: int = 10_000
    class_name: int = 200
