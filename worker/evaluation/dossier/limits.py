"""What a dossier does not say, in plain words."""

from collections.abc import Iterator, Sequence

from worker.evaluation.dossier.document import Multiplicity, RowFigures
from worker.evaluation.results import EvaluationResults

NO_JUDGEMENT = (
    "This dossier does not say that the model is fit for any use, that a diagnosis is right, or "
    "that anything conforms to a law or a standard. Research use only."
)
_ALWAYS = (
    "A certificate is about one image. It says, up to its probability of error α, that no 8-bit "
    "image within its radius changes the answer of the smoothed model. It does not say that the "
    "answer is right.",
    "The smoothed model is the model asked many times under noise of standard deviation σ. Nothing "
    "here is about the model asked once, without noise.",
    "A radius is an l2 distance in pixels scaled to [0, 1], at the model's own resolution. "
    "Cropping, turning and scaling are not covered, nor is any change longer than the radius, such "
    "as a very different window.",
    "Right means: as the image's label says. Labels can be wrong, and nobody checked them here.",
    "The intervals treat the images as drawn at random from one source, and the classes were taken "
    "in turn, so their shares are not those of a clinic. Other scanners, sites and patients can "
    "differ by more than an interval.",
    "The figures of a row were computed for every row alike. Whoever picks the best row afterwards "
    "picks chance too.",
    "A signature shows that the holder of its key made this dossier and that nobody changed it "
    "since; without one, anybody may have. It does not show that the images and labels are what "
    "they are called, or that no other evaluation was made and put away.",
)
_FROZEN = (
    "A row by zero-shot tuning certifies each image under the prompt that was tuned on it and then "
    "frozen. It does not cover what tuning on a changed image would have answered."
)
_LEARNED = (
    "Certificates of images that their prompt was learned on, label included: {learned:,}. They "
    "say nothing about how that prompt serves images that it never saw."
)
_NO_TAU = (
    "How far logits move with the batch was not measured on this machine, so a vote near a tie may "
    "be counted otherwise elsewhere."
)
_UNATTACKED = "Nobody looked for an attack, so nothing is known about changes beyond the radii."
_ATTACKED = (
    "Attacks were tried on {attacked} of the {images} images. An attack that found no change "
    "proves no distance safe."
)


def list_limits(
    results: EvaluationResults,
    rows: Sequence[RowFigures],
    multiplicity: Multiplicity,
    *,
    attacked: int,
) -> Iterator[str]:
    """The limits of a run, the most important first; the last says what no dossier says."""
    yield from _ALWAYS
    if any("zero-shot" in arm.target.prompting for arm in results.arms):
        yield _FROZEN
    if learned := sum(row.learned for row in rows):
        yield _LEARNED.format(learned=learned)
    if results.question.identity.tau is None:
        yield _NO_TAU
    yield (
        _ATTACKED.format(attacked=attacked, images=results.arms[0].images)
        if attacked
        else _UNATTACKED
    )
    if multiplicity.repeated:
        yield (
            f"{multiplicity.repeated:,} certificates are of images that were certified before on "
            "this machine. Each further try has noise of its own, and another chance to be false."
        )
    yield NO_JUDGEMENT
