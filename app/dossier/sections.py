"""The sections of a dossier that say what was examined, and what was found."""

import statistics
from collections.abc import Iterator, Sequence

from reportlab.platypus import Flowable

from app.dossier.charts import draw_accuracy, draw_radii
from app.dossier.style import (
    Level,
    create_body,
    create_facts,
    create_heading,
    create_lead,
    create_note,
    create_table,
    create_title,
    divide,
    list_levels,
)
from worker.evaluation.dossier.document import Dossier
from worker.evaluation.dossier.figures import find_worst
from worker.evaluation.results import Arm, AtRadius
from worker.evaluation.tables import (
    describe_procedure,
    format_interval,
    format_mean_radius,
    format_ratio,
)
from worker.evaluation.tables import format_share as format_whole_share

_PER_TABLE = 7
_OUT_OF_REACH = "–"


def create_summary(dossier: Dossier) -> Iterator[Flowable]:
    """One line a row."""
    least = dossier.results.arms[0].at_radius[0].radius
    yield create_heading("In short")
    yield create_lead(_summarise(dossier))
    rows = [
        [
            arm.label,
            f"{arm.sigma:f}",
            "–" if arm.clean is None else format_ratio(arm.clean.right, arm.clean.images),
            _format_share(arm.at_radius[0]),
            format_mean_radius(arm),
            str(arm.abstained),
            str(arm.wrong),
        ]
        for arm in dossier.results.arms
    ]
    heads = ["prompting", "σ", "without noise", "certified", "mean radius", "abstained", "wrong"]
    yield create_table(heads, rows, 116)
    yield create_note(
        "Certified: the share of all images that are answered as their label says, with a radius "
        f"of at least {least:f}, and its 95 % interval over images. Abstained, and certified in "
        "another class than the label's: numbers of images; neither counts as certified here. Mean "
        "radius: over all images, those two as 0. Without noise: the model asked once, "
        "where that is one model for all images."
    )


def _summarise(dossier: Dossier) -> str:
    results, question = dossier.results, dossier.results.question
    levels = ", ".join(f"{sigma:f}" for sigma in question.sigmas)
    return (
        f"{results.arms[0].images} images of {question.dataset} {question.split} were each given "
        f"{dossier.multiplicity.certificates // results.arms[0].images} certificates of the model "
        f"{question.identity.model.id}, at the noise levels σ {levels}. A certificate names a "
        "class and a radius: with a stated error probability, no change of the image that is "
        "shorter than the radius moves the smoothed model to another class."
    )


def create_origin(dossier: Dossier) -> Iterator[Flowable]:
    """Model, prompts, data and question, with digests."""
    yield create_heading("What was examined")
    yield create_facts([*_list_model(dossier), *_list_prompts(dossier)])
    yield create_title("On these images")
    yield create_facts([*_list_data(dossier)])


def _list_model(dossier: Dossier) -> Iterator[tuple[str, str]]:
    identity, card = dossier.results.question.identity, dossier.model
    yield "model", identity.model.id + ("" if card is None else f": {card.name}")
    yield "its SHA-256", identity.model.sha256
    if identity.fingerprint is not None:
        yield "its fingerprint", f"{identity.fingerprint} (of what it computes for a fixed batch)"
    if card is None:
        yield "its card", "not on the machine that wrote this dossier"
        return
    yield "its licence", card.licence
    yield "its intended use", card.intended_use
    if card.training_data:
        yield "trained on", "; ".join(f"{one.name} ({one.licence})" for one in card.training_data)
    for one in dossier.results.question.baselines:
        named = f"{one.name}, σ {one.sigma:f}: {one.identity.model.id}"
        yield "beside it", f"{named}, SHA-256 {one.identity.model.sha256}"


def _list_prompts(dossier: Dossier) -> Iterator[tuple[str, str]]:
    for target in dossier.results.question.targets:
        if (template := getattr(target, "template", None)) is not None:
            yield f"{target.prompting}", f"“{template}”"
    for prompt in dossier.prompts:
        learned = "" if prompt.shots is None else f", learned from {prompt.shots} images a class"
        sets = "; ".join(f"{one.name} ({one.licence})" for one in prompt.training_data)
        yield (
            "stored prompt",
            f"{prompt.id}: {prompt.method}{learned}{' of ' + sets if sets else ''}",
        )
        yield "its SHA-256", prompt.sha256
        known = prompt.evaluated_images
        count = "not known how many" if known is None else f"{known}"
        yield "it knows", f"{count} of the evaluated images from its learning"


def _list_data(dossier: Dossier) -> Iterator[tuple[str, str]]:
    question, data = dossier.results.question, dossier.data
    named = f": {data.name}" if data.name and data.name != question.dataset else ""
    yield "data", f"{question.dataset}, {question.split}{named}"
    if data.compared:
        yield "its source", data.source or "not stated by its card"
        yield "its licence", data.licence or "not stated by its card"
    else:
        yield "its licence", "not known: the dossier was written without the images"
    yield "images", _count_images(dossier)
    yield "their choice", f"from each class in turn, seed {question.seed}"
    yield "their SHA-256", f"{question.listing_sha256} (names, classes and contents, in order)"
    procedure = describe_procedure(question).replace("`", "")
    yield "question", f"{procedure}, α = {question.alpha:f} per certificate"


def _count_images(dossier: Dossier) -> str:
    data = dossier.data
    counts = ", ".join(f"{count} {name}" for name, count in data.images_by_class.items())
    skipped = ", ".join(f"{count} {code}" for code, count in data.skipped.items())
    checked = "" if data.compared else " (not checked)"
    left_out = f"; skipped, because they cannot be decoded{checked}: {skipped}" if skipped else ""
    return f"{sum(data.images_by_class.values())}: {counts}{left_out}"


def create_accuracy(dossier: Dossier) -> Iterator[Flowable]:
    """Certified accuracy by radius: figures, and tables with intervals."""
    levels = list(list_levels(dossier))
    yield create_heading("Certified accuracy by radius")
    yield create_lead(
        "The share of all images that are certified in their label's class with a radius of at "
        "least r. Below each share stands its 95 % Clopper-Pearson interval over images. "
        f"“{_OUT_OF_REACH}”: no image can reach this radius with so many samples."
    )
    yield from draw_accuracy(levels)
    for title, rows in levels:
        arms = [arm for arm, _ in rows]
        yield from _create_accuracy_tables(title, arms)


def _create_accuracy_tables(title: str, arms: Sequence[Arm]) -> Iterator[Flowable]:
    largest = max(arm.largest_radius for arm in arms)
    reached = [n for n, at in enumerate(arms[0].at_radius) if at.radius <= largest]
    for start in range(0, len(reached), _PER_TABLE):
        chosen = reached[start : start + _PER_TABLE]
        heads = [title, *(f"r = {arms[0].at_radius[n].radius:f}" for n in chosen)]
        rows = [[arm.label, *(_format_cell(arm, arm.at_radius[n]) for n in chosen)] for arm in arms]
        yield create_table(heads, rows, 116)


def _format_cell(arm: Arm, at: AtRadius) -> str:
    if at.radius > arm.largest_radius:
        return _OUT_OF_REACH
    return _format_share(at)


def _format_share(at: AtRadius) -> str:
    ratio = format_ratio(at.accuracy.right, at.accuracy.images)
    return f"{ratio}\n{format_interval(at.accuracy)}"


def create_radii(dossier: Dossier) -> Iterator[Flowable]:
    """Where the radii lie."""
    yield create_heading("How far the radii reach")
    yield create_lead(
        "The radii of the images that are certified in their label's class: a line from the "
        "smallest to the largest, a box between the quartiles, a bar at the median. At the right: "
        "how many images that are."
    )
    yield from draw_radii(list(list_levels(dossier)))


def create_classes(dossier: Dossier) -> Iterator[Flowable]:
    """Each class, and the worst ones."""
    yield create_heading("By class")
    yield create_lead(
        "Of the images of each class: certified as labelled / abstained / certified in another "
        "class. Below: the 95 % interval of the first share."
    )
    for level in list_levels(dossier):
        for part in divide(level):
            yield _create_class_table(part)
    worst = [*_name_worst(dossier)]
    yield create_title("Worst classes")
    yield create_table(["row", "lowest certified accuracy", "classes"], worst, 150)


def _create_class_table(level: Level) -> Flowable:
    title, rows = level
    rows_by_class = zip(*(figures.classes for _, figures in rows), strict=True)
    cells = [
        [
            f"{figures[0].class_name}\n{figures[0].accuracy.images} images",
            *(
                f"{one.accuracy.right} / {one.abstained} / {one.wrong}\n"
                f"{format_interval(one.accuracy)}"
                for one in figures
            ),
        ]
        for figures in rows_by_class
    ]
    return create_table([title, *(arm.label for arm, _ in rows)], cells, 116)


def _name_worst(dossier: Dossier) -> Iterator[list[str]]:
    for title, rows in list_levels(dossier):
        for arm, figures in rows:
            worst = find_worst(figures)
            share = format_whole_share(worst[0].accuracy) if worst else "all classes alike"
            yield [f"{arm.label}, {title}", share, ", ".join(one.class_name for one in worst)]


def create_attacks(dossier: Dossier) -> Iterator[Flowable]:
    """What attacks found, where anybody looked."""
    yield create_heading("Attacks")
    if not dossier.attacked:
        yield create_body("Nobody looked for an attack on these images.")
        return
    yield create_lead(
        f"On the first {dossier.attacked} of the images, a search looked for the smallest change "
        "that changes an answer. R is the certified radius, R_attack the length of the change that "
        "was found; an alarm is a smoothed answer that changed within R. A search proves no "
        "distance safe."
    )
    heads = [
        "row",
        "changed",
        "median R_attack / R",
        "smallest",
        "R_attack without noise",
        "alarms",
    ]
    rows = [
        [
            f"{arm.label}, σ {arm.sigma:f}",
            f"{len(found.ratios)} of {found.certified}",
            *map(_format_or_none, (found.median, min(found.ratios, default=None))),
            _format_or_none(statistics.median(found.undefended) if found.undefended else None),
            str(found.alarms),
        ]
        for arm in dossier.results.arms
        if (found := arm.tightness) is not None
    ]
    yield create_table(heads, rows, 150)


def _format_or_none(value: float | None) -> str:
    return _OUT_OF_REACH if value is None else f"{value:.2f}"


def create_yardsticks(dossier: Dossier) -> Iterator[Flowable]:
    """Everyday changes beside the radii."""
    yield create_heading("Everyday changes beside the radii")
    if not dossier.data.compared:
        yield create_body(
            "The dossier was written without the images, so the lengths of everyday changes are "
            "not known."
        )
        return
    yield create_lead(
        "How long everyday changes of these images are, on average, and how many images are "
        "certified as labelled with a radius that covers the change of that very image. Nothing is "
        "known of a change that is longer than the radius. A JPEG file changes least when it is "
        "saved again at its own quality."
    )
    for level in list_levels(dossier):
        for title, rows in divide(level):
            changes = zip(*(figures.yardsticks for _, figures in rows), strict=True)
            cells = [
                [
                    covers[0].title,
                    f"{covers[0].mean_length:.3f}",
                    *(f"{one.covered.right} of {one.covered.images}" for one in covers),
                ]
                for covers in changes
            ]
            heads = [title, "mean length", *(arm.label for arm, _ in rows)]
            yield create_table(heads, cells, 150)
