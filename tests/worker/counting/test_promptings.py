"""All promptings of a request on one pass of the image tower, and prompts frozen before a vote."""

from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np
import pytest
import torch

from models.prompts.prompt import Prompt
from worker.contract import (
    CohenParameters,
    FewShotTarget,
    FewShotZeroShotTarget,
    PromptRef,
    RoutedTarget,
    StagedParameters,
    TemplateTarget,
    Tuning,
    ZeroShotTarget,
)
from worker.contract.prompt import EncodedPrompt
from worker.contract.protocol import CountRange
from worker.counting.certify import certify
from worker.counting.recorded import NotReproducible
from worker.counting.records.protocol import Unrecorded
from worker.counting.reproduce import reproduce
from worker.counting.roll import Roll
from worker.counting.sessions import PromptMissing, create_session, create_tuning, find_prompts
from worker.engine.engine import Engine
from worker.engine.local import LocalCounter
from worker.engine.shelf.refusal import SessionNotServed

SECRET = b"s" * 32
NAMES = ("abdominal CT", "breast MRI", "chest X-ray", "chest CT", "hand X-ray", "head CT")


@pytest.fixture(scope="module")
def learned() -> Prompt:
    """Some vectors of the bundled model's width."""
    rng = np.random.default_rng(4)
    return Prompt(ctx=rng.normal(0, 0.02, (4, 64)).astype(np.float32))


def refer(prompt: Prompt, method: str = "few-shot") -> PromptRef:
    return PromptRef(id="some", sha256=prompt.sha256, method=method)


@pytest.fixture
def every_target(learned):
    ref = refer(learned)
    other = TemplateTarget(template="A {} image.", class_names=NAMES)
    return (
        other,
        FewShotTarget(prompt=ref, class_names=NAMES),
        ZeroShotTarget(template="A {} image.", class_names=NAMES),
        FewShotZeroShotTarget(prompt=ref, class_names=NAMES),
        RoutedTarget(bank=(ref, {"template": "A {} image."}), class_names=NAMES),
    )


@dataclass(frozen=True, kw_only=True)
class Keeping(Unrecorded):
    """Keeps the prompts that were tuned first."""

    kept: list = field(default_factory=list)

    def keep_tuned(self, create):
        if not self.kept:
            self.kept.append(create())
        return self.kept[0]


def run(engine: Engine, request, image, learned, *, kept=None, **options):
    prompts = {learned.sha256: EncodedPrompt.of(learned)}
    records = Keeping(prompts=prompts, kept=[] if kept is None else kept)
    counter = LocalCounter(engine)
    return certify(Roll(request, SECRET), image, counter=counter, records=records, **options)


def test_every_prompting_states_its_scope(engine, create_request, every_target, learned):
    procedure = StagedParameters(n_max=200)
    request, image = create_request("bundled-2", targets=every_target, procedure=procedure)
    found = run(engine, request, image, learned).certificates
    assert [(c.prompting, c.guarantee_scope) for c in found] == [
        ("template", "global_prompt"),
        ("few-shot", "global_prompt"),
        ("zero-shot", "frozen_prompt"),
        ("few-shot+zero-shot", "frozen_prompt"),
        ("routed", "routed_pipeline"),
    ]
    assert "does not cover tuning the prompt again" in found[2].statement
    assert "the choice among the 2 prompts" in found[4].statement


def test_a_prompt_once_tuned_on_an_image_stays_frozen(engine, create_request, learned):
    """Used again as a fixed prompt it is still a function of that image."""
    ref = refer(learned, "zero-shot")
    target = FewShotTarget(prompt=ref, class_names=NAMES)
    request, image = create_request("bundled-2", targets=(target,))
    (entry,) = run(engine, request, image, learned).certificates
    assert entry.guarantee_scope == "frozen_prompt"
    with pytest.raises(ValueError, match="tuned prompt is not"):
        RoutedTarget(bank=(ref, {"template": "A {} image."}), class_names=NAMES)


def test_promptings_together_vote_as_they_do_alone(engine, create_request, every_target, learned):
    """On the same noise: neither the others' ballots nor their prompts enter a vote."""
    request, image = create_request(
        "bundled-2", targets=every_target, procedure=StagedParameters(n_max=200)
    )
    prompts = find_prompts(request, {learned.sha256: EncodedPrompt.of(learned)}.get)
    keys = Roll(request, SECRET).keys
    counter = LocalCounter(engine)
    tuned = counter.tune(create_tuning(request, prompts, Roll(request, SECRET).tuning_key), image)
    together = create_session(request, prompts, tuned, keys)
    all_counts = count(counter, together, image)
    for place, ballot in enumerate(together.ballots[0]):
        alone = together.model_copy(update={"ballots": ((ballot,),)})
        assert count(counter, alone, image) == [all_counts[place]]


def count(counter: LocalCounter, session, image) -> list[tuple[int, ...]]:
    counter.open(session, image)
    counter.count(CountRange(sigma_index=0, phase="estimation", start=0, stop=64))
    counted = counter.receive()
    assert (counted.start, counted.stop) == (0, 64)
    return [tuple(counted.get_votes(place)) for place in range(len(counted.counts))]


def test_votes_under_a_prompt_are_those_of_its_text_features(engine, create_request, learned):
    """The ballot of a stored prompt is f with that prompt, computed here step by step."""
    target = FewShotTarget(prompt=refer(learned), class_names=NAMES)
    request, image = create_request("bundled-2", targets=(target,), sigmas=["0.5"])
    prompts, keys = {learned.sha256: EncodedPrompt.of(learned)}, Roll(request, SECRET).keys
    from worker.counting.sessions import NOTHING_TUNED
    from worker.sampling.kernel import sample_noisy_images
    from worker.sampling.table import create_noise_table

    session = create_session(request, prompts, NOTHING_TUNED, keys)
    (votes,) = count(LocalCounter(engine), session, image)
    noisy = np.empty((64, image.size), dtype=np.int16)
    table = create_noise_table(Decimal("0.5"))
    sample_noisy_images(image, keys["estimation"], table, start=0, out=noisy)
    vlm = next(m.vlm for m in engine._shelf.list_loaded() if m.vlm.card.id == "bundled-2")
    with torch.inference_mode():
        features = vlm.encode_images(torch.from_numpy(noisy).reshape(64, *image.shape))
        texts = vlm.encode_prompts(torch.tensor(learned.ctx), [f"{n}." for n in NAMES])
        expected = (features[:, None, :] * texts).sum(-1).argmax(dim=1)
    assert votes == tuple(expected.tolist())


def tune(engine: Engine, request, image, learned=None):
    prompts = {} if learned is None else {learned.sha256: EncodedPrompt.of(learned)}
    found = find_prompts(request, prompts.get)
    spec = create_tuning(request, found, Roll(request, SECRET).tuning_key)
    return LocalCounter(engine).tune(spec, image)


def zero_shot(create_request, *, seed: int = 0, sigmas=("0.25", "0.5"), **tuning):
    target = ZeroShotTarget(template="A {} image.", class_names=NAMES, tuning=Tuning(**tuning))
    return create_request("bundled-2", seed=seed, sigmas=sigmas, targets=(target,))


def digests(tuned) -> list[str]:
    return [one.prompt.sha256 for level in tuned.tuned for one in level]


def test_each_noise_level_has_a_prompt_of_its_own(engine, create_request):
    request, image = zero_shot(create_request)
    assert len(set(digests(tune(engine, request, image)))) == 2


def test_an_image_s_prompt_does_not_depend_on_other_jobs(engine, create_request):
    """Copies of two jobs, and a third job's votes, travel in the same batches."""
    mine, image = zero_shot(create_request)
    alone = digests(tune(engine, mine, image))
    other, other_image = zero_shot(create_request, seed=1)
    keys = Roll(other, SECRET).tuning_key, Roll(mine, SECRET).tuning_key
    answers = []
    for request, pixels, key in zip((other, mine), (other_image, image), keys, strict=True):
        engine.tune(create_tuning(request, {}, key), pixels, answers.append)
    while len(answers) < 2:
        engine.step()
    assert sorted(map(digests, answers), key=lambda d: d != alone)[0] == alone


def test_copies_are_drawn_with_a_key_of_their_own(create_request):
    request, _ = zero_shot(create_request)
    keys = {*Roll(request, SECRET).keys.values(), Roll(request, SECRET).tuning_key}
    assert len(keys) == 3


def test_a_prompt_is_frozen_before_the_first_word_of_certification_noise(engine, create_request):
    """It is kept before a session is opened, and what was kept is what is certified."""
    request, image = zero_shot(create_request, sigmas=["0.25"])
    events, kept = [], []

    class Watched(LocalCounter):
        def open(self, session, image):
            events.append("opened")
            return super().open(session, image)

    class Noted(Keeping):
        def keep_tuned(self, create):
            tuned = super().keep_tuned(create)
            events.append("kept")
            return tuned

    def certified():
        counter = Watched(engine)
        return certify(Roll(request, SECRET), image, counter=counter, records=Noted(kept=kept))

    first = certified()
    assert events == ["kept", "opened"]
    assert first.certificates[0].prompt.sha256 == digests(kept[0])[0]
    again = certified()
    assert again == first


def test_another_prompt_that_was_kept_is_the_one_certified(engine, create_request, learned):
    """A retry certifies what the first try kept, also where tuning again would give another."""
    request, image = zero_shot(create_request, sigmas=["0.25"])
    tuned = tune(engine, request, image)
    changed = tuned.tuned[0][0].model_copy(update={"prompt": EncodedPrompt.of(learned)})
    kept = tuned.model_copy(update={"tuned": ((changed,),)})
    result = run(engine, request, image, learned, kept=[kept])
    assert result.certificates[0].prompt.sha256 == learned.sha256


def test_progress_ends_at_the_total_with_copies_and_without(engine, create_request, learned):
    done = []
    request, image = zero_shot(create_request, sigmas=["0.25"])
    run(engine, request, image, learned, on_votes=lambda b, _: done.append(b.samples_done))
    assert done[-1] == request.samples_total == 100 + 320
    assert min(done) > 100


def test_the_document_names_the_key_of_the_copies(engine, create_request, learned):
    request, image = zero_shot(create_request, sigmas=["0.25"])
    result = run(engine, request, image, learned)
    assert result.provenance.noise_keys["adaptation"] == Roll(request, SECRET).tuning_key.text
    template, image = create_request("bundled-2")
    assert "adaptation" not in run(engine, template, image, learned).provenance.noise_keys


def test_tuned_and_stored_prompts_are_reproduced(engine, create_request, every_target, learned):
    request, image = create_request(
        "bundled-2",
        sigmas=["0.25", "0.5"],
        targets=every_target,
        procedure=StagedParameters(n_max=200),
    )
    kept = []
    result = run(engine, request, image, learned, kept=kept)
    frozen = [one.prompt.decode() for level in kept[0].tuned for one in level]
    at_hand = {prompt.sha256: prompt for prompt in (*frozen, learned)}
    findings = reproduce(result, image, LocalCounter(engine), at_hand.get)
    assert len(findings) == 11
    assert all(finding.holds for finding in findings)
    with pytest.raises(NotReproducible, match="--prompt"):
        reproduce(result, image, LocalCounter(engine))


def test_a_prompt_that_is_not_stored_is_a_sentence(engine, create_request, learned):
    target = FewShotTarget(prompt=refer(learned), class_names=NAMES)
    request, image = create_request("bundled-2", targets=(target,))
    with pytest.raises(PromptMissing, match="no longer stored"):
        certify(
            Roll(request, SECRET),
            image,
            counter=LocalCounter(engine),
            records=Unrecorded(),
        )


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (ZeroShotTarget(template="{} on a slide", class_names=("a", "b")), "has none"),
        (ZeroShotTarget(template="pre{}.", class_names=("a", "b")), "part of one"),
        (ZeroShotTarget(template="A {}.", class_names=("a " * 90, "b")), "at most 77 tokens"),
        (ZeroShotTarget(template="A {}.", class_names=("a & b", "a &amp; b")), "the same tokens"),
    ],
)
def test_what_cannot_be_tuned_is_refused_with_a_sentence(engine, create_request, target, said):
    request, image = create_request("bundled-2", targets=(target,))
    with pytest.raises(SessionNotServed, match=said):
        tune(engine, request, image)


def test_a_prompt_of_another_width_is_refused_with_a_sentence(engine, create_request):
    wide = Prompt(ctx=np.zeros((4, 512), dtype=np.float32))
    target = FewShotTarget(prompt=refer(wide), class_names=NAMES)
    request, image = create_request("bundled-2", targets=(target,))
    with pytest.raises(SessionNotServed, match="width 64") as caught:
        run(engine, request, image, wide)
    assert caught.value.failure.code == "text_unusable"


def test_a_toy_without_a_text_tower_takes_no_prompt(engine, create_request):
    target = ZeroShotTarget(template="It is {}.", class_names=("above", "below"))
    request, image = create_request("linear", targets=(target,))
    with pytest.raises(SessionNotServed, match="no context vectors"):
        tune(engine, request, image)


def test_copies_count_as_passes_of_the_image_tower(create_request):
    request, _ = zero_shot(create_request, copies=30)
    assert request.samples_total == 2 * (30 + 320)
    with_template = (*request.targets, TemplateTarget(template="A {}.", class_names=NAMES))
    shared = request.model_copy(update={"targets": with_template})
    assert shared.samples_total == request.samples_total


def test_a_bank_is_certified_by_the_staged_procedure_alone(create_request, learned):
    bank = RoutedTarget(bank=(refer(learned), {"template": "A {} image."}), class_names=NAMES)
    with pytest.raises(ValueError, match="staged"):
        create_request("bundled-2", targets=(bank,), procedure=CohenParameters())


def test_what_a_prompt_is_called_and_who_brought_it_is_no_other_request(create_request, learned):
    """Renaming or importing what has the same digest must give no new roll."""
    named = [("one", "few-shot"), ("two", "few-shot"), ("three", "imported")]
    requests = [
        create_request(
            "bundled-2",
            targets=(
                FewShotTarget(
                    prompt=PromptRef(id=name, sha256=learned.sha256, method=method),
                    class_names=NAMES,
                ),
            ),
        )[0]
        for name, method in named
    ]
    identities = [request.identity() for request in requests]
    assert identities[0] == identities[1] == identities[2]
    assert learned.sha256 in str(identities[0])
    tuned = refer(learned, "zero-shot")
    target = FewShotTarget(prompt=tuned, class_names=NAMES)
    assert create_request("bundled-2", targets=(target,))[0].identity() != identities[0]


def test_images_sent_along_are_another_request_only_where_they_share_alpha(create_request):
    alone, _ = create_request("bundled-2")
    for joint in (False, True):
        one, two = (
            alone.model_copy(update={"joint": joint, "images": images}).identity()
            for images in (1, 2)
        )
        assert (one == two) is not joint
