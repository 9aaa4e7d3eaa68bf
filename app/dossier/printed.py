"""The dossier on paper, in A4. One dossier gives one PDF: no time and no random id is in it."""

import zlib
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from io import BytesIO

from reportlab.graphics.shapes import Drawing, Line, Rect
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, KeepTogether, SimpleDocTemplate

from app.dossier.sections import (
    create_accuracy,
    create_attacks,
    create_classes,
    create_origin,
    create_radii,
    create_summary,
    create_yardsticks,
)
from app.dossier.style import (
    COLUMN,
    HEIGHT,
    MARGIN,
    RULE,
    SHADE,
    WARNING,
    WIDTH,
    create_body,
    create_facts,
    create_heading,
    create_list,
)
from app.server.answers.report.figures import draw_text
from app.server.answers.report.text import (
    ACCENT,
    BOLD,
    INK,
    create_grid,
    create_text,
    load_fonts,
    shorten,
)
from worker.evaluation.dossier.document import Dossier
from worker.evaluation.dossier.limits import NO_JUDGEMENT

_HEAD = 42.0
_COMMAND = (
    "The command below asks the same question under a secret of its own, so with other noise: its "
    "figures agree within their intervals."
)
_NO_COMMAND = (
    "promptsmooth evaluate has no option for some parameters of the question, so no command asks "
    "it; an evaluation of the service does."
)


def name_printer() -> str:
    """The programs that print here, with their versions: together they decide every byte."""
    packages = ("promptsmooth-service", "reportlab")
    versions = [f"{name} {version(name)}" for name in packages]
    return ", ".join([*versions, f"zlib {zlib.ZLIB_RUNTIME_VERSION}"])


def print_dossier(dossier: Dossier) -> bytes:
    """The dossier as PDF."""
    file = BytesIO()
    load_fonts()
    margin = MARGIN - 6  # reportlab's frame has 6 points of padding
    document = SimpleDocTemplate(
        file,
        pagesize=(WIDTH, HEIGHT),
        leftMargin=margin,
        rightMargin=margin,
        topMargin=margin + _HEAD,
        bottomMargin=MARGIN,
        title=f"Robustness dossier: {_name(dossier)}",
        subject="Certified robustness on a set of images. Research use only.",
        author="anonymous",
        creator="anonymous",
        lang="en",
        invariant=1,
        pageCompression=1,
    )
    page = partial(_draw_page, dossier)
    document.build(list(_tell(dossier)), onFirstPage=page, onLaterPages=page)
    return file.getvalue()


def _name(dossier: Dossier) -> str:
    question = dossier.results.question
    return f"{question.identity.model.id} on {question.dataset} {question.split}"


def _count_images(dossier: Dossier) -> int:
    return dossier.results.arms[0].images


def _tell(dossier: Dossier) -> Iterator[Flowable]:
    """The sections in order."""
    yield _create_notice()
    yield from create_summary(dossier)
    yield from create_origin(dossier)
    yield from create_accuracy(dossier)
    yield from create_radii(dossier)
    yield from create_classes(dossier)
    yield from create_attacks(dossier)
    yield from create_yardsticks(dossier)
    yield from _create_multiplicity(dossier)
    yield create_heading("What it does not say")
    yield from create_list(dossier.limits)
    yield from _create_reproduction(dossier)


def _create_notice() -> Flowable:
    """What nobody may read out of the pages that follow, before anything else."""
    everywhere = (0, 0), (-1, -1)
    return create_grid(
        [[create_text(NO_JUDGEMENT, 8.6, WARNING, bold=True)]],
        [COLUMN],
        ("BOX", *everywhere, 0.8, WARNING),
        ("LEFTPADDING", *everywhere, 8),
        ("RIGHTPADDING", *everywhere, 8),
        ("TOPPADDING", *everywhere, 6),
        ("BOTTOMPADDING", *everywhere, 7),
    )


def _create_multiplicity(dossier: Dossier) -> Iterator[Flowable]:
    many = dossier.multiplicity
    yield create_heading("How many certificates may be false")
    yield create_body(
        f"There are {many.certificates:,} certificates, each of which is false with a probability "
        f"of at most α = {many.alpha:f}. So at most {many.expected_false:f} of them are false in "
        f"expectation, and that any is false has a probability of at most {many.any_false:f}. "
        "Different images have independent noise: with a probability of at least "
        f"{1 - many.alpha:f}, at most {many.in_a_row} of the {_count_images(dossier):,} "
        "certificates of a row are false."
    )
    if many.repeated:
        yield create_body(
            f"{many.repeated:,} certificates are of images that were certified before on this "
            "machine; the certificates in the run state the sum of α over all attempts."
        )


def _create_reproduction(dossier: Dossier) -> Iterator[Flowable]:
    made, question = dossier.reproduction, dossier.results.question
    identity = question.identity
    threads = f"{identity.threads} thread{'s' * (identity.threads != 1)}"
    versions = ", ".join(f"{name} {number}" for name, number in identity.versions.items())
    heading = create_heading("How to check and repeat it")
    how = create_body(
        "promptsmooth verify FILE.json checks the signature of the dossier and this PDF. With "
        "--run FOLDER it audits every certificate of the run again, and recomputes the dossier "
        "from them. promptsmooth reproduce counts the votes of a certificate again. "
        + (_NO_COMMAND if made.command is None else _COMMAND)
    )
    facts = create_facts(
        [
            ("command", made.command or "–"),
            ("ran on", f"{identity.device}, {identity.precision}, {threads}"),
            ("versions", versions),
            ("images.jsonl", f"SHA-256 {made.run_sha256}"),
            ("results.json", f"SHA-256 {made.results_sha256}"),
            ("commitment", f"{question.key_commitment} (to the secret of the noise)"),
            ("signer", f"{made.signer} (Ed25519, of the run's certificates)"),
            ("written", f"{dossier.written:%Y-%m-%d}"),
            ("printed with", made.printed_with),
        ]
    )
    yield KeepTogether([heading, how, facts])


def _draw_page(dossier: Dossier, canvas: Canvas, document: SimpleDocTemplate) -> None:
    """What every page shows: what it is about, research use only, and how it is checked."""
    top, right, foot = HEIGHT - MARGIN, WIDTH - MARGIN, MARGIN - 16
    title = {"fontName": BOLD, "fontSize": 17 if document.page == 1 else 10, "fillColor": INK}
    warning = {"fontName": BOLD, "fontSize": 8, "fillColor": WARNING}
    about = f"{_name(dossier)}, {_count_images(dossier):,} images"
    proof = "This page proves nothing by itself: promptsmooth verify checks it by the JSON file."
    Drawing(
        WIDTH,
        HEIGHT,
        draw_text("Robustness dossier", MARGIN, top - 12, **title),
        draw_text(shorten(about), MARGIN, top - 26, fontSize=8.4),
        Rect(right - 112, top - 16, 112, 17, fillColor=SHADE, strokeColor=WARNING),
        draw_text("RESEARCH USE ONLY", right - 56, top - 10.5, "middle", **warning),
        Line(MARGIN, top - 33, right, top - 33, strokeColor=ACCENT, strokeWidth=0.8),
        Line(MARGIN, foot + 11, right, foot + 11, strokeColor=RULE, strokeWidth=0.6),
        draw_text(proof, MARGIN, foot),
        draw_text(f"page {document.page}", right, foot, "end"),
    ).drawOn(canvas, 0, 0)
