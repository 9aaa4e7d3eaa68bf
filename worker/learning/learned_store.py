"""The end of a learning that has its prompt: the prompt and the result, in one step of Redis.

With two steps, either order is wrong. Prompt first: a cancel in between leaves a learning that was
cancelled and yet took its id for ever. Result first: a crash in between leaves one that finished
without a prompt. In one step there is no between: a crash before it is a try that RQ repeats.
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
    """Stores a learned prompt and that the learning has finished, unless that has a result.

    Returns whether it had none, so that both are stored now; else neither is.

    Raises:
        models.prompts.files.PromptMismatch: the card is about other vectors.
        worker.store.prompts.PromptRefused: the prompt cannot have this id; nothing is stored.
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
