"""Learnings in Redis: job, curve, checkpoint and result, each with a time to live.

A result is written only once. Cancelling a learning writes a result, and a running learner stops
when it sees one.
"""

import time
from typing import Any

from pydantic import TypeAdapter
from redis import Redis
from redis.client import Pipeline

from models.prompts.cards import PromptCard
from models.prompts.files import check_prompt
from worker.contract import LEARNING_QUEUE_NAME
from worker.contract.learning import FinishedLearning, LearnedEpoch, LearningJob, LearningResult
from worker.contract.prompt import EncodedPrompt
from worker.store import keyspace, prompts
from worker.store.connection import as_text
from worker.store.jobs.callbacks import END_CALLBACK
from worker.store.jobs.records import hold
from worker.store.tuned_vectors import note_learned

_RESULT: TypeAdapter[LearningResult] = TypeAdapter(LearningResult)
_END_LEARNING = f"""{END_CALLBACK}
local function end_learning(first, text, ttl_s, id, due_at, name, status, now)
  local stored = redis.call('SET', KEYS[first], text, 'EX', ttl_s, 'NX')
  redis.call('DEL', KEYS[first + 1])
  redis.call('ZREM', KEYS[first + 2], id)
  if stored then end_callback(KEYS[first + 3], KEYS[first + 4], due_at, name, status, now) end
  return stored and 1 or 0
end
"""
_PUT_RESULT = f"{_END_LEARNING} return end_learning(1, unpack(ARGV))"
_FINISH = f"""{_END_LEARNING}
if redis.call('EXISTS', KEYS[5]) == 1 then return {{false, false}} end
local function put()
{prompts.PUT_SCRIPT}
end
local done = put()
if done[2] then end_learning(5, unpack(ARGV, 6)) end
return done
"""


def put_job(redis: "Redis | Pipeline", job: LearningJob, *, ttl_s: int) -> None:
    """Stores a job as the latest for its request, and makes it hold its images."""
    key = keyspace.learning_job(job.id)
    redis.set(key, job.model_dump_json(), ex=ttl_s)
    redis.set(keyspace.learning_request(job.request_sha256), job.id, ex=ttl_s)
    for image in job.request.images:
        hold(redis, keyspace.image_holders(image.sha256), key, ttl_s=ttl_s)


def find_job(redis: Redis, learning_id: str) -> LearningJob | None:
    """The job of a learning, or None if it is not stored."""
    data = redis.get(keyspace.learning_job(learning_id))
    return None if data is None else LearningJob.model_validate_json(data)


def find_equal(redis: Redis, job: LearningJob) -> LearningJob | None:
    """The latest job stored for the same request by the same caller, or None."""
    found = redis.get(keyspace.learning_request(job.request_sha256))
    return find_job(redis, found.decode()) if isinstance(found, bytes) else None


def put_epoch(
    redis: Redis, learning_id: str, epoch: LearnedEpoch, checkpoint: bytes, *, ttl_s: int
) -> None:
    """Stores an epoch together with the checkpoint after it."""
    curve = keyspace.learning_curve(learning_id)
    with redis.pipeline() as pipeline:
        pipeline.hset(curve, str(epoch.number), epoch.model_dump_json())
        pipeline.expire(curve, ttl_s)
        pipeline.set(keyspace.learning_checkpoint(learning_id), checkpoint, ex=ttl_s)
        pipeline.execute()


def find_curve(redis: Redis, learning_id: str) -> tuple[LearnedEpoch, ...]:
    """The epochs done so far, in order."""
    stored = redis.hvals(keyspace.learning_curve(learning_id))
    epochs = map(LearnedEpoch.model_validate_json, stored)
    return tuple(sorted(epochs, key=lambda epoch: epoch.number))


def find_checkpoint(redis: Redis, learning_id: str) -> bytes | None:
    """The checkpoint after the last stored epoch; None before the first."""
    data = redis.get(keyspace.learning_checkpoint(learning_id))
    return data if isinstance(data, bytes) else None


def drop_checkpoint(redis: Redis, learning_id: str) -> None:
    """Deletes the checkpoint and the curve, so that the learning starts anew."""
    redis.delete(keyspace.learning_checkpoint(learning_id), keyspace.learning_curve(learning_id))


def put_result(redis: Redis, learning_id: str, result: LearningResult, *, ttl_s: int) -> bool:
    """Stores a result unless there already is one. Returns whether it was stored.

    With it the learning's webhook is due.
    """
    keys = _list_keys(learning_id)
    arguments = _list_arguments(learning_id, result, ttl_s=ttl_s)
    return bool(redis.eval(_PUT_RESULT, len(keys), *keys, *arguments))


def _list_keys(learning_id: str) -> tuple[str, ...]:
    """The keys of `end_learning`."""
    return (
        keyspace.learning_result(learning_id),
        keyspace.learning_checkpoint(learning_id),
        keyspace.accepted(LEARNING_QUEUE_NAME),
        keyspace.learning_callback(learning_id),
        keyspace.WEBHOOK_TARGETS,
    )


def _list_arguments(learning_id: str, result: LearningResult, *, ttl_s: int) -> tuple[Any, ...]:
    """The arguments of `end_learning` behind the number of its first key."""
    told = (keyspace.due_webhooks(""), f"learning:{learning_id}", result.status, time.time())
    return (result.model_dump_json(), ttl_s, learning_id, *told)


def has_result(redis: Redis, learning_id: str) -> bool:
    """Whether a learning has a result. Does not read it."""
    return bool(redis.exists(keyspace.learning_result(learning_id)))


def find_result(redis: Redis, learning_id: str) -> LearningResult | None:
    """The result of a learning, or None if it has none yet."""
    data = redis.get(keyspace.learning_result(learning_id))
    return None if data is None else _RESULT.validate_json(data)


def finish_learning(
    redis: Redis,
    learning_id: str,
    card: PromptCard,
    prompt: EncodedPrompt,
    *,
    ttl_s: int,
    owner: str | None = None,
) -> bool:
    """Stores a learned prompt and the learning's result, unless the learning already has a result.

    Returns:
        Whether both were stored. If the learning already had a result, neither is.

    Raises:
        models.prompts.files.PromptMismatch: the card describes other vectors.
        worker.store.prompts.PromptRefused: the prompt cannot have this id. Nothing is stored.
    """
    check_prompt(card, prompt.decode())
    if card.learning is not None:
        note_learned(redis, prompt.decode(), card.learning.images)
    prompts.check_id(card.id)
    result = FinishedLearning(prompt_sha256=card.sha256)
    keys = (*prompts.put_keys(card), *_list_keys(learning_id))
    values = prompt.model_dump_json()
    stored = (card.id, card.sha256, card.model_dump_json(), values, owner or "")
    ended = _list_arguments(learning_id, result, ttl_s=ttl_s)
    named, stands = redis.eval(_FINISH, len(keys), *keys, *stored, *ended)
    if named is not None and stands is None:
        taken = as_text(named)
        raise prompts.PromptIdTaken(card.id, expected=taken, found=card.sha256)
    return stands is not None
