"""What an evaluation takes of a disk and of Redis, at most."""

from dataclasses import dataclass

from worker.contract import CertifyRequest

# Measured on the bundled model (docs/scaling.md), rounded up: bytes of an image's line and of its
# records in Redis, of each certificate in them, and of each sample's vote on each label set.
_LINE, _RECORDS = 2_000, 25_000
_CERTIFICATE, _VOTE = 3_000, 4
_TUNED = 20_000  # a prompt tuned on the image, and its card
_RESULTS = 1_000_000  # tables and pictures


@dataclass(frozen=True, kw_only=True)
class EvaluationNeeds:
    """Bytes of disk and of Redis's memory. The images in Redis go sooner than certificates."""

    disk: int
    redis: int


def estimate_needs(request: CertifyRequest, *, images: int, size: int) -> EvaluationNeeds:
    """What an evaluation takes if every image takes all its samples.

    Args:
        request: what is asked about each image.
        images: the number of images.
        size: the height and width of the model's input, in pixels.
    """
    votes = _VOTE * request.samples_total * len(request.targets)
    documents = _CERTIFICATE * len(request.sigmas) * len(request.targets)
    prompts = _TUNED * len(request.sigmas) * len(request.tuned_targets)
    return EvaluationNeeds(
        disk=_RESULTS + images * (_LINE + documents + prompts),
        redis=images * (3 * size**2 + _RECORDS + documents + prompts + votes),
    )


def write_mb(size_bytes: int) -> str:
    """A number of bytes for people: 41000000 is `41 MB`."""
    return f"{size_bytes / 1e6:,.0f} MB"
