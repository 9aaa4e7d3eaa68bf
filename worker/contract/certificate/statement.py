"""A certificate in sentences, with its scope and limits: a function of its other fields."""

import json
from decimal import Decimal

from worker.contract.certificate.document import (
    DOCUMENT_VERSION,
    AbstainedDocument,
    CertifiedDocument,
)
from worker.contract.request import InputImage

Certificate = CertifiedDocument | AbstainedDocument


def create_statement(
    certificate: Certificate, described: InputImage, version: int = DOCUMENT_VERSION
) -> str:
    """What is quoted to a physician; an audit compares it with the figures.

    Documents of version 1 said less: neither how many certificates their request had, nor that a
    radius below one grey level covers no other image.
    """
    sentences = [_claim(certificate, described), _scope(certificate)]
    if version == 1:
        sentences += [_attempts_1(certificate.attempts)]
    else:
        sentences += [_vacuous(certificate), _multiplicity(certificate), _continuing(certificate)]
        sentences += [_attempts(certificate)]
    return " ".join([*filter(None, sentences), "Research use only."])


def covers_no_other_image(certificate: Certificate) -> bool:
    """Whether no other 8-bit image is nearer than the radius: the nearest is 1/255 away."""
    return isinstance(certificate, CertifiedDocument) and 255 * certificate.radius <= 1


def _vacuous(certificate: Certificate) -> str:
    if not covers_no_other_image(certificate):
        return ""
    return (
        "No other 8-bit image lies within that distance, which is at most one grey level of one "
        "channel of one pixel: this covers this image alone."
    )


def _multiplicity(certificate: Certificate) -> str:
    """How often the best of a request's certificates, picked afterwards, is false."""
    together = certificate.certificates_in_request
    if certificate.joint or together == 1:
        return ""
    error = min(together * certificate.alpha, Decimal(1))
    return (
        f"It is one of {together} certificates of this request, each at its own alpha; the best of "
        f"them, picked afterwards, is false with probability at most {error:f}."
    )


def _continuing(certificate: Certificate) -> str:
    """That all continuations hold together, whoever decides on what votes to go on.

    One that another f counts is a further attempt, whose alpha `_attempts` adds.
    """
    cap = getattr(certificate, "n_cap", None)
    if cap is None:
        return ""
    done = getattr(certificate, "continuations", None)
    ordinal = f"It is continuation {done} of a request that" if done else "Its request"
    return (
        f"{ordinal} may go on up to {cap} samples: its certificates of one attempt, before and "
        "after each continuation, hold together at the same confidence."
    )


def _claim(certificate: Certificate, described: InputImage) -> str:
    noise = (
        f"Gaussian noise of standard deviation {certificate.sigma:f}, in pixels scaled to [0, 1],"
    )
    if isinstance(certificate, CertifiedDocument):
        return (
            f"With confidence {_confidence(certificate)} over the service's own sampling, the "
            f"{_what(certificate)} smoothed with {noise} predicts {_quote(certificate.prediction)} "
            f"for every 8-bit image of {described.width} x {described.height} pixels in three "
            f"channels within l2 distance {certificate.radius:.6f} of this one."
        )
    if (claimed := _find_contradiction(certificate)) is not None:
        return (
            f"Two looks at the {_what(certificate)} smoothed with {noise} claimed different "
            f"{claimed}, so one of them was false: no class is predicted at this noise level."
        )
    if certificate.routing is not None and certificate.routing.selector.outcome == "abstained":
        return (
            f"The choice among {len(certificate.routing.bank)} prompts, smoothed with {noise} was "
            f"not constant enough for a claim at confidence {_confidence(certificate)}: no class "
            "is predicted at this noise level."
        )
    if getattr(certificate, "ambiguous_selection", 0) and certificate.p_a_lower * 2 > 1:
        return (
            f"The samples that choose a class for the {_what(certificate)} smoothed with {noise} "
            "left open which it is, because some of them voted for none: no class is predicted at "
            "this noise level."
        )
    return (
        f"The {_what(certificate)} smoothed with {noise} was not constant enough for a claim at "
        f"confidence {_confidence(certificate)}: no class is predicted at this noise level."
    )


def _quote(class_name: str) -> str:
    """A class name that cannot be read as a part of the sentence, whatever is in it."""
    return json.dumps(class_name, ensure_ascii=False)


def _what(certificate: Certificate) -> str:
    return "classifier" if certificate.routing is None else "pipeline of selector and classifier"


def _find_contradiction(certificate: Certificate) -> str | None:
    """What two looks disagreed about, or None."""
    if certificate.routing is not None and certificate.routing.selector.contradiction:
        return "prompts"
    return "classes" if getattr(certificate, "contradiction", False) else None


def _confidence(certificate: Certificate) -> str:
    confidence = f"{1 - certificate.alpha:f}"
    if not certificate.joint:
        return confidence
    together = certificate.certificates_in_request
    return f"{confidence}, for all {together} certificates of this request together,"


def _scope(certificate: Certificate) -> str:
    """What is covered and on which condition; no scope says anything about the diagnosis."""
    diagnosis = "it does not say that the class is the right diagnosis."
    begins = "It covers everything from the image at the model's resolution on"
    match certificate.guarantee_scope:
        case "global_prompt":
            return (
                f"{begins}, provided that model, prompt, classes and noise level were fixed before "
                f"the image was seen; {diagnosis}"
            )
        case "frozen_prompt" if certificate.learned_on_this_image:
            return (
                f"It covers the classifier with {_describe_learned(certificate)} this very image "
                "and its label, and is frozen. It does not cover learning again: with a changed "
                "image another prompt would have been learned, and may then classify otherwise; "
                f"{diagnosis}"
            )
        case "frozen_prompt":
            assert certificate.prompt is not None
            return (
                f"It covers the classifier with the prompt {certificate.prompt.sha256[:16]}, which "
                "was tuned on an image and is frozen. It does not cover tuning the prompt again: "
                "a changed image would be given another prompt, and may then be classified "
                f"otherwise; {diagnosis}"
            )
        case "routed_pipeline":
            assert certificate.routing is not None
            return (
                f"{begins}, the choice among the {len(certificate.routing.bank)} prompts of the "
                "bank included, provided that model, bank, classes and noise level were fixed "
                f"before the image was seen; {diagnosis}"
            )
        case "joint_pipeline":
            raise ValueError("no certificate of this version covers tuning inside every sample")


def _describe_learned(certificate: Certificate) -> str:
    """What depends on the image, up to the words that name it."""
    if certificate.prompt is None:
        return "a bank of prompts, of which one was learned on"
    name = f"the prompt {certificate.prompt.sha256[:16]}"
    if certificate.adaptation is None:
        return f"{name}, which was learned on"
    return f"{name}, which was tuned from one that was learned on"


def _attempts(certificate: Certificate) -> str:
    if certificate.attempts == 1:
        return "This is the first attempt on exactly this image on record."
    known = certificate.alpha_of_attempts
    sum_of = "the sum of their alphas"
    most = sum_of if known is None else f"{min(known, Decimal(1)).normalize():f}, {sum_of}"
    return (
        f"This is attempt {certificate.attempts} on exactly this image on record: that some "
        f"certificate among them is false has probability at most {most}."
    )


def _attempts_1(attempts: int) -> str:
    if attempts == 1:
        return "This is the first attempt on this image on record."
    return (
        f"This is attempt {attempts} on this image on record: that some certificate among "
        "them is false has probability at most the sum of their alphas."
    )
