"""Going on from a certificate on this machine: the next part of the same request."""

from worker.contract import CertifyRequest
from worker.contract.certificate.document import FinishedResult
from worker.counting.roll import Roll


def count_continuations(before: FinishedResult) -> int:
    """How often the request of a certificate went on."""
    return getattr(before.certificates[0], "continuations", None) or 0


def continue_request(request: CertifyRequest, before: FinishedResult) -> CertifyRequest:
    """The request with the part of its schedule that follows a certificate's.

    Raises:
        ValueError: there is no such part.
    """
    for _ in range(count_continuations(before) + 1):
        following = request.find_continued()
        if following is None:
            raise ValueError(
                "there are no further samples to take: --n-cap is missing, or the certificate is "
                "at the end of its schedule"
            )
        request = following
    return request


def require_same_roll(roll: Roll, before: FinishedResult) -> None:
    """Requires that a certificate is of this roll.

    Raises:
        ValueError: it was made by another request, or with another key secret.
    """
    keys = {purpose: key.text for purpose, key in roll.revealed_keys.items()}
    if before.provenance.noise_keys != keys:
        raise ValueError(
            "the certificate to go on from has other noise: give the image and the options that it "
            "was made with, on the machine that made it"
        )
