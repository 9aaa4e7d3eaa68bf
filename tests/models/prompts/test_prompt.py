"""A prompt whose vectors are words is those words."""

import numpy as np
import pytest
import torch

from models.loading.loading import load_vlm
from models.prompts.prompt import Prompt, split_template


@pytest.fixture
def vlm(tiny_clip, tmp_path):
    return load_vlm(tiny_clip.write(tmp_path), tmp_path, torch.device("cpu"))


def create_prompt(*, rows: int = 3, width: int = 32, suffix: str = ".") -> Prompt:
    rng = np.random.default_rng(rows)
    return Prompt(ctx=rng.normal(size=(rows, width)).astype(np.float32), suffix=suffix)


@pytest.mark.parametrize("words", ["An", "An H&E image patch of", "a slide: stained, of"])
def test_vectors_that_are_words_give_the_features_of_the_text(vlm, words):
    names = ["necrosis.", "benign tissue.", "a long name."]
    texts = [f"{words} {name}" for name in names]
    found = vlm.encode_prompts(vlm.embed_text(words), names)
    torch.testing.assert_close(found, vlm.encode_texts(texts), rtol=0, atol=1e-6)


def test_a_text_tower_of_its_own_takes_vectors_too(tiny_clip, tmp_path):
    from models.loading.loading import create_clip

    config = {**tiny_clip.config, "custom_text": True}
    with torch.random.fork_rng():
        torch.manual_seed(6)
        tensors = create_clip(config).state_dict()
    custom = type(tiny_clip)(config=config, tensors=tensors)
    vlm = load_vlm(custom.write(tmp_path), tmp_path, torch.device("cpu"))
    found = vlm.encode_prompts(vlm.embed_text("An image of"), ["lungs.", "bones."])
    expected = vlm.encode_texts(["An image of lungs.", "An image of bones."])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_a_gradient_reaches_the_vectors_and_nothing_else(vlm):
    ctx = vlm.embed_text("An image of").requires_grad_()
    vlm.encode_prompts(ctx, ["lungs.", "bones."])[0, 0].backward()
    assert ctx.grad is not None
    assert ctx.grad.abs().sum() > 0
    assert all(p.grad is None for p in vlm.clip.parameters())


def test_vectors_of_another_width_are_refused(vlm):
    with pytest.raises(ValueError, match=r"width 32; .*31"):
        vlm.encode_prompts(torch.zeros(2, 31), ["lungs."])


def test_a_prompt_longer_than_the_context_is_refused(vlm):
    vlm.encode_prompts(torch.zeros(12, 32), ["lung."])  # 12 + [SOS] lung . [EOS] = 16
    with pytest.raises(ValueError, match=r"at most 16 tokens; .* has 17"):
        vlm.encode_prompts(torch.zeros(13, 32), ["lung."])


def test_the_digest_is_that_of_the_values():
    prompt = create_prompt()
    same = Prompt(ctx=np.asfortranarray(prompt.ctx), suffix=".")
    moved = prompt.ctx.copy()
    moved[0, 0] = np.nextafter(moved[0, 0], np.float32(9))
    others = (
        Prompt(ctx=moved),
        Prompt(ctx=prompt.ctx, suffix=" image."),
        Prompt(ctx=prompt.ctx.reshape(2, 48)),
    )
    assert same.sha256 == prompt.sha256
    assert len({prompt.sha256, *(other.sha256 for other in others)}) == 4


def test_a_prompt_is_not_changed_from_outside():
    ctx = np.ones((2, 8), dtype=np.float32)
    prompt = Prompt(ctx=ctx)
    ctx[0, 0] = 5
    assert prompt.ctx[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        prompt.ctx[0, 0] = 5


@pytest.mark.parametrize(
    ("ctx", "said"),
    [
        (np.zeros((2, 8)), "float32"),
        (np.zeros((2, 8, 3), dtype=np.float32), "shape"),
        (np.zeros((0, 8), dtype=np.float32), "1 to 64"),
        (np.zeros((65, 8), dtype=np.float32), "1 to 64"),
        (np.full((2, 8), np.nan, dtype=np.float32), "finite"),
    ],
)
def test_vectors_that_are_none_are_refused(ctx, said):
    with pytest.raises(ValueError, match=said):
        Prompt(ctx=ctx)


def test_a_template_is_words_before_and_a_suffix_after():
    assert split_template("An H&E image patch of {}.") == ("An H&E image patch of", ".")
    assert split_template("A {} image.") == ("A", " image.")
    with pytest.raises(ValueError, match="has none"):
        split_template("{} on a slide")


def test_a_class_name_has_the_features_it_has_beside_longer_ones(vlm):
    """Padding is left out up to the longest text: what is left must not matter to the others."""
    ctx = vlm.embed_text("An image of")
    alone = vlm.encode_prompts(ctx, ["lungs."])
    beside = vlm.encode_prompts(ctx, ["lungs.", "a name as long as can be."])
    torch.testing.assert_close(alone[0], beside[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("mark", ["<end_of_text>", "<start_of_text>"])
def test_a_mark_inside_a_text_is_refused_and_does_not_cut_it(vlm, mark):
    """The features are read at the first end mark: what follows it would be ignored."""
    for encode in (
        lambda text: vlm.encode_texts([text, "bones"]),
        lambda text: vlm.encode_prompts(torch.zeros(2, 32), [text, "bones"]),
    ):
        with pytest.raises(ValueError, match="start or end marks"):
            encode(f"a {mark} lung")
