"""Turns a body of POST /evaluations into a folder that the app works on. Checked before stored."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import uuid4

from app.request.certify import check_fields
from app.request.certify_request import resolve_targets
from app.request.evaluation_needs import write_mb
from app.request.refusal import FieldInvalid
from app.server.access.caller import Caller
from app.server.answers import problems
from app.server.forms.evaluations import RULES, AskedEvaluation
from app.server.jobs.capacity.model_hosts import require_card, require_host
from app.server.jobs.evaluations.datasets import choose_files
from app.server.jobs.evaluations.needs import Needs, find_needs
from app.server.jobs.evaluations.record import (
    EvaluationFolder,
    LabelledName,
    StoredEvaluation,
)
from app.server.jobs.services import Services
from app.server.middleware.request_context import find_request_id
from models.catalogue.cards import ModelCard
from models.datasets.files import LabelledFile
from models.datasets.subset import content_sha256, digest_listing
from models.files.claimed_folder import lock_folder
from worker.contract import ANY_IMAGE, ModelRef
from worker.store import prompts

_UNREAD = "0" * 64


@dataclass(frozen=True, kw_only=True)
class PreparedEvaluation:
    """An evaluation that could be started if there is room for it."""

    asked: StoredEvaluation
    card: ModelCard

    @property
    def samples(self) -> int:
        """The most samples that it can take."""
        return len(self.asked.files) * self.asked.create_request(ANY_IMAGE).samples_total


def require_folder(services: Services) -> Path:
    """The folder of evaluations, which exists.

    Raises:
        EvaluationsOff: the operator names none.
    """
    folder = services.settings.evaluations
    if folder is None:
        raise problems.EvaluationsOff
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def prepare_evaluation(
    services: Services,
    body: AskedEvaluation,
    caller: Caller,
    key: str | None = None,
    *,
    read_files: bool = True,
) -> PreparedEvaluation:
    """Checks everything that is asked. Nothing is stored.

    Args:
        services: of the app.
        body: what is asked.
        caller: who asks; the evaluation and its certifications are theirs.
        key: the idempotency key, which names the evaluation.
        read_files: whether to take the digests of the files. Without them it cannot be started.

    Raises:
        FieldInvalid: a field asks for something that this service does not do.
        Problem: there is no such model, or no host can serve it.
    """
    settings, own = services.settings, body.own
    if own.images > settings.max_evaluation_images:
        most = settings.max_evaluation_images
        raise FieldInvalid("images", f"an integer from 1 to {most}")
    dataset, files = choose_files(settings, own.dataset, own.split, own.images, seed=own.seed)
    card = require_card(services.catalogue, body.certify.model or settings.default_model)
    require_host(services.redis, card)
    fields = body.certify.model_copy(
        update={
            "class_name": list(dataset.class_names),
            "template": body.certify.template or dataset.template or card.template,
        }
    )
    check_fields(fields, settings.limits)
    find_card = partial(prompts.find_card, services.redis, view=caller.view)
    contents = _digest_files(files) if read_files else [_UNREAD] * len(files)
    asked = StoredEvaluation(
        id=_create_id(caller, key),
        owner=caller.key_id,
        quotas=caller.quotas,
        submitted_at=datetime.now(UTC),
        request_id=find_request_id(),
        fingerprint=body.fingerprint,
        dataset=own.dataset,
        split=own.split,
        seed=own.seed,
        listing_sha256=digest_listing(files, contents),
        files=tuple(
            LabelledName(name=one.name, class_index=one.class_index, sha256=content)
            for one, content in zip(files, contents, strict=True)
        ),
        model=ModelRef(id=card.id, sha256=card.sha256),
        architecture=card.architecture,
        targets=resolve_targets(fields, card, find_card),
        sigmas=tuple(fields.sigma),
        procedure=fields.requested_procedure,
        alpha=fields.alpha,
        radii=tuple(sorted(set(own.radius))),
    )
    return PreparedEvaluation(asked=asked, card=card)


def find_own_needs(services: Services, prepared: PreparedEvaluation) -> Needs:
    """What an evaluation takes, and what there is beside what the open ones still take."""
    root, catalogue = require_folder(services), services.catalogue
    return find_needs(services.redis, root, catalogue, prepared.asked, prepared.card)


def find_repeated(
    services: Services, body: AskedEvaluation, caller: Caller, key: str
) -> StoredEvaluation | None:
    """The evaluation that an idempotency key leads to, or None.

    Raises:
        IdempotencyKeyReused: the key was used for another request.
    """
    folder = EvaluationFolder(require_folder(services) / _create_id(caller, key))
    return _require_same(folder.read(), body.fingerprint)


def _require_same(stored: StoredEvaluation | None, fingerprint: str) -> StoredEvaluation | None:
    if stored is not None and stored.fingerprint != fingerprint:
        raise problems.IdempotencyKeyReused
    return stored


def start_evaluation(services: Services, prepared: PreparedEvaluation) -> StoredEvaluation:
    """Stores an evaluation, which an app process takes up.

    Returns the one that stands: of two requests with one idempotency key, the first. Requests are
    looked at one after another, so that each sees what the one before it still takes.

    Raises:
        EvaluationTooLarge: it needs more disk or memory than is free and not reserved.
        IdempotencyKeyReused: the key was used for another request just now.
    """
    with lock_folder(require_folder(services)):
        return _start(services, prepared)


def _start(services: Services, prepared: PreparedEvaluation) -> StoredEvaluation:
    asked, folder = prepared.asked, EvaluationFolder(require_folder(services) / prepared.asked.id)
    if (stored := _require_same(folder.read(), asked.fingerprint)) is not None:
        return stored
    needs = find_own_needs(services, prepared)
    if not needs.fits:
        raise problems.EvaluationTooLarge(_say_short(needs))
    services.audit.record(
        "evaluation.accepted",
        evaluation_id=asked.id,
        model=asked.model.model_dump(),
        images=len(asked.files),
        listing_sha256=asked.listing_sha256,
    )
    if folder.create(asked):
        return asked
    return _require_same(folder.read(), asked.fingerprint) or asked


def _say_short(needs: Needs) -> str:
    taken, reserved = needs.taken, needs.reserved
    still = (
        f"Of that, evaluations that have not ended still take up to {write_mb(reserved.disk)} of "
        f"disk and {write_mb(reserved.redis)} of memory. "
    )
    return (
        f"The evaluation needs up to {write_mb(taken.disk)} of disk, of which "
        f"{write_mb(needs.disk_free)} are free, and {write_mb(taken.redis)} of the memory of "
        f"the queue, of which {write_mb(needs.redis_free or 0)} are free. "
        f"{still if reserved.disk else ''}Nothing was started."
    )


def _create_id(caller: Caller, key: str | None) -> str:
    if key is None:
        return uuid4().hex
    return hashlib.sha256(f"evaluation\n{caller.key_id}\n{key}".encode()).hexdigest()[:32]


def _digest_files(files: Sequence[LabelledFile]) -> list[str]:
    try:
        return [content_sha256(file.path) for file in files]
    except OSError:
        raise FieldInvalid("dataset", f"readable files; {RULES['dataset']}") from None
