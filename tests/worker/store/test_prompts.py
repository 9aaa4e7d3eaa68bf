"""Prompts in Redis: one id is one prompt for ever, and what is found is what was stored."""

import json
import threading
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
from logged import list_events

from models.catalogue import load_catalogue
from models.prompts.cards import PromptCard
from models.prompts.files import PromptMismatch, get_values_path, save_prompt
from models.prompts.imported import create_import
from models.prompts.prompt import Prompt
from worker.jobs.publish_prompts import publish_prompts
from worker.store import keyspace
from worker.store import prompts as prompts_store
from worker.store.prompts import PromptDamaged, PromptIdReserved, PromptIdTaken


def create(prompt_id: str = "lungs", *, seed: int = 0, **changes) -> tuple[PromptCard, Prompt]:
    ctx = np.random.default_rng(seed).normal(size=(3, 64)).astype(np.float32)
    card, prompt = create_import(
        ctx,
        prompt_id=prompt_id,
        model=load_catalogue().get("bundled-2"),
        text_width=64,
        class_names=("normal", "pneumonia"),
        suffix=".",
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
    )
    return card.model_copy(update=changes), prompt


def create_adapted(*, seed: int = 0) -> tuple[PromptCard, Prompt]:
    card, prompt = create(seed=seed)
    adapted_id = prompts_store.create_adapted_id(prompt.sha256)
    return card.model_copy(update={"id": adapted_id, "method": "zero-shot"}), prompt


def test_what_was_stored_is_found_by_id_and_by_digest(redis):
    card, prompt = create()
    assert prompts_store.put_prompt(redis, card, prompt) == card
    assert prompts_store.find_card(redis, "lungs") == card
    assert prompts_store.find_card(redis, card.sha256) == card
    found = prompts_store.find_prompt(redis, card.sha256)
    np.testing.assert_array_equal(found.decode().ctx, prompt.ctx)
    assert found.suffix == prompt.suffix
    assert prompts_store.find_card(redis, "other") is None
    assert prompts_store.find_card(redis, "0" * 64) is None
    assert prompts_store.find_prompt(redis, "0" * 64) is None
    assert [redis.ttl(key) for key in redis.scan_iter("*")] == [-1, -1, -1]


def test_an_id_names_one_prompt_for_ever(redis):
    (card, prompt), (other, values) = create(), create(seed=1)
    prompts_store.put_prompt(redis, card, prompt)
    said_later = card.model_copy(update={"description": "later"})
    assert prompts_store.put_prompt(redis, said_later, prompt) == card
    with pytest.raises(PromptIdTaken, match=f"{card.sha256}, that of the new one {other.sha256}"):
        prompts_store.put_prompt(redis, other, values)
    assert prompts_store.find_prompt(redis, other.sha256) is None
    assert prompts_store.remove(redis, "lungs", ttl_s=60)
    with pytest.raises(PromptIdTaken):
        prompts_store.put_prompt(redis, other, values)
    assert prompts_store.put_prompt(redis, said_later, prompt) == said_later
    assert redis.ttl(keyspace.prompt(card.sha256)) == -1


def test_of_many_that_ask_for_an_id_at_a_time_one_gets_it(redis):
    prompts = [create(seed=seed) for seed in range(8)]
    start, won = threading.Barrier(len(prompts)), []

    def put(card: PromptCard, prompt: Prompt) -> None:
        start.wait()
        with suppress(PromptIdTaken):
            won.append(prompts_store.put_prompt(redis, card, prompt))

    threads = [threading.Thread(target=put, args=pair) for pair in prompts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = won
    assert prompts_store.list_cards(redis) == (winner,)
    assert [c for c, _ in prompts if prompts_store.find_prompt(redis, c.sha256)] == [winner]


@pytest.mark.parametrize("prompt_id", ["zero-shot-mine", "0123456789abcdef" * 4])
def test_ids_of_the_service_are_not_given_away(redis, prompt_id):
    with pytest.raises(PromptIdReserved, match="not free"):
        prompts_store.put_prompt(redis, *create(prompt_id))
    assert redis.dbsize() == 0


def test_a_card_of_other_vectors_is_not_stored(redis):
    (card, _), (_, other) = create(), create(seed=1)
    with pytest.raises(PromptMismatch):
        prompts_store.put_prompt(redis, card, other)
    with pytest.raises(ValueError, match="has the id zero-shot-"):
        prompts_store.put_adapted(redis, *create(), ttl_s=60)
    assert redis.dbsize() == 0


def test_damaged_values_are_never_handed_out(redis):
    card, prompt = create()
    prompts_store.put_prompt(redis, card, prompt)
    key = keyspace.prompt(card.sha256)
    stored = json.loads(redis.get(key))
    for damaged in (stored | {"suffix": "!"}, stored | {"n_ctx": 2}, {}):
        redis.set(key, json.dumps(damaged))
        with pytest.raises(PromptDamaged):
            prompts_store.find_prompt(redis, card.sha256)


def test_an_adapted_prompt_is_found_while_it_lives_and_is_not_listed(redis):
    card, prompt = create_adapted()
    prompts_store.put_adapted(redis, card, prompt, ttl_s=60)
    assert card.id == f"zero-shot-{prompt.sha256[:16]}"
    assert prompts_store.find_card(redis, card.id) == card
    assert prompts_store.find_card(redis, card.sha256) == card
    assert prompts_store.find_prompt(redis, card.sha256).sha256 == prompt.sha256
    assert prompts_store.list_cards(redis) == ()
    keys = (keyspace.prompt(card.sha256), keyspace.adapted_prompt(card.id))
    assert all(0 < redis.ttl(key) <= 60 for key in keys)
    prompts_store.put_adapted(redis, card, prompt, ttl_s=600)
    assert all(60 < redis.ttl(key) <= 600 for key in keys)
    prompts_store.put_adapted(redis, card, prompt, ttl_s=60)
    assert all(60 < redis.ttl(key) <= 600 for key in keys)
    assert not prompts_store.remove(redis, card.id, ttl_s=60)
    assert prompts_store.find_card(redis, card.id) == card


def test_an_adapted_prompt_never_makes_a_kept_one_expire(redis):
    kept, adapted = create(), create_adapted()
    for first, second in pairwise(("adapted", "kept", "adapted")):
        redis.flushdb()
        for which in (first, second):
            if which == "kept":
                prompts_store.put_prompt(redis, *kept)
            else:
                prompts_store.put_adapted(redis, *adapted, ttl_s=60)
        assert redis.ttl(keyspace.prompt(kept[1].sha256)) == -1


def test_values_outlive_their_card_for_jobs_under_way_only(redis):
    card, prompt = create()
    twin = card.model_copy(update={"id": "twin"})
    prompts_store.put_prompt(redis, card, prompt)
    prompts_store.put_prompt(redis, twin, prompt)
    assert prompts_store.list_cards(redis) == (card, twin)
    assert prompts_store.remove(redis, "lungs", ttl_s=60)
    assert redis.ttl(keyspace.prompt(card.sha256)) == -1
    assert prompts_store.find_card(redis, card.sha256) == twin
    assert prompts_store.remove(redis, "twin", ttl_s=60)
    assert not prompts_store.remove(redis, "twin", ttl_s=60)
    assert prompts_store.find_card(redis, card.sha256) is None
    assert 0 < redis.ttl(keyspace.prompt(card.sha256)) <= 60
    prompts_store.put_prompt(redis, card, prompt)
    prompts_store.put_adapted(redis, *create_adapted(), ttl_s=600)
    prompts_store.remove(redis, "lungs", ttl_s=60)
    assert 60 < redis.ttl(keyspace.prompt(card.sha256)) <= 600


def test_a_host_publishes_what_it_can_and_says_what_it_cannot(redis, tmp_path, caplog):
    shipped = publish_prompts(redis, None)
    for seed, name in enumerate(("first", "second", "third")):
        save_prompt(tmp_path, *create(name, seed=seed))
    get_values_path(tmp_path / "second.toml").unlink()
    prompts_store.put_prompt(redis, *create("third", seed=9))
    for _ in range(2):
        assert publish_prompts(redis, tmp_path) == shipped + 1
    ids = {card.id for card in prompts_store.list_cards(redis)}
    assert {"first", "third"} <= ids
    assert "second" not in ids
    reasons = [event["reason"] for event in list_events(caplog)]
    assert any("second.safetensors is missing" in reason for reason in reasons)
    assert any("'third' names another prompt" in reason for reason in reasons)
    caplog.clear()
    assert publish_prompts(redis, tmp_path / "none") == shipped
    assert "prompts folder" in list_events(caplog)[0]["reason"]
