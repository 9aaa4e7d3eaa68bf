"""What the certificates of a joint batch say about its images together."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from worker.certification import Tally
from worker.contract import (
    CertifyRequest,
    FewShotTarget,
    InputImage,
    ModelRef,
    PromptRef,
    StagedParameters,
    TemplateTarget,
)
from worker.contract.attempt import Attempt
from worker.contract.certificate.document import Adaptation, parse_document
from worker.contract.certificate.series import (
    JointAbstained,
    JointCertified,
    join_images,
    join_requests,
)
from worker.counting.certificates import Counted, create_certificate
from worker.counting.contests import create_contest

NAMES = ("a", "b", "c")
TEMPLATE = TemplateTarget(template="A {}.", class_names=NAMES)


SAMPLES = Path(__file__).parents[2] / "frozen" / "samples" / "certificates"
OWN = object()


def refer(digit: str, *, name="learned") -> PromptRef:
    return PromptRef(id=name, sha256=digit * 64, method="few-shot")


def learned(digit: str) -> FewShotTarget:
    return FewShotTarget(prompt=refer(digit), class_names=NAMES)


def create(
    votes: tuple[int, int, int],
    *,
    images=5,
    sigmas=("0.5",),
    attempts=1,
    spent=OWN,
    target=TEMPLATE,
    **changes,
):
    """The certificates of one image, one for each noise level, from these votes of 64.

    `spent` is alpha of all attempts, by itself that of this one.
    """
    request = CertifyRequest(
        input=InputImage(sha256="1" * 64, height=64, width=64, source="png"),
        model=ModelRef(id="m", sha256="2" * 64),
        targets=(target,),
        sigmas=tuple(map(Decimal, sigmas)),
        procedure=StagedParameters(n_max=64),
        images=images,
        **{"joint": True, **changes},
    )
    looks = {"selection": (), "estimation": (Tally(counts=votes),)}
    contest = create_contest(request, request.targets[0])
    counted = Counted(contest=contest, looks=[looks], roots=[{"estimation": "3" * 64}])
    attempt = Attempt(number=attempts, alpha_sum=request.alpha_spent if spent is OWN else spent)
    return [
        create_certificate(request, i, 0, counted=counted, attempt=attempt)
        for i in range(len(sigmas))
    ]


ALL, MOST, HALF, OTHER = (64, 0, 0), (60, 4, 0), (32, 32, 0), (0, 64, 0)


def test_a_batch_counts_its_certificates_and_says_so():
    (found,) = join_images([create(votes) for votes in (ALL, ALL, MOST, ALL, OTHER)])
    assert isinstance(found, JointCertified)
    assert (found.prediction, found.images) == ("a", 5)
    sure, unsure = create(ALL)[0].radius, create(MOST)[0].radius
    assert unsure < sure
    (only,) = {(s.radius, s.images_certified, s.images_any_content) for s in found.steps[:1]}
    assert only == (unsure, 4, 1)
    assert [s.images_any_content for s in found.steps] == [1, 0]
    assert found.steps[1].radius == sure
    assert (
        'predict "a" for more of the 5 images than any other class, whatever 8-bit image within '
        f"l2 distance {unsure} of it each of them becomes and whatever else up to 1 of them hold "
        f"instead, and also whatever 8-bit image within l2 distance {sure} of it"
    ) in found.statement
    assert "With confidence 0.999" in found.statement
    assert "for all 5 certificates of this request together" in found.statement


def test_images_without_certificates_count_against_every_class():
    whole = join_images([create(ALL, images=3)] * 3)
    (two,) = join_images([create(ALL, images=3)] * 2)
    (one,) = join_images([create(ALL, images=3), [], []])
    assert [step.images_any_content for joint in whole for step in joint.steps] == [1]
    assert isinstance(two, JointCertified)
    assert [(step.images_other, step.images_any_content) for step in two.steps] == [(1, 0)]
    assert isinstance(one, JointAbstained)
    assert "nothing is claimed about them together" in one.statement


def test_an_abstention_counts_for_every_other_class():
    (found,) = join_images([create(votes, images=2) for votes in (ALL, HALF)])
    assert isinstance(found, JointAbstained)


def test_each_noise_level_has_its_own_statement():
    found = join_images([create(ALL, images=2, sigmas=("0.25", "0.5"))] * 2)
    assert [(str(one.sigma), one.target_index) for one in found] == [("0.25", 0), ("0.5", 0)]
    assert {one.certificates_in_request for one in found} == {4}


def test_attempts_are_said_and_what_all_of_them_spent():
    first = create(ALL, images=2)
    spent = Decimal("0.0015")  # one half of alpha at each of three attempts
    (found,) = join_images([first, create(ALL, images=2, attempts=3, spent=spent)])
    assert "up to 3 attempts are on record: that some certificate" in found.statement
    assert "has probability at most 0.002, the sum of their alphas." in found.statement
    (found,) = join_images([first, create(ALL, images=2, attempts=3, spent=None)])
    assert "has probability at most the sum of their alphas." in found.statement
    (found,) = join_images([first, create(ALL, images=2, attempts=3, spent=Decimal(7))])
    assert "has probability at most 1, the sum of their alphas." in found.statement
    (found,) = join_images([first, first])
    assert "Each is the first attempt on its image on record." in found.statement


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        ([[], []], "no image has certificates"),
        ([create(ALL, joint=False)], "joint=true"),
        ([create(ALL, images=2)] * 3, "more certificates"),
        ([create(ALL), create(ALL, images=4)], "not of one request"),
        ([create(ALL), create(ALL, sigmas=("0.25", "0.5"))], "not of one request"),
    ],
)
def test_what_does_not_hold_together_is_refused(images, sentence):
    with pytest.raises(ValueError, match=sentence):
        join_images(images)


def answer(certificates, *, model="2" * 64):
    """The result of a request of one image, with these certificates of model m."""
    result = parse_document(json.loads((SAMPLES / "several-sigmas.json").read_text()))
    changes = {"model": ModelRef(id="m", sha256=model), "certificates": tuple(certificates)}
    return result.model_copy(update=changes)


def test_requests_of_one_image_each_are_joined_at_the_sum_of_their_alphas():
    asked = [create(ALL, images=1, alpha=Decimal(one)) for one in ("0.0004", "0.0005")]
    (found,) = join_requests([*map(answer, asked), None])
    assert isinstance(found, JointCertified)
    assert (found.alpha, found.certificates_in_request, found.images) == (Decimal("0.0009"), 2, 3)
    assert "With confidence 0.9991" in found.statement
    assert "for all 2 certificates of these images together" in found.statement
    assert found.steps[0].images_other == 1
    radii = {one[0].radius for one in asked}
    assert {step.radius for step in found.steps} <= radii


def test_requests_that_cannot_be_counted_together_are_not_joined():
    one, alone = answer(create(ALL, images=1)), answer(create(ALL, images=1, joint=False))
    for results, sentence in (
        ([None, None], "no image has certificates"),
        ([one, answer(create(ALL, images=1, sigmas=("0.25",)))], "noise levels"),
        ([alone, alone], "each with joint=true"),
        ([answer(create(ALL, images=1, alpha=Decimal("0.4")))] * 2, "alpha must lie between"),
    ):
        with pytest.raises(ValueError, match=sentence):
            join_requests(results)


def test_one_statement_is_about_one_model_and_one_prompt():
    one = answer(create(ALL, images=1))
    other = answer(create(ALL, images=1), model="3" * 64)
    with pytest.raises(ValueError, match="differ in the weights of their model"):
        join_requests([one, other])
    for theirs, ours in (
        (TEMPLATE, TEMPLATE.model_copy(update={"template": "The {}."})),
        (learned("4"), learned("5")),
    ):
        results = [answer(create(ALL, images=1, target=target)) for target in (theirs, ours)]
        with pytest.raises(ValueError, match="differ in promptings, prompts, classes"):
            join_requests(results)
        assert join_requests([results[0], results[0]])


ADAPTATION = Adaptation(entropy_before=0.7, entropy_after=0.6, seconds=0.1)
ZERO_SHOT = {"prompting": "zero-shot", "prompt": refer("4"), "adaptation": ADAPTATION}
BOTH = {"template": None, "prompting": "few-shot+zero-shot", "started_from": refer("5")}


@pytest.mark.parametrize(
    ("changes", "other"),
    [
        (ZERO_SHOT, {"template": "The {}."}),
        (ZERO_SHOT | BOTH, {"started_from": refer("6")}),
    ],
)
def test_prompts_tuned_on_images_are_joined_by_what_they_started_from(changes, other):
    one = create(ALL, images=1)[0].model_copy(update=changes)
    same = one.model_copy(update={"prompt": refer("7")})
    assert join_requests([answer([one]), answer([same])])
    with pytest.raises(ValueError, match="differ in promptings, prompts, classes"):
        join_requests([answer([one]), answer([same.model_copy(update=other)])])


def test_another_order_of_a_bank_is_another_bank():
    result = parse_document(json.loads((SAMPLES / "routed.json").read_text()))
    one = result.certificates[0].model_copy(update={"joint": True})
    assert join_requests([answer([one]), answer([one])])
    bank = tuple(reversed(one.routing.bank))
    other = one.model_copy(update={"routing": one.routing.model_copy(update={"bank": bank})})
    with pytest.raises(ValueError, match="differ in promptings, prompts, classes"):
        join_requests([answer([one]), answer([other])])


def test_another_name_of_the_same_prompt_is_the_same_prompt():
    renamed = learned("4").model_copy(update={"prompt": refer("4", name="renamed")})
    targets = (learned("4"), renamed)
    (found,) = join_requests([answer(create(ALL, images=1, target=one)) for one in targets])
    assert isinstance(found, JointCertified)
