"""Stores a learned prompt and the learning's result in one step of Redis.

With two steps, either order would be wrong. If the prompt came first, a cancel in between would
leave a cancelled learning that has taken its prompt id forever. If the result came first, a crash
in between would leave a finished learning without a prompt. With one step there is no in-between,
and RQ retries a run that crashed before it.
"""

from redis import Redis

from models.prompts.cards import PromptCard
from models.prompts.files import check_prompt
from models.prompts.prompt import Prompt
from worker.contract import LEARNING_QUEUE_NAME
from worker.contract.learning import FinishedLearning
from worker.contract.prompt import EncodedPrompt
from worker.store import keyspace, prompts
from worker.store.jobs import accepted

_FINISH = f"""
if redis.call('EXISTS', KEYS[5]) == 1 then return {{false, false}} end
local function put()
{prompts.PUT_SCRIPT}
end
local done = put()
if done[2] then redis.call('SET', KEYS[5], ARGV[6], 'EX', ARGV[7]) end
return done
"""


def finish_learning(
    redis: Redis,
    learning_id: str,
    card: PromptCard,
    prompt: Prompt,
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
    check_prompt(card, prompt)
    prompts.check_id(card.id)
    result = FinishedLearning(prompt_sha256=card.sha256)
    keys = (*prompts.put_keys(card), keyspace.learning_result(learning_id))
    values = EncodedPrompt.of(prompt).model_dump_json()
    stored = (card.id, card.sha256, card.model_dump_json(), values, owner or "")
    named, stands = redis.eval(_FINISH, len(keys), *keys, *stored, result.model_dump_json(), ttl_s)
    if named is not None and stands is None:
        taken = named.decode() if isinstance(named, bytes) else named
        raise prompts.PromptIdTaken(card.id, expected=taken, found=card.sha256)
    accepted.settle(redis, LEARNING_QUEUE_NAME, learning_id)
    return stands is not None
