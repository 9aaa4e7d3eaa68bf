"""The joint statement about images that were sent together: a function of their certificates."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from worker.certification import ImageClaim, SeriesAbstained, SeriesStep, certify_series
from worker.contract.certificate.document import (
    AlphaFigure,
    CertificateDocument,
    CertifiedDocument,
    FinishedResult,
    Length,
    Prompting,
    SigmaFigure,
)
from worker.contract.quantities import Contract
from worker.contract.targets import PromptRef

Images = Sequence[Sequence[CertificateDocument]]
"""The certificates of each image, in the request's order; none for an image without."""
_Count = Annotated[int, Field(ge=0)]


class JointStep(Contract):
    """One radius, and how many images may hold any content beside it."""

    radius: Length = Field(description="l2 in each image, in pixels scaled to [0, 1].")
    images_certified: _Count = Field(description="Certified as the prediction at this radius.")
    images_other: _Count = Field(description="The most that can be any one other class.")
    images_any_content: _Count = Field(description="May be replaced by anything.")

    @classmethod
    def of(cls, step: SeriesStep) -> "JointStep":
        return cls(
            radius=step.radius,
            images_certified=step.certified,
            images_other=step.other,
            images_any_content=step.any_content,
        )


class _Joint(Contract):
    target_index: _Count = Field(description="Which of the request's label sets, from 0.")
    prompting: Prompting
    sigma: SigmaFigure
    alpha: AlphaFigure
    certificates_in_request: int = Field(ge=1)
    images: int = Field(ge=1, description="All that were sent, also those without certificates.")
    statement: str


class JointCertified(_Joint):
    """The class that more images are predicted as than any other, and what keeps it so.

    `steps` hold together: the largest radius for each number of images with any content.
    """

    outcome: Literal["certified"] = "certified"
    prediction: str
    class_index: _Count
    steps: Annotated[tuple[JointStep, ...], Field(min_length=1)]


class JointAbstained(_Joint):
    """No class is certified in more images than any other could have."""

    outcome: Literal["abstained"] = "abstained"


JointDocument = Annotated[JointCertified | JointAbstained, Field(discriminator="outcome")]


def join_images(images: Images) -> tuple[JointCertified | JointAbstained, ...]:
    """What the certificates of a joint request say about its images together.

    Args:
        images: the images of one request that are known; further ones that it had count as images
            without certificates.

    Returns:
        one statement for each noise level and label set, in the order of the certificates.

    Raises:
        ValueError: no image has certificates, or they are not of one request whose certificates
            hold together.
    """
    certified = [one for one in images if one]
    if not certified:
        raise ValueError("no image has certificates")
    first = certified[0]
    if any([_terms(c) for c in one] != [_terms(c) for c in first] for one in certified):
        raise ValueError("the certificates are not of one request")
    if not first[0].joint:
        raise ValueError("the certificates hold each for itself: send the images with joint=true")
    sent, rest = divmod(first[0].certificates_in_request, len(first))
    if rest or sent < len(images):
        raise ValueError("these are more certificates than alpha was divided among")
    together = _Together(first[0].alpha, first[0].certificates_in_request, sent, "this request")
    return _join_places(certified, together)


def join_requests(
    results: Sequence[FinishedResult | None],
) -> tuple[JointCertified | JointAbstained, ...]:
    """What the results of several requests, one for each image, say about the images together.

    The certificates of an image hold together with probability 1 - alpha of its request, so those
    of all images do with 1 - the sum of these alphas.

    Args:
        results: one for each image; None for an image without.

    Returns:
        one statement for each noise level and label set, in the order of the certificates.

    Raises:
        ValueError: no image has a result, they differ in model, prompts, classes or noise levels,
            the certificates of one image do not hold together, or the alphas sum up to too much.
    """
    finished = [one for one in results if one is not None]
    if not finished:
        raise ValueError("no image has certificates")
    if len({one.model.sha256 for one in finished}) > 1:
        raise ValueError("the requests differ in the weights of their model")
    certified = [one.certificates for one in finished]
    if any(list(map(_question, one)) != list(map(_question, certified[0])) for one in certified):
        raise ValueError("the requests differ in promptings, prompts, classes or noise levels")
    if not all(one[0].joint for one in certified):
        raise ValueError("the certificates hold each for itself: ask for each with joint=true")
    alpha = sum((one[0].alpha for one in certified), Decimal(0))
    count = sum(map(len, certified))
    return _join_places(certified, _Together(alpha, count, len(results), "these images"))


@dataclass(frozen=True)
class _Together:
    """Certificates that hold together: their alpha, their number, how many images, and whose."""

    alpha: Decimal
    certificates: int
    images: int
    origin: str


def _join_places(
    certified: Images, together: _Together
) -> tuple[JointCertified | JointAbstained, ...]:
    sigmas = {certificate.sigma for certificate in certified[0]}
    targets = len(certified[0]) // len(sigmas)
    return tuple(
        _join([one[place] for one in certified], together, place % targets)
        for place in range(len(certified[0]))
    )


def _question(certificate: CertificateDocument) -> tuple[object, ...]:
    """What was asked of an image: under which prompt, with which classes, at which noise level.

    A prompt that was tuned on the image is the image's own; what its tuning started from counts.
    """
    prompt = certificate.started_from if certificate.adaptation else certificate.prompt
    bank = certificate.routing.bank if certificate.routing else ()
    return (
        certificate.prompting,
        certificate.template,
        prompt and prompt.sha256,
        tuple(one.sha256 if isinstance(one, PromptRef) else one.template for one in bank),
        certificate.class_names,
        certificate.sigma,
    )


def _terms(certificate: CertificateDocument) -> tuple[object, ...]:
    """What all images of one request share at one place."""
    return (
        _question(certificate),
        certificate.alpha,
        certificate.joint,
        certificate.certificates_in_request,
    )


def _join(
    made: Sequence[CertificateDocument], together: _Together, target_index: int
) -> JointCertified | JointAbstained:
    first = made[0]
    claims: list[ImageClaim | None] = [
        ImageClaim(top_class=one.class_index, radius=one.radius)
        for one in made
        if isinstance(one, CertifiedDocument)
    ]
    claims += [None] * (together.images - len(claims))
    found = certify_series(claims, num_classes=len(first.class_names))
    common = {
        "target_index": target_index,
        "prompting": first.prompting,
        "sigma": first.sigma,
        "alpha": together.alpha,
        "certificates_in_request": together.certificates,
        "images": together.images,
        "statement": "",
    }
    if isinstance(found, SeriesAbstained):
        return _with_statement(JointAbstained.model_validate(common), made, together)
    claimed = {
        "prediction": first.class_names[found.top_class],
        "class_index": found.top_class,
        "steps": tuple(map(JointStep.of, found.steps)),
    }
    return _with_statement(JointCertified.model_validate({**common, **claimed}), made, together)


def _with_statement(
    joint: JointCertified | JointAbstained,
    made: Sequence[CertificateDocument],
    together: _Together,
) -> JointCertified | JointAbstained:
    sentences = (
        _claim(joint, together.origin),
        "What is counted are the predictions of single images; each certificate states which "
        "classifier and prompt made its own, and on which condition. Nothing is said about the "
        "diagnosis.",
        _attempts(made),
        "Research use only.",
    )
    return joint.model_copy(update={"statement": " ".join(sentences)})


def _attempts(made: Sequence[CertificateDocument]) -> str:
    """How often the images were tried, and what all attempts at them spent together."""
    most = max(one.attempts for one in made)
    if most == 1:
        return "Each is the first attempt on its image on record."
    spent = [one.alpha_of_attempts for one in made]
    known = [one for one in spent if one is not None]
    sum_of = "the sum of their alphas"
    if len(known) == len(spent):
        sum_of = f"{min(sum(known, Decimal(0)), Decimal(1)).normalize():f}, {sum_of}"
    return (
        f"Of one of the images, up to {most} attempts are on record: that some certificate among "
        f"the attempts on these images is false has probability at most {sum_of}."
    )


def _claim(joint: JointCertified | JointAbstained, origin: str) -> str:
    noise = f"Gaussian noise of standard deviation {joint.sigma:f}, in pixels scaled to [0, 1]"
    confidence = (
        f"confidence {1 - joint.alpha:f} over the service's own sampling, for all "
        f"{joint.certificates_in_request} certificates of {origin} together"
    )
    if isinstance(joint, JointAbstained):
        return (
            f"With {confidence}, no class is certified in more of the {joint.images} images than "
            f"another could have, smoothed with {noise}: nothing is claimed about them together."
        )
    quoted = json.dumps(joint.prediction, ensure_ascii=False)
    return (
        f"With {confidence}, the smoothed classifiers with {noise} predict {quoted} for more of "
        f"the {joint.images} images than any other class, {_changes(joint.steps)}."
    )


def _changes(steps: Sequence[JointStep]) -> str:
    """The ends of the range: the most images with any content, and the largest radius."""
    ends = dict.fromkeys((steps[0], steps[-1]))
    return ", and also ".join(map(_change, ends))


def _change(step: JointStep) -> str:
    changed = (
        f"whatever 8-bit image within l2 distance {step.radius:.6f} of it each of them becomes"
    )
    if step.images_any_content == 0:
        return changed
    return f"{changed} and whatever else up to {step.images_any_content} of them hold instead"
