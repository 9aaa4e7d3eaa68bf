"""The zero-shot step against the formulae, written out again in numpy at 64 bits."""

import math

import numpy as np
import pytest
import torch

from models.learning.template_prompt import create_template_prompt
from models.learning.zero_shot import TuningStep, mean_entropy, tune_prompt
from models.loading.loading import load_vlm
from models.prompts.prompt import Prompt

NAMES = ("necrosis", "benign tissue", "stroma")


@pytest.fixture
def vlm(tiny_clip, tmp_path):
    return load_vlm(tiny_clip.write(tmp_path), tmp_path, torch.device("cpu"))


@pytest.fixture
def features(vlm, sample_pixels) -> torch.Tensor:
    return vlm.encode_images(sample_pixels(40, 32))


def start_prompt(vlm) -> Prompt:
    return create_template_prompt(vlm, "An image of {}.", NAMES)


def entropy_by_hand(logits: np.ndarray) -> float:
    """H(mean over copies of softmax), the formula of PromptSmooth's section on zero-shot."""
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    mean = (p / p.sum(axis=1, keepdims=True)).mean(axis=0)
    return float(-(mean * np.log(mean)).sum())


def test_the_objective_is_the_entropy_of_the_mean_and_not_the_mean_of_entropies():
    sure_of_either = torch.tensor([[50.0, 0.0], [0.0, 50.0]])
    assert mean_entropy(sure_of_either).item() == pytest.approx(math.log(2), abs=1e-6)
    assert mean_entropy(sure_of_either[:1]).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_the_objective_is_the_formula(scale):
    logits = scale * np.random.default_rng(3).normal(size=(100, 5))
    found = mean_entropy(torch.tensor(logits, dtype=torch.float32)).item()
    assert found == pytest.approx(entropy_by_hand(logits), rel=1e-5)


def objective_at(vlm, features: torch.Tensor, ctx: np.ndarray, suffix: str) -> float:
    """The objective in 64 bits but for the text tower, whose output both sides share."""
    with torch.no_grad():
        text = vlm.encode_prompts(torch.tensor(ctx), [name + suffix for name in NAMES])
    logits = vlm.logit_scale * features.double().numpy() @ text.double().numpy().T
    return entropy_by_hand(logits)


def test_the_gradient_is_that_of_the_formula(vlm, features):
    """Along random directions, by central differences of the recomputed objective."""
    vlm.clip.double()
    prompt = start_prompt_double(vlm)
    ctx = torch.tensor(prompt, requires_grad=True)
    text = vlm.text_tower(ctx, tokens(vlm))
    text = torch.nn.functional.normalize(text, dim=-1)
    mean_entropy(vlm.logit_scale * features.double() @ text.T).backward()
    rng = np.random.default_rng(0)
    for _ in range(3):
        direction = rng.normal(size=prompt.shape)
        ends = [double_objective(vlm, features, prompt + h * direction) for h in (1e-6, -1e-6)]
        by_hand = (ends[0] - ends[1]) / 2e-6
        assert (ctx.grad.numpy() * direction).sum() == pytest.approx(by_hand, rel=1e-5, abs=1e-9)


def start_prompt_double(vlm) -> np.ndarray:
    ids = torch.tensor(vlm.tokenizer.encode("An image of"))
    return vlm.text_tower.token_embedding(ids).detach().numpy().astype(np.float64)


def tokens(vlm) -> torch.Tensor:
    return vlm.tokenizer([f"{name}." for name in NAMES])


def double_objective(vlm, features: torch.Tensor, ctx: np.ndarray) -> float:
    with torch.no_grad():
        text = vlm.text_tower(torch.from_numpy(ctx), tokens(vlm)).numpy()
    text = text / np.linalg.norm(text, axis=1, keepdims=True)
    return entropy_by_hand(vlm.logit_scale * features.double().numpy() @ text.T)


def test_the_first_step_is_adamw_s(vlm, features):
    """From a fresh state: w (1 - lr·decay) - lr·g / (|g| + eps), for the first step's moments
    cancel their bias corrections (Loshchilov and Hutter, ICLR 2019)."""
    start = start_prompt(vlm)
    ctx = torch.tensor(start.ctx, requires_grad=True)
    text = vlm.encode_prompts(ctx, [start.create_text(name) for name in NAMES])
    mean_entropy(vlm.logit_scale * features @ text.T).backward()
    g, lr, decay, eps = ctx.grad.double().numpy(), 5e-3, 0.01, 1e-8
    by_hand = start.ctx * (1 - lr * decay) - lr * g / (np.abs(g) + eps)
    found = tune_prompt(vlm, features, start, NAMES).prompt.ctx
    certain = np.abs(g) > 1e-6  # where a gradient is nothing but rounding, its sign is too
    assert certain.mean() > 0.9
    np.testing.assert_allclose(found[certain], by_hand[certain], rtol=0, atol=1e-5)


def test_the_entropies_said_are_those_of_the_prompts(vlm, features):
    start = start_prompt(vlm)
    tuned = tune_prompt(vlm, features, start, NAMES)
    before = objective_at(vlm, features, start.ctx, start.suffix)
    after = objective_at(vlm, features, tuned.prompt.ctx, start.suffix)
    assert tuned.entropy_before == pytest.approx(before, rel=1e-5)
    assert tuned.entropy_after == pytest.approx(after, rel=1e-5)


def test_steps_lower_the_entropy(vlm, features):
    step = TuningStep(steps=10)
    tuned = tune_prompt(vlm, features, start_prompt(vlm), NAMES, step)
    assert tuned.entropy_after < tuned.entropy_before


def test_an_image_s_prompt_does_not_depend_on_others(vlm, sample_pixels):
    """Fresh optimiser and vectors for each: before, after and beside another image's."""
    mine, other = (vlm.encode_images(sample_pixels(n, 32)) for n in (40, 41))
    start = start_prompt(vlm)
    alone = tune_prompt(vlm, mine, start, NAMES).prompt.sha256
    tune_prompt(vlm, other, start, NAMES)
    assert tune_prompt(vlm, mine, start, NAMES).prompt.sha256 == alone


def test_inference_mode_around_it_changes_nothing(vlm, features):
    start = start_prompt(vlm)
    outside = tune_prompt(vlm, features, start, NAMES)
    with torch.inference_mode():
        inside = tune_prompt(vlm, features * 1.0, start, NAMES)
    assert inside.prompt.sha256 == outside.prompt.sha256


def test_the_model_is_not_moved(vlm, features):
    before = {name: p.clone() for name, p in vlm.clip.named_parameters()}
    tune_prompt(vlm, features, start_prompt(vlm), NAMES)
    for name, parameter in vlm.clip.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None


def test_copies_that_are_not_finite_are_refused(vlm, features):
    with pytest.raises(ValueError, match="finite"):
        tune_prompt(vlm, features * math.nan, start_prompt(vlm), NAMES)


@pytest.mark.parametrize("template", ["An image of {}.", "A {} image.", "Stain: {} (slide)"])
def test_a_template_as_a_prompt_is_the_template(vlm, template):
    prompt = create_template_prompt(vlm, template, NAMES)
    texts = [template.replace("{}", name) for name in NAMES]
    found = vlm.encode_prompts(torch.tensor(prompt.ctx), [prompt.create_text(n) for n in NAMES])
    torch.testing.assert_close(found, vlm.encode_texts(texts), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("template", "said"), [("{} slide", "has none"), ("pre{}.", "part of one")]
)
def test_a_template_whose_words_cannot_be_tuned_is_refused(vlm, template, said):
    with pytest.raises(ValueError, match=said):
        create_template_prompt(vlm, template, NAMES)
