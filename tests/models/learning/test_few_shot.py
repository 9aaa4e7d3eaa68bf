"""A few-shot prompt is a function of its settings, and learning finds what there is to learn."""

import io
import os
import pickle
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from models.datasets.training_images import TrainingImages
from models.learning.few_shot import Diverged, learn_prompt
from models.learning.state import CheckpointUnusable
from models.loading.loading import load_vlm
from models.prompts.learning_settings import LearningSettings, create_learning_settings

NAMES = ("dark", "bright", "striped")
SETTINGS = LearningSettings(
    preset="default",
    ctx_init="An image of",
    shots=4,
    epochs=4,
    batch_size=8,
    learning_rate=0.05,
    noise_levels=(0.0, 0.25),
    seed=3,
)
RANDOM = replace(SETTINGS, ctx_init=None, n_ctx=5)


@pytest.fixture
def vlm(tiny_clip, tmp_path):
    return load_vlm(tiny_clip.write(tmp_path), tmp_path, torch.device("cpu"))


def create_images(*, shots: int = 4, size: int = 32, seed: int = 0) -> TrainingImages:
    """Three classes that even random towers tell apart."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 60, size=(3 * shots, 3, size, size), dtype=np.uint8)
    pixels[shots : 2 * shots] += 190
    pixels[2 * shots :, :, ::4] += 190
    return TrainingImages(pixels=pixels, classes=np.repeat(np.arange(3), shots))


@pytest.mark.parametrize("settings", [SETTINGS, RANDOM])
def test_the_same_seed_gives_the_same_prompt_whatever_ran_before(vlm, settings):
    first = learn_prompt(vlm, create_images(), NAMES, settings)
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(99)
        torch.randn(7)
        learn_prompt(vlm, create_images(seed=1), NAMES, settings)
        second = learn_prompt(vlm, create_images(), NAMES, settings)
    other = learn_prompt(vlm, create_images(), NAMES, replace(settings, seed=4))
    assert first.prompt.sha256 == second.prompt.sha256
    assert [epoch.loss for epoch in first.curve] == [epoch.loss for epoch in second.curve]
    assert first.prompt.sha256 != other.prompt.sha256


def test_learning_leaves_torchs_own_generator_alone(vlm):
    before = torch.get_rng_state()
    learn_prompt(vlm, create_images(), NAMES, RANDOM)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("settings", [SETTINGS, RANDOM])
def test_a_learning_resumed_after_any_epoch_gives_the_same_bits(vlm, settings):
    kept: list[bytes] = []
    undisturbed = learn_prompt(
        vlm,
        create_images(),
        NAMES,
        settings,
        on_epoch=lambda _, checkpoint: kept.append(checkpoint),
    )
    assert len(kept) == settings.epochs
    for checkpoint in kept:
        resumed = learn_prompt(vlm, create_images(), NAMES, settings, resume=checkpoint)
        assert resumed.prompt.sha256 == undisturbed.prompt.sha256
        assert [e.loss for e in resumed.curve] == [e.loss for e in undisturbed.curve]


def test_an_exception_from_on_epoch_ends_it_and_the_checkpoint_before_goes_on(vlm):
    kept: list[bytes] = []

    def stop_after_two(epoch, checkpoint):
        kept.append(checkpoint)
        if epoch.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn_prompt(vlm, create_images(), NAMES, SETTINGS, on_epoch=stop_after_two)
    assert len(kept) == 2
    resumed = learn_prompt(vlm, create_images(), NAMES, SETTINGS, resume=kept[-1])
    assert (
        resumed.prompt.sha256 == learn_prompt(vlm, create_images(), NAMES, SETTINGS).prompt.sha256
    )


def test_learning_lowers_the_loss_and_moves_the_vectors_alone(vlm):
    before = {name: leaf.clone() for name, leaf in vlm.clip.state_dict().items()}
    settings = replace(SETTINGS, epochs=30, augment=False, noise_levels=(0.0, 0.1))
    learned = learn_prompt(vlm, create_images(), NAMES, settings)
    assert learned.curve[-1].loss < 0.8 * learned.curve[0].loss
    assert learned.curve[-1].accuracy > learned.curve[0].accuracy
    after = vlm.clip.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(p.grad is None for p in vlm.clip.parameters())


def test_without_a_learning_rate_worth_the_name_the_vectors_stay_the_words(vlm):
    settings = replace(SETTINGS, learning_rate=1e-30, warmup_learning_rate=0.0)
    learned = learn_prompt(vlm, create_images(), NAMES, settings)
    np.testing.assert_array_equal(learned.prompt.ctx, vlm.embed_text("An image of").numpy())
    assert learned.prompt.suffix == "."


def test_the_first_steps_are_those_of_the_formula(vlm):
    """Plain images in one batch: SGD with momentum and decay, computed again from the gradient."""
    images = create_images()
    settings = replace(
        SETTINGS, epochs=3, batch_size=12, augment=False, noise_levels=(0.0,), warmup_epochs=1
    )
    ctx = vlm.embed_text("An image of").requires_grad_()
    features = vlm.encode_images(torch.tensor(images.pixels).to(torch.int16))
    velocity = torch.zeros_like(ctx)
    for rate in (1e-5, 0.05 * 0.75, 0.05 * 0.25):  # warm-up, then (1 + cos(π e / 3)) / 2
        text_features = vlm.encode_prompts(ctx, [f"{name}." for name in NAMES])
        logits = vlm.logit_scale * features @ text_features.T
        loss = -logits.log_softmax(dim=1)[torch.arange(12), torch.tensor(images.classes)].mean()
        (gradient,) = torch.autograd.grad(loss, ctx)
        with torch.no_grad():
            velocity = 0.9 * velocity + gradient + 5e-4 * ctx
            ctx -= rate * velocity
    learned = learn_prompt(vlm, images, NAMES, settings)
    np.testing.assert_allclose(learned.prompt.ctx, ctx.detach().numpy(), rtol=0, atol=1e-6)


def test_a_long_gradient_is_shortened_and_a_short_one_is_left(vlm):
    """One step without momentum or decay moves the vectors by rate times length."""
    images = create_images()
    step = replace(SETTINGS, epochs=1, batch_size=12, warmup_epochs=0, momentum=0, weight_decay=0)

    def move(most: float | None) -> float:
        learned = learn_prompt(vlm, images, NAMES, replace(step, max_gradient_norm=most))
        start = vlm.embed_text("An image of").numpy()
        return float(np.linalg.norm(learned.prompt.ctx - start)) / step.learning_rate

    length = move(None)
    assert move(2 * length) == pytest.approx(length, rel=1e-6)
    assert move(length / 2) == pytest.approx(length / 2, rel=1e-3)


class Watching:
    """The model, with a record of what its image tower is asked."""

    def __init__(self, vlm):
        self._vlm = vlm
        self.batches: list[torch.Tensor] = []

    def __getattr__(self, name):
        return getattr(self._vlm, name)

    def encode_images(self, pixels):
        self.batches.append(pixels)
        return self._vlm.encode_images(pixels)


def test_the_image_tower_sees_noise_on_the_grid_at_bounded_batches(tiny_clip, tmp_path):
    card = tiny_clip.write(tmp_path, batch_size={"cpu": 5})
    watching = Watching(load_vlm(card, tmp_path, torch.device("cpu")))
    grey = np.full((12, 3, 32, 32), 250, dtype=np.uint8)
    images = TrainingImages(pixels=grey, classes=np.repeat(np.arange(3), 4))
    settings = replace(SETTINGS, epochs=10, noise_levels=(0.0, 0.5), batch_size=12)
    learn_prompt(watching, images, NAMES, settings)
    assert {len(batch) for batch in watching.batches} == {5, 2}
    assert all(batch.dtype == torch.int16 for batch in watching.batches)
    spread = torch.cat(watching.batches).double().flatten(1).std(dim=1) / 255  # (120,)
    noisy = spread > 0
    # 3,072 values an image: the standard error of a spread of 0.5 is 0.0064.
    assert ((spread[noisy] - 0.5).abs() < 5 * 0.0064).all()
    # Half of 120: the standard deviation of the number is 5.5.
    assert abs(int(noisy.sum()) - 60) < 4 * 5.5
    assert torch.cat(watching.batches).max() > 500  # nothing is clipped


def test_the_curve_has_the_seconds_of_the_clock_it_is_given(vlm):
    ticks = count(step=3)
    learned = learn_prompt(vlm, create_images(), NAMES, SETTINGS, clock=lambda: float(next(ticks)))
    assert [epoch.number for epoch in learned.curve] == [1, 2, 3, 4]
    assert {epoch.seconds for epoch in learned.curve} == {3.0}


@pytest.mark.parametrize(
    ("images", "names", "said"),
    [
        (create_images(shots=3), NAMES, r"4 images of each of 3 classes; got \[3, 3, 3\]"),
        (create_images(), NAMES[:2], r"4 images of each of 2 classes; got \[4, 4, 4\]"),
        (create_images(), NAMES[:1], "two class names"),
        (create_images(size=16), NAMES, "images of 32 pixels; got images of 16"),
        (create_images(), (*NAMES[:2], "word " * 20), "at most 16 tokens"),
    ],
)
def test_what_does_not_fit_together_is_a_sentence(vlm, images, names, said):
    with pytest.raises(ValueError, match=said):
        learn_prompt(vlm, images, names, SETTINGS)


def test_a_model_without_context_vectors_learns_no_prompt(linear, tmp_path):
    from models.testing import write_linear_model

    card = write_linear_model(tmp_path, linear)
    vlm = load_vlm(card, tmp_path / "linear", torch.device("cpu"))
    images = TrainingImages(
        pixels=np.zeros((8, 3, 16, 16), dtype=np.uint8), classes=np.repeat(np.arange(2), 4)
    )
    with pytest.raises(ValueError, match="learns no prompt"):
        learn_prompt(vlm, images, ("below", "above"), SETTINGS)


def test_a_learning_that_diverges_says_so(vlm):
    settings = replace(SETTINGS, learning_rate=1e38, epochs=9)
    with pytest.raises(Diverged, match=r"not finite.*below 1e\+38"):
        learn_prompt(vlm, create_images(), NAMES, settings)


@pytest.fixture
def checkpoint(vlm) -> bytes:
    kept: list[bytes] = []
    settings = replace(SETTINGS, epochs=1)
    learn_prompt(vlm, create_images(), NAMES, settings, on_epoch=lambda _, c: kept.append(c))
    return kept[0]


def resume(vlm, checkpoint, *, images=None, names=NAMES, **changes):
    settings = replace(SETTINGS, **({"epochs": 1} | changes))
    return learn_prompt(vlm, images or create_images(), names, settings, resume=checkpoint)


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 2},
        {"seed": 4},
        {"ctx_init": "A picture of"},
        {"images": create_images(seed=1)},
        {"names": ("dark", "bright", "lined")},
    ],
)
def test_a_checkpoint_of_another_learning_is_refused(vlm, checkpoint, changes):
    resume(vlm, checkpoint)
    with pytest.raises(CheckpointUnusable, match="another learning"):
        resume(vlm, checkpoint, **changes)


class Harmful:
    """Code in a pickle: makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return (os.mkdir, (str(self.folder),))


def test_a_damaged_checkpoint_is_a_sentence_and_no_code_in_one_runs(vlm, checkpoint, tmp_path):
    made = tmp_path / "made"
    saved = torch.load(io.BytesIO(checkpoint), weights_only=True)

    def changed(**changes: object) -> bytes:
        buffer = io.BytesIO()
        torch.save({**saved, **changes}, buffer)
        return buffer.getvalue()

    broken = [
        b"",
        checkpoint[:-100],
        checkpoint[: len(checkpoint) // 2],
        b"no checkpoint at all",
        pickle.dumps(Harmful(made)),
        changed(form=Harmful(made)),
        changed(form="something else"),
        changed(ctx=torch.zeros(9, 9, 9)),
        changed(generator=torch.zeros(3, dtype=torch.uint8)),
        changed(curve=[{"number": 1}]),
        changed(optimizer={}),
        b"\0" * (17 * 2**20),
    ]
    for content in broken:
        with pytest.raises(CheckpointUnusable, match="damaged, truncated or something else"):
            resume(vlm, content)
    assert not made.exists()


def test_presets_are_the_published_one_and_our_own():
    paper = create_learning_settings("paper", "An H&E image patch of {}.")
    assert (paper.ctx_init, paper.n_ctx, paper.suffix) == (None, 4, ".")
    assert (paper.learning_rate, paper.momentum, paper.weight_decay) == (0.002, 0.9, 5e-4)
    assert (paper.shots, paper.epochs, paper.batch_size, paper.seed) == (16, 50, 32, 1)
    assert paper.noise_levels == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert paper.max_gradient_norm is None
    assert (paper.augment, paper.smallest_crop) == (True, 0.5)
    assert paper.get_learning_rate(0) == 1e-5
    assert paper.get_learning_rate(25) == pytest.approx(0.001)
    own = create_learning_settings("default", "A {} image.")
    assert (own.ctx_init, own.n_ctx, own.suffix) == (None, 8, " image.")
    assert own.template == "A {} image."
    assert (own.learning_rate, own.max_gradient_norm, own.augment) == (0.005, 1.0, False)
    assert own.noise_levels == (0.25, 0.5, 1.0)


def test_settings_stored_before_a_field_was_added_have_the_digest_they_had():
    assert SETTINGS.describe().keys() == asdict(SETTINGS).keys() - {"template", "smallest_crop"}
    named = replace(SETTINGS, template="An image of {}.", smallest_crop=0.5)
    assert named.describe() == asdict(named)


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 0.0},
        {"noise_levels": ()},
        {"noise_levels": (0.5, 0.5)},
        {"noise_levels": (-0.1,)},
        {"momentum": 1.0},
        {"seed": -1},
        {"n_ctx": 65},
    ],
)
def test_settings_that_are_none_do_not_exist(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        replace(SETTINGS, **changes)
