"""The witness in a report: what was found on either side, with its pictures and distances."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reportlab.lib.colors import HexColor
from reportlab.platypus import Flowable, KeepTogether, Paragraph, Table

from app.server.answers.pictures import show_difference
from app.server.answers.report.figures import create_picture
from app.server.answers.report.text import INK, SOFT, create_grid, create_text
from worker.contract.image import Image
from worker.contract.witness import CertificateWitness, Changed, FinishedWitness

_ALARM = HexColor("#9a3412")
_SIDE = 84.0
_GAP = 10.0
_MEANING = (
    "A search found these changes. The answer there is another one; nothing is shown about "
    "smaller changes: only the certificate speaks of those. Distances are l2, in pixels in [0, 1], "
    "of images of 8 bits. Differences are drawn around middle grey, enlarged as written."
)


@dataclass(frozen=True, kw_only=True)
class PrintedWitness:
    """A witness, and the images at which answers changed, by their digests."""

    witness: FinishedWitness
    images: Mapping[str, Image]


def create_witness(printed: PrintedWitness | None, image: Image | None) -> Sequence[Flowable]:
    """The section; nothing where there is no witness."""
    if printed is None:
        return ()
    witness = printed.witness
    alarm = "ALARM: a smoothed answer changed inside its proved radius"
    title = alarm if witness.alarm else "A witness from the other side"
    colour = _ALARM if witness.alarm else INK
    head = create_text(title, 8.5, colour, bold=True, spaceBefore=9, keepWithNext=1)
    first, *others = (_create_one(one, printed.images, image) for one in witness.witnesses)
    return [KeepTogether([head, *first]), *(KeepTogether(one) for one in others), _end(witness)]


def _end(witness: FinishedWitness) -> Paragraph:
    counted = f"{witness.settings.votes:,} fresh votes show each smoothed answer, at confidence "
    return create_text(f"{_MEANING} {counted}{1 - witness.alpha:f}.", 7, SOFT, spaceBefore=5)


def _create_one(
    one: CertificateWitness, images: Mapping[str, Image], image: Image | None
) -> list[Flowable]:
    colour = _ALARM if one.alarm else INK
    words = create_text(f"σ {one.sigma:f}. {one.statement}", 8.2, colour, spaceBefore=4)
    pictures = [
        picture
        for name, found in (("smoothed", one.smoothed), ("without smoothing", one.undefended))
        if isinstance(found, Changed) and found.image_sha256 in images
        for picture in _create_pictures(name, found, images[found.image_sha256], image)
    ]
    return [words, *([_lay_out(pictures)] if pictures else [])]


def _create_pictures(
    name: str, found: Changed, changed: Image, image: Image | None
) -> list[list[Flowable]]:
    """The changed image, and what was changed, each above its caption."""
    shown = [_caption(changed, f"{name}: {found.distance:.6f}")]
    if image is not None and image.shape == changed.shape:
        difference, times = show_difference(image, changed)
        shown.append(_caption(difference, f"difference × {times}"))
    return shown


def _caption(image: Image, text: str) -> list[Flowable]:
    return [create_picture(image, _SIDE), create_text(text, 6.8, SOFT)]


def _lay_out(pictures: Sequence[list[Flowable]]) -> Table:
    return create_grid([list(pictures)], [_SIDE + _GAP] * len(pictures), spaceBefore=4)
