"""POST /certify with promptings: what is asked becomes targets, by digests, or a sentence."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest

from app.request.certify import parse_fields
from app.request.targets import create_targets
from models.catalogue import load_catalogue
from models.prompts.cards import PromptAdaptation, PromptCard
from models.prompts.prompt import Prompt
from worker.contract import BankTemplate
from worker.store import keyspace, prompts
from worker.store.jobs import records

CARD = load_catalogue().get("bundled-2")
NAMES = ("normal lungs", "pneumonia")


def create_prompt(
    seed: int, prompt_id: str, *, method: str = "few-shot", weights: str | None = None, **fields
) -> tuple[PromptCard, Prompt]:
    rng = np.random.default_rng(seed)
    prompt = Prompt(ctx=rng.normal(0, 0.02, (4, 64)).astype(np.float32))
    card = PromptCard(
        id=prompt_id,
        model="bundled-2",
        weights_sha256=weights or CARD.weights_sha256,
        method=method,
        class_names=NAMES,
        n_ctx=4,
        width=64,
        suffix=".",
        sha256=prompt.sha256,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        **fields,
    )
    return card, prompt


@pytest.fixture
def stored(redis) -> dict[str, PromptCard]:
    made = [
        create_prompt(1, "lungs", ctx_init="A chest X-ray showing"),
        create_prompt(2, "lungs-too"),
        create_prompt(3, "elsewhere", weights="0" * 64),
    ]
    return {card.id: prompts.put_prompt(redis, card, prompt) for card, prompt in made}


def targets_of(redis, answer):
    assert answer.status_code == 202, answer.text
    return records.find_job(redis, answer.json()["id"]).request.targets


def test_a_prompt_by_itself_is_few_shot_with_its_own_classes(post, redis, stored):
    (target,) = targets_of(redis, post(prompt="lungs"))
    assert target.prompting == "few-shot"
    assert target.prompt.sha256 == stored["lungs"].sha256
    assert target.class_names == NAMES


def test_a_prompt_by_its_digest_is_the_same(post, redis, stored):
    by_id, by_digest = (
        targets_of(redis, post(prompt=name)) for name in ("lungs", stored["lungs"].sha256)
    )
    assert by_id == by_digest


def test_promptings_asked_for_together_are_about_the_same_question(post, redis, stored):
    """Those without a prompt take class names and words from the one that is named."""
    asked = ["template", "few-shot", "zero-shot", "few-shot+zero-shot"]
    found = targets_of(redis, post(prompting=asked, prompt="lungs"))
    assert [target.prompting for target in found] == asked
    assert {target.class_names for target in found} == {NAMES}
    assert found[0].template == found[2].template == "A chest X-ray showing {}."


def test_without_a_prompt_words_and_classes_are_the_card_s(post, redis):
    template, zero_shot = targets_of(redis, post(prompting=["template", "zero-shot"]))
    assert template.template == zero_shot.template == CARD.template
    assert template.class_names == zero_shot.class_names == CARD.class_names


def test_each_prompt_named_gets_its_certificates(post, redis, stored):
    found = targets_of(redis, post(prompt=["lungs", "lungs-too"]))
    assert [target.prompt.id for target in found] == ["lungs", "lungs-too"]


def test_routed_takes_all_prompts_as_its_bank(post, redis, stored):
    answer = post(prompting="routed", prompt=["lungs", "lungs-too"], template="A {}.")
    (target,) = targets_of(redis, answer)
    assert [getattr(entry, "id", "template") for entry in target.bank] == [
        "lungs",
        "lungs-too",
        "template",
    ]
    assert target.bank[2] == BankTemplate(template="A {}.")


def test_targets_name_promptings_of_their_own(post, redis, stored):
    text = (
        '[{"prompting": "few-shot", "prompt": "lungs", "class_names": ["a", "b"]}, {},'
        ' {"prompting": "routed", "bank": [{"prompt": "lungs"}, {"template": "An {}."}]}]'
    )
    few_shot, template, routed = targets_of(redis, post(targets=text))
    assert few_shot.class_names == ("a", "b")
    assert template.class_names == CARD.class_names
    assert routed.class_names == NAMES


def adapted(redis) -> PromptCard:
    made, prompt = create_prompt(
        4,
        "placeholder",
        method="zero-shot",
        adaptation=PromptAdaptation(
            image_sha256="1" * 64,
            sigma=0.25,
            copies=100,
            steps=1,
            learning_rate=0.005,
            weight_decay=0.01,
            started_from="A {}.",
        ),
    )
    card = made.model_copy(update={"id": prompts.create_adapted_id(prompt.sha256)})
    prompts.put_adapted(redis, card, prompt, ttl_s=600)
    return card


def test_a_tuned_prompt_can_be_used_again_and_keeps_its_method(post, redis):
    card = adapted(redis)
    for name in (card.id, card.sha256):
        (target,) = targets_of(redis, post(prompt=name))
        assert target.prompt.method == "zero-shot"


@pytest.mark.parametrize("names", [["benign", "Benign"], ["a b", "x", "A  b"]])
def test_names_that_differ_in_case_or_spaces_alone_are_refused_before_they_are_queued(
    client, png, names
):
    answer = client.post(
        "/certify", files={"image": png}, data={"sigma": "0.25", "class_name": names}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert "tokenizer tells apart" in answer.json()["detail"]


@pytest.mark.parametrize("suffix", [".", " image."])
def test_a_tuned_prompt_imported_under_another_name_keeps_its_method(post, client, redis, suffix):
    """Else its certificates would claim a prompt that was fixed before the image was seen."""
    card = adapted(redis)
    file = client.get(f"/prompts/{card.id}/ctx.safetensors").content
    redis.delete(keyspace.adapted_prompt(card.id))  # as when its time to live has passed
    answer = client.post(
        "/prompts",
        files={"file": ("p.safetensors", file)},
        data={"id": "mine", "model": "bundled-2", "class_name": list(NAMES), "suffix": suffix},
    )
    assert answer.status_code == 201, answer.text
    assert answer.json()["method"] == "zero-shot"
    for name in ("mine", answer.json()["sha256"]):
        (target,) = targets_of(redis, post(prompt=name))
        assert target.prompt.method == "zero-shot"


def test_a_tuned_prompt_is_not_removed(client, redis):
    """A certificate names it: whoever holds that must be able to fetch it."""
    card = adapted(redis)
    answer = client.delete(f"/prompts/{card.id}")
    assert (answer.status_code, answer.json()["code"]) == (409, "prompt_kept")
    assert client.get(f"/prompts/{card.sha256}/ctx").status_code == 200


def test_a_downloaded_prompt_imported_again_is_the_same_prompt(client, redis):
    """Its words after the class name travel with it."""
    made, prompt = create_prompt(9, "theirs")
    prompt = Prompt(ctx=prompt.ctx, suffix=" image.")
    card = made.model_copy(update={"sha256": prompt.sha256, "suffix": " image."})
    prompts.put_prompt(redis, card, prompt)
    answer = client.post(
        "/prompts",
        files={"file": ("p", client.get("/prompts/theirs/ctx.safetensors").content)},
        data={"id": "ours", "model": "bundled-2", "class_name": list(NAMES)},
    )
    assert answer.json()["sha256"] == card.sha256


def test_a_bank_with_a_tuned_prompt_is_refused(post, redis, stored):
    card = adapted(redis)
    answer = post(prompting="routed", prompt=["lungs", card.id])
    assert "none of which was tuned" in answer.json()["errors"][0]["detail"]


def test_the_largest_targets_fit_one_field(post, redis):
    """16 label sets of 100 class names of 100 characters: what the limits say, the form takes."""
    names = [f"{i:03d} {'x' * 96}" for i in range(100)]
    targets = [{"class_names": names, "template": f"An {i} {{}}."} for i in range(16)]
    found = targets_of(redis, post(targets=json.dumps(targets)))
    assert len(found) == 16
    assert all(target.class_names == tuple(names) for target in found)


def test_a_name_is_looked_up_once_in_a_request():
    """However many targets name it: one request is about one prompt, also while it is renamed."""
    card, _ = create_prompt(1, "lungs")
    asked: list[str] = []

    def find(name: str) -> PromptCard:
        asked.append(name)
        return card

    promptings = ["template", "few-shot", "zero-shot"]
    fields = parse_fields({"sigma": ["0.25"], "prompting": promptings, "prompt": ["lungs"]})
    create_targets(fields.requested_targets, CARD, find, companions=True)
    assert asked == ["lungs"]
