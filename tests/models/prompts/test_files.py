"""What was saved is loaded; what does not belong together is not."""

import json
import os
import threading
from datetime import UTC, datetime

import numpy as np
import pytest
import safetensors.numpy

from models.prompts.cards import Learning, PromptCard, TrainingSet, parse_prompt_card
from models.prompts.catalogue import SHIPPED
from models.prompts.ctx_file import MAX_BYTES, UnreadableCtx, find_suffix, parse_ctx, write_ctx
from models.prompts.files import (
    PromptFileMissing,
    PromptMismatch,
    PromptTaken,
    PromptUnreadable,
    format_card,
    load_prompt,
    save_prompt,
)
from models.prompts.prompt import Prompt


def create_prompt(*, seed: int = 0, rows: int = 3, width: int = 8, suffix: str = ".") -> Prompt:
    ctx = np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)
    return Prompt(ctx=ctx, suffix=suffix)


def create_card(prompt: Prompt, **changes: object) -> PromptCard:
    fields = {
        "id": "lungs-v1.2",
        "model": "bundled-2",
        "weights_sha256": "a" * 64,
        "method": "imported",
        "class_names": ("normal", 'a "quoted" name, λ'),
        "n_ctx": prompt.n_ctx,
        "width": prompt.width,
        "suffix": prompt.suffix,
        "sha256": prompt.sha256,
        "created_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    }
    return PromptCard(**(fields | changes))


LEARNING = Learning(
    preset="default",
    shots=16,
    epochs=50,
    batch_size=32,
    learning_rate=0.02,
    momentum=0.9,
    weight_decay=5e-4,
    warmup_epochs=1,
    warmup_learning_rate=1e-5,
    noise_levels=(0.0, 0.25, 0.1),
    augment=True,
    seed=2**40,
    images_sha256="b" * 64,
    loss=0.1 + 0.2,
    accuracy=1.0,
    device="cpu",
    threads=2,
    seconds=12.5,
    versions={"torch": "2.13.0+cpu", "a.b": "c"},
)


def test_what_was_saved_is_loaded(tmp_path):
    prompt = create_prompt(suffix=" in a slide.")
    training = TrainingSet(name="X", licence="CC0-1.0", citation="Y\nZ")
    card = create_card(prompt, learning=LEARNING, training_data=(training,), ctx_init="An image")
    path = save_prompt(tmp_path / "new", card, prompt)
    assert path == tmp_path / "new" / "lungs-v1.2.toml"
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "lungs-v1.2.safetensors",
        "lungs-v1.2.toml",
    ]
    found_card, found = load_prompt(path)
    assert found_card == card
    assert parse_prompt_card(format_card(card)) == card
    assert found.sha256 == prompt.sha256


def test_another_prompt_does_not_take_an_id_and_the_same_one_may_come_again(tmp_path):
    prompt, other = create_prompt(), create_prompt(seed=1)
    save_prompt(tmp_path, create_card(prompt), prompt)
    path = save_prompt(tmp_path, create_card(prompt, description="said later"), prompt)
    with pytest.raises(PromptTaken, match=f"{prompt.sha256}.*{other.sha256}"):
        save_prompt(tmp_path, create_card(other), other)
    card, found = load_prompt(path)
    assert (card.description, found.sha256) == ("said later", prompt.sha256)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": 9}, "expected width 9, found 8"),
        ({"n_ctx": 4}, "expected n_ctx 4, found 3"),
        ({"suffix": "!"}, "expected suffix !, found [.]"),
        ({"sha256": "0" * 64}, f"expected sha256 {'0' * 64}, found"),
    ],
)
def test_a_card_of_another_prompt_is_refused_on_both_ways(tmp_path, changes, said):
    prompt = create_prompt()
    card = create_card(prompt, **changes)
    with pytest.raises(PromptMismatch, match=said):
        save_prompt(tmp_path, card, prompt)
    assert not list(tmp_path.iterdir())
    path = save_prompt(tmp_path, create_card(prompt), prompt)
    path.write_text(format_card(card), encoding="utf-8")
    if "suffix" not in changes:  # the card's words are the prompt's, so the digest differs instead
        with pytest.raises(PromptMismatch, match=said):
            load_prompt(path)
    else:
        with pytest.raises(PromptMismatch, match="sha256"):
            load_prompt(path)


def test_files_that_are_missing_or_damaged_are_named(tmp_path):
    prompt = create_prompt()
    path = save_prompt(tmp_path, create_card(prompt), prompt)
    values = tmp_path / "lungs-v1.2.safetensors"
    values.write_bytes(values.read_bytes()[:-1])
    with pytest.raises(PromptUnreadable, match="damaged or truncated"):
        load_prompt(path)
    values.write_bytes(write_ctx(np.full((3, 8), np.inf, dtype=np.float32)))
    with pytest.raises(PromptUnreadable, match="finite"):
        load_prompt(path)
    values.unlink()
    with pytest.raises(PromptFileMissing, match=r"lungs-v1.2.safetensors is missing"):
        load_prompt(path)
    with pytest.raises(PromptFileMissing, match=r"other.toml is missing"):
        load_prompt(tmp_path / "other.toml")


def test_nothing_is_left_of_a_prompt_that_could_not_be_written_whole(tmp_path):
    prompt = create_prompt()
    in_the_way = tmp_path / f".lungs-v1.2.toml.{os.getpid()}-{threading.get_ident()}.tmp"
    in_the_way.mkdir()  # the card is begun here
    with pytest.raises(OSError, match="tmp"):
        save_prompt(tmp_path, create_card(prompt), prompt)
    assert list(tmp_path.iterdir()) == [in_the_way]


@pytest.mark.parametrize("shape", [(1, 1), (3, 8), (16, 512), (5, 768)])
def test_the_container_is_that_of_the_package(shape):
    ctx = create_prompt(rows=shape[0], width=shape[1]).ctx
    assert write_ctx(ctx) == safetensors.numpy.save({"ctx": ctx})
    np.testing.assert_array_equal(parse_ctx(write_ctx(ctx)), ctx)


def test_half_precision_is_read_exactly():
    ctx = create_prompt().ctx.astype(np.float16)
    found = parse_ctx(safetensors.numpy.save({"ctx": ctx}, metadata={"made": "elsewhere"}))
    np.testing.assert_array_equal(found, ctx.astype(np.float32))
    assert found.dtype == np.float32


VALID = {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}


def create_container(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a safetensors file"),
        (b"\xff" * 64, "not a safetensors file"),
        ((4).to_bytes(8, "little") + b"{}}}", "not a safetensors file"),
        ((2**16).to_bytes(8, "little") + b"[" * 2**16, "not a safetensors file"),
        ((2**16 + 1).to_bytes(8, "little") + bytes(2**17), "header is over 65536 bytes"),
        (create_container([]), "not a safetensors file"),
        (create_container({"ctx": 1}), "not a safetensors file"),
        (create_container({"__metadata__": {"suffix": 1}, "ctx": VALID}, bytes(8)), "not a safet"),
        (create_container({"ctx": VALID}, bytes(7)), "damaged or truncated"),
        (create_container({"ctx": VALID}, bytes(9)), "damaged or truncated"),
        (create_container({"ctx": VALID | {"data_offsets": [8, 16]}}, bytes(16)), "damaged"),
        (create_container({"ctx": VALID | {"shape": [-1, 2]}}, bytes(8)), "damaged"),
        (create_container({"ctx": VALID | {"shape": [2**40, 2]}}, bytes(8)), "damaged"),
        (create_container({"ctx": VALID | {"shape": [2**63, 2**63]}}, bytes(8)), "damaged"),
        (create_container({"ctx": VALID | {"shape": [1] * 65 + [2]}}, bytes(8)), "damaged"),
        (create_container({"ctx": VALID | {"shape": [0, 2**62], "data_offsets": [0, 0]}}), "damag"),
        (
            create_container({"ctx": VALID | {"dtype": "BF16", "shape": [4]}}, bytes(8)),
            "another dtype",
        ),
        (safetensors.numpy.save({"a": np.zeros(1), "ctx": np.zeros(1)}), "got 2 tensors"),
        (safetensors.numpy.save({"ctx": np.zeros((2, 2))}), "F32 or F16, got another"),
        (bytes(MAX_BYTES + 1), f"at most {MAX_BYTES} bytes"),
    ],
)
def test_what_is_no_container_is_a_sentence(content, said):
    with pytest.raises(UnreadableCtx, match=said):
        parse_ctx(content)


@pytest.mark.parametrize("twice", ['"ctx":null', '"__metadata__":{"suffix":"a","suffix":"b"}'])
def test_a_suffix_that_readers_disagree_about_is_a_sentence(twice):
    text = f'{{{twice},"ctx":{json.dumps(VALID)}}}'.encode()
    with pytest.raises(UnreadableCtx, match="a name stands twice"):
        find_suffix(len(text).to_bytes(8, "little") + text + bytes(8))


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.safetensors")), ids=lambda p: p.stem)
def test_what_ships_is_written_to_the_same_bytes(path):
    content = path.read_bytes()
    assert write_ctx(parse_ctx(content), find_suffix(content)) == content
