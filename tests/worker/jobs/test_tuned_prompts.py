"""Tuned prompts are kept once, before a vote, and can be fetched by whoever holds a certificate."""

from decimal import Decimal

import numpy as np
import pytest

from models.prompts.prompt import Prompt
from worker.contract import CertifyRequest, InputImage, ModelRef, TemplateTarget, ZeroShotTarget
from worker.contract.prompt import EncodedPrompt
from worker.contract.protocol import PromptsTuned, TunedPrompt
from worker.counting.roll import Roll
from worker.jobs.tuned_prompts import TunedStore
from worker.store import keyspace
from worker.store import prompts as prompts_store

NAMES = ("a", "b")


def create_request() -> CertifyRequest:
    return CertifyRequest(
        input=InputImage(sha256="1" * 64, height=8, width=8, source="png"),
        model=ModelRef(id="m", sha256="2" * 64),
        targets=(
            TemplateTarget(template="A {}.", class_names=NAMES),
            ZeroShotTarget(template="A {}.", class_names=NAMES),
        ),
        sigmas=(Decimal("0.25"), Decimal("0.5")),
    )


ROLL = Roll(create_request(), b"s" * 32)


def create_tuned(seed: int) -> PromptsTuned:
    rng = np.random.default_rng(seed)
    prompts = [Prompt(ctx=rng.normal(size=(2, 8)).astype(np.float32)) for _ in range(2)]
    return PromptsTuned(
        weights_sha256="3" * 64,
        tuned=tuple(
            (
                TunedPrompt(
                    prompt=EncodedPrompt.of(prompt),
                    entropy_before=0.5,
                    entropy_after=0.4,
                    seconds=0.1,
                ),
            )
            for prompt in prompts
        ),
    )


@pytest.fixture
def store(redis) -> TunedStore:
    return TunedStore(redis, ROLL, 600)


def test_what_was_kept_first_stands(store):
    first = store.keep(lambda: create_tuned(1))
    assert first == create_tuned(1)
    assert store.keep(lambda: create_tuned(2)) == first


def test_what_is_kept_is_not_made_again(store):
    store.keep(lambda: create_tuned(1))

    def fail():
        raise AssertionError("tuned again")

    store.keep(fail)


def test_of_two_that_tune_at_a_time_both_certify_the_first_one_s(redis, store):
    """A job that was taken for dead and its retry must not certify two prompts."""
    other = TunedStore(redis, ROLL, 600)
    late = []

    def slow():
        late.append(other.keep(lambda: create_tuned(2)))
        return create_tuned(1)

    assert store.keep(slow) == late[0] == create_tuned(2)


def test_a_tuned_prompt_is_found_by_its_digest_with_what_made_it(redis, store):
    tuned = store.keep(lambda: create_tuned(1))
    for level, sigma in zip(tuned.tuned, (0.25, 0.5), strict=True):
        prompt = level[0].prompt.decode()
        assert prompts_store.find_prompt(redis, prompt.sha256).sha256 == prompt.sha256
        card = prompts_store.find_card(redis, prompt.sha256)
        assert (card.method, card.weights_sha256) == ("zero-shot", "3" * 64)
        assert (card.adaptation.image_sha256, card.adaptation.sigma) == ("1" * 64, sigma)
        assert card.adaptation.started_from == "A {}."


def test_tuned_prompts_are_not_kept_for_ever_but_their_digests_are(redis, store):
    store.keep(lambda: create_tuned(1))
    for_ever = [key for key in redis.keys(f"{keyspace.PREFIX}:*") if redis.ttl(key) == -1]
    assert for_ever == [keyspace.TUNED_VECTORS.encode()]


def test_an_answer_given_again_keeps_its_prompts_as_long(redis, store):
    store.keep(lambda: create_tuned(1))
    keys = [k for k in redis.keys(f"{keyspace.PREFIX}:*") if redis.ttl(k) != -1]
    for key in keys:
        redis.expire(key, 5)
    store.renew()
    assert len(keys) == 7  # the record, two values, two cards, two lists of owners
    assert all(redis.ttl(key) > 500 for key in keys)
