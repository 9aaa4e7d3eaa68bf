"""The webhooks of a running service: who may have one, and who delivers it."""

from dataclasses import dataclass

from redis import Redis

from app.request.callback import parse_callback
from app.request.refusal import FieldInvalid
from app.server.audit_log.trail import AuditTrail
from app.server.jobs.webhooks.addresses import AddressRefused, Receivers, create_receivers
from app.server.jobs.webhooks.delivery import Deliverer
from app.server.jobs.webhooks.key_webhooks import (
    WebhookBook,
    WebhooksFileUnusable,
    find_webhooks_file,
)
from app.server.jobs.webhooks.sending import Sender
from app.settings import AppSettings
from worker.contract import CertificationJob
from worker.contract.learning import LearningJob
from worker.store.jobs.callbacks import Callback

_FIELD = "callback_url"


@dataclass(frozen=True, kw_only=True)
class Webhooks:
    """What the operator allows, what each key has, and who delivers."""

    receivers: Receivers
    book: WebhookBook
    deliverer: Deliverer

    def choose_url(self, key_id: str, asked: str | None) -> str | None:
        """The address that a request of this key names, or the key's default; None: no webhook.

        Raises:
            FieldInvalid: the address is not allowed, or nothing could sign the message.
        """
        own = self.book.find(key_id)
        if asked is None:
            return None if own is None else own.url
        self._check(asked)
        if own is None:
            raise FieldInvalid(
                _FIELD,
                "no value before the key has a webhook secret, which the operator makes with "
                "promptsmooth webhooks set",
            )
        return asked

    def _check(self, asked: str) -> None:
        if not self.receivers.origins:
            raise FieldInvalid(
                _FIELD, "no value: the operator allows none (PROMPTSMOOTH_WEBHOOK_RECEIVERS)"
            )
        try:
            self.receivers.require(parse_callback(asked))
        except AddressRefused:
            raise FieldInvalid(
                _FIELD,
                "an address at an origin that the operator allows (PROMPTSMOOTH_WEBHOOK_RECEIVERS)",
            ) from None


def require_usable(settings: AppSettings) -> None:
    """Reads the files that webhooks need.

    Raises:
        WebhooksFileUnusable: one of them cannot be read or is malformed.
    """
    WebhookBook(find_webhooks_file(settings.webhooks_file, settings.keys_file))
    try:
        Sender(create_receivers(settings), ca=settings.webhook_ca)
    except OSError:
        raise WebhooksFileUnusable(
            f"{settings.webhook_ca} cannot be read as certificates of authorities (PEM)."
        ) from None


def create_callback(job: CertificationJob | LearningJob, url: str) -> Callback:
    """What is noted when a job is accepted, so that its end is told."""
    return Callback(
        kind="learning" if isinstance(job, LearningJob) else "certification",
        job_id=job.id,
        batch_id=None if isinstance(job, LearningJob) else job.batch_id,
        owner=job.owner,
        url=url,
        target=str(parse_callback(url).origin),
    )


def create_webhooks(settings: AppSettings, redis: Redis, trail: AuditTrail) -> Webhooks:
    """The webhooks that the settings describe."""
    receivers = create_receivers(settings)
    book = WebhookBook(find_webhooks_file(settings.webhooks_file, settings.keys_file))
    sender = Sender(receivers, ca=settings.webhook_ca)
    deliverer = Deliverer(redis, book, sender, trail.log)
    return Webhooks(receivers=receivers, book=book, deliverer=deliverer)
