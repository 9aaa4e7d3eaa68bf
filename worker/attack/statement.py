"""What a witness shows, in sentences that claim no more than that."""

import json

from worker.contract.witness import CertificateWitness, Changed, NotAsked, NothingFound

_REASONS = {
    "abstained": "The certificate abstained, so there is no smoothed answer to change.",
    "routed": "No gradient passes the choice among the prompts of a bank, so nothing was tried.",
    "near_tie": "Without smoothing, the model is too near a tie on the image itself to answer.",
    "no_gradient": "The device had no memory left for a gradient, so the search ended.",
    "gives_no_gradient": "The model is an image classifier in ONNX, whose runtime gives no "
    "gradient, so nothing was tried.",
    "time_ended": "The search ended with its time, before it was complete.",
}


def create_statement(witness: CertificateWitness, other_f: str | None = None) -> str:
    """The sentences for one certificate: the smoothed model first, then the undefended one.

    Args:
        witness: what was found.
        other_f: in which way the f that voted is not known to be that of the certificate.
    """
    said = (_say_smoothed(witness, other_f), _say_undefended(witness))
    return " ".join(dict.fromkeys(filter(None, said)))


def _say_smoothed(witness: CertificateWitness, other_f: str | None) -> str:
    found = witness.smoothed
    if isinstance(found, NotAsked):
        return _REASONS[found.reason]
    assert witness.prediction is not None, "an answer that was tried is certified"
    proved = f"Proved: {_quote(witness.prediction)} up to {witness.radius:.6f}."
    if isinstance(found, NothingFound) and found.unconfirmed:
        return (
            f"{proved} Nothing found: near {found.farthest:.6f} the search saw another smoothed "
            "answer, which fresh votes did not confirm. That proves nothing."
        )
    if isinstance(found, NothingFound):
        return (
            f"{proved} Nothing found: the search saw no other smoothed answer up to "
            f"{found.farthest:.6f}. That proves nothing, because a better search may find one."
        )
    assert found.votes is not None, "a smoothed answer rests on votes"
    votes = f"{found.votes.counts[found.class_index]} of {found.votes.n} votes"
    changed = f"at {found.distance:.6f} the smoothed answer is {_quote(found.prediction)} ({votes})"
    if witness.alarm:
        unless = "" if other_f is None else f", unless the votes differ because {other_f} counted"
        return (
            f"ALARM. {proved} But {changed}, which is inside the proved radius: the certificate or "
            f"these votes are wrong{unless}. Do not use this certificate, and report it."
        )
    if other_f is not None:
        return f"{proved} Changed: {changed}. These votes are of {other_f}."
    return f"{proved} Changed: {changed}. The truth lies between."


def _say_undefended(witness: CertificateWitness) -> str:
    found = witness.undefended
    if isinstance(found, NotAsked):
        return "" if found.reason == "routed" else _REASONS[found.reason]
    own = _quote(witness.undefended_prediction or "")
    plain = f"Without smoothing, the model under the same prompt answers {own} to the image itself"
    if isinstance(found, NothingFound):
        return f"{plain}, and no change of that was found up to {found.farthest:.6f}."
    return f"{plain} and {_quote(found.prediction)} at {found.distance:.6f}{_compare(witness)}."


def _compare(witness: CertificateWitness) -> str:
    """How the undefended model's change lies to the proved radius, where one is proved."""
    assert isinstance(witness.undefended, Changed)
    if witness.radius is None:
        return ""
    if witness.undefended.distance <= witness.radius:
        return ", where the smoothed answer is proved"
    return ", which is beyond the proved radius"


def _quote(class_name: str) -> str:
    return json.dumps(class_name, ensure_ascii=False)
