"""Vectors that were tuned on an image stay tuned, under any name and a little changed."""

import numpy as np
import pytest
from redis import Redis

from models.prompts.likeness import lies_around
from models.prompts.prompt import Prompt
from tests.worker.store.test_prompts import create, create_adapted
from worker.store import keyspace
from worker.store import prompts as prompts_store
from worker.store.tuned_vectors import are_tuned, note_if_near, note_learned, was_learned_on


def put_tuned(redis, *, start: np.ndarray, by: float = 0.005) -> Prompt:
    card, prompt = create_adapted(seed=9)
    ctx = start + np.sign(np.random.default_rng(1).normal(size=start.shape)) * by
    tuned = Prompt(ctx=ctx.astype(np.float32), suffix=prompt.suffix)
    card = card.model_copy(
        update={"sha256": tuned.sha256, "id": prompts_store.create_adapted_id(tuned.sha256)}
    )
    begun = Prompt(ctx=start.astype(np.float32), suffix=prompt.suffix)
    prompts_store.put_adapted(redis, card, tuned, ttl_s=600, start=begun)
    return tuned


@pytest.fixture
def start() -> np.ndarray:
    return create(seed=3)[1].ctx


def put(redis, ctx: np.ndarray, prompt_id: str = "copy"):
    card, prompt = create(prompt_id)
    prompt = Prompt(ctx=ctx.astype(np.float32), suffix=prompt.suffix)
    card = card.model_copy(update={"sha256": prompt.sha256})
    return prompts_store.put_prompt(redis, card, prompt)


def test_a_copy_in_half_precision_counts_as_tuned(redis, start):
    tuned = put_tuned(redis, start=start)
    half = tuned.ctx.astype(np.float16).astype(np.float32)
    assert not np.array_equal(half, tuned.ctx)
    assert put(redis, half).method == "zero-shot"


def test_a_copy_in_half_precision_was_learned_on_the_same_images(redis):
    _, learned = create(seed=3)
    half = Prompt(ctx=learned.ctx.astype(np.float16).astype(np.float32), suffix=" scan.")
    assert half.ctx_sha256 != learned.ctx_sha256
    note_learned(redis, learned, ("1" * 64, "2" * 64))
    for prompt in (learned, half):
        assert was_learned_on(redis, prompt, "2" * 64)
        assert not was_learned_on(redis, prompt, "3" * 64)
    assert not was_learned_on(redis, create(seed=4)[1], "2" * 64)


@pytest.mark.parametrize("share", [0.6, 0.9, 1.1, 3.0, 6.0, 100.0])
def test_vectors_nearer_to_a_tuned_prompt_than_to_its_start_count_as_tuned(redis, start, share):
    tuned = put_tuned(redis, start=start)
    assert put(redis, start + share * (tuned.ctx - start)).method == "zero-shot"


@pytest.mark.parametrize("share", [0.0, 0.4, -1.0])
def test_vectors_nearer_to_the_start_do_not(redis, start, share):
    tuned = put_tuned(redis, start=start)
    assert put(redis, start + share * (tuned.ctx - start)).method == "imported"


def test_another_prompt_far_from_both_does_not(redis, start):
    tuned = put_tuned(redis, start=start)
    other = create(seed=5)[1]
    begun = Prompt(ctx=start.astype(np.float32))
    assert not any(lies_around(other, tuned, begun) for _ in range(2))
    assert put(redis, other.ctx).method == "imported"


def test_tuned_vectors_are_asked_for_at_use_too(redis, start):
    """They were imported before anything was tuned to them, or near them."""
    by = 0.005
    signs = np.sign(np.random.default_rng(1).normal(size=start.shape))
    assert put(redis, start + by * signs, "same").method == "imported"
    assert put(redis, start + 0.9 * by * signs, "near").method == "imported"
    assert prompts_store.find_card(redis, "near").method == "imported"
    put_tuned(redis, start=start, by=by)
    assert prompts_store.find_card(redis, "same").method == "zero-shot"
    assert prompts_store.find_card(redis, "near").method == "zero-shot"
    stored = prompts_store.find_card(redis, "near")
    assert are_tuned(redis, prompts_store.find_prompt(redis, stored.sha256).decode())


class Crowded(Redis):
    """Another caller's vectors are compared with the tuned ones after each command."""

    def execute_command(self, *arguments, **options):
        answer = super().execute_command(*arguments, **options)
        with Redis(connection_pool=self.connection_pool) as another:
            note_if_near(another, create(seed=5)[1])
        return answer


def test_a_prompt_that_is_being_stored_is_not_taken_for_an_expired_one(redis, start):
    with Crowded(connection_pool=redis.connection_pool) as crowded:
        tuned = put_tuned(crowded, start=start)
    assert put(redis, start + 0.9 * (tuned.ctx - start)).method == "zero-shot"


def test_a_tuned_prompt_that_has_expired_is_forgotten(redis, start):
    tuned = put_tuned(redis, start=start)
    redis.delete(keyspace.tuned_start(tuned.sha256))
    note_if_near(redis, create(seed=5)[1])
    assert redis.smembers(keyspace.TUNED_STARTS) == set()


def test_the_same_holds_after_the_tuned_prompt_has_expired(redis, start):
    tuned = put_tuned(redis, start=start)
    for key in redis.scan_iter("promptsmooth:*"):
        if redis.ttl(key) > 0:
            redis.delete(key)
    assert put(redis, tuned.ctx.astype(np.float16)).method == "zero-shot"
