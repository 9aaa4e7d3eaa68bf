"""What the service itself fails at, or cannot do at the moment."""

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from app.server.answers.problems.problem import Problem

# Redis is unreachable, too slow, or refuses: out of memory, disk full, read-only.
QUEUE_AWAY = (RedisConnectionError, RedisTimeoutError, ResponseError)


class InternalError(Problem):
    status, code = 500, "internal_error"
    text = "Something went wrong inside the service; quote the request_id to its operator."


class TooBusy(Problem):
    status, code, retry_after_s = 503, "too_busy", 1
    text = "As many requests as this service answers at a time are under way; try again shortly."


class AuditLogUnavailable(Problem):
    status, code, retry_after_s = 503, "audit_log_unavailable", 30
    text = "The audit log cannot be written, and nothing is done here that is not in it."


class QueueUnavailable(Problem):
    status, code, retry_after_s = 503, "queue_unavailable", 2
    text = "The queue cannot be reached or takes nothing at the moment; try again shortly."


class StorageFull(Problem):
    status, code, retry_after_s = 503, "storage_full", 30
    text = (
        "The memory of the queue is full; nothing was queued, and what was accepted before goes on."
    )


class ModelUnavailable(Problem):
    status, code, retry_after_s = 503, "model_unavailable", 30
    text = (
        "No worker host can certify with this model, for its files are missing or unusable there; "
        "nothing was queued. GET /models says what each host lacks."
    )


class DecodingUnavailable(Problem):
    status, code, retry_after_s = 503, "decoding_unavailable", 5
    text = "Images cannot be decoded at the moment; nothing was queued, and the image may be sound."


class QueueFull(Problem):
    status, code, retry_after_s = 503, "queue_full", 60
    text = (
        "As much work waits as this service accepts; nothing was queued. Try again after the "
        "seconds in Retry-After, which come from the speed that worker hosts measured."
    )


class NotReady(Problem):
    status, code, retry_after_s = 503, "not_ready", 5
    text = "Something that certifying needs is missing; `missing` names it."
