"""What the app holds while it runs."""

from dataclasses import dataclass

from anyio import CapacityLimiter, Event
from redis import Redis

from app.server.access.keyring import Keyring
from app.server.audit_log.trail import AuditTrail
from app.server.jobs.capacity.queue_limit import QueueLimit
from app.server.jobs.webhooks.webhooks import Webhooks
from app.settings import AppSettings
from models.catalogue import Catalogue
from models.imaging import Decoder


@dataclass(frozen=True, kw_only=True)
class Services:
    """What the app holds while it runs."""

    settings: AppSettings
    catalogue: Catalogue
    redis: Redis
    queue_limit: QueueLimit
    decoding: CapacityLimiter
    auditing: CapacityLimiter
    audit: AuditTrail
    keyring: Keyring
    webhooks: Webhooks
    decoder: Decoder
    watching: CapacityLimiter
    stopping: Event
