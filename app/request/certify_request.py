"""Turns the fields of a certification into the request that a worker takes."""

from app.request.certify import CertifyFields
from app.request.refusal import FieldInvalid
from app.request.targets import FindCard, PromptedModel, create_targets
from models.catalogue.cards import ModelCard
from worker.contract import CertifyRequest, InputImage, ModelRef, Target


def resolve_targets(
    fields: CertifyFields, card: PromptedModel, find_card: FindCard
) -> tuple[Target, ...]:
    """The targets that the image is compared with, prompts by their digests.

    Raises:
        FieldInvalid: a prompt is unknown or for another model, or a target makes no sense.
    """
    try:
        targets = create_targets(
            fields.requested_targets, card, find_card, companions=fields.targets is None
        )
    except FieldInvalid as error:
        raise FieldInvalid("targets" if fields.targets else error.field, error.expected) from None
    if fields.procedure == "cohen" and any(target.prompting == "routed" for target in targets):
        raise FieldInvalid("procedure", "staged, by which a routed certificate is made")
    return targets


def create_request(
    fields: CertifyFields,
    card: ModelCard,
    targets: tuple[Target, ...],
    image: InputImage,
    *,
    images: int = 1,
) -> CertifyRequest:
    """The request, which fixes everything before the noise key. `images` were sent together."""
    return CertifyRequest(
        input=image,
        model=ModelRef(id=card.id, sha256=card.sha256),
        targets=targets,
        sigmas=tuple(fields.sigma),
        procedure=fields.requested_procedure,
        alpha=fields.alpha,
        joint=fields.joint,
        images=images,
        attempt=fields.attempt,
    )
