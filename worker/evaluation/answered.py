"""What a service's answer about an image says to a run: which f ran, and what it counted."""

from itertools import groupby

from worker.contract import Identity
from worker.contract.certificate.document import FinishedResult

_OF_F = tuple(name for name in Identity.model_fields if name not in ("model", "architecture"))


def describe_f(result: FinishedResult, architecture: str) -> Identity:
    """The f that a document's provenance describes, of a model with this architecture."""
    said = {name: getattr(result.provenance, name) for name in _OF_F}
    return Identity(model=result.model, architecture=architecture, **said)


def count_samples(result: FinishedResult) -> int:
    """Passes of the image tower behind a document, copies that prompts were tuned on included.

    All certificates of a noise level share its samples.
    """
    levels = groupby(result.certificates, key=lambda one: one.sigma)
    total = 0
    for _, level in levels:
        certificates = list(level)
        copies = (0 if one.adaptation is None else one.adaptation.copies for one in certificates)
        total += max(one.n_used for one in certificates) + max(copies)
    return total
