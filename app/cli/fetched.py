"""Images of a study, taken from a PACS by DICOMweb into a folder that goes when they are done."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from app.cli import options
from app.cli.terminal import say_note

_FROM_PACS = "From a PACS"
StudyOption = Annotated[
    options.Text,
    typer.Option(
        metavar="UID",
        help="Instead of an image: those of a study that --from has.",
        rich_help_panel=_FROM_PACS,
    ),
]
SeriesOption = Annotated[
    options.Text,
    typer.Option(metavar="UID", help="One series of it.", rich_help_panel=_FROM_PACS),
]
InstanceOption = Annotated[
    options.Text,
    typer.Option(metavar="UID", help="One image of the series.", rich_help_panel=_FROM_PACS),
]
SourceOption = Annotated[
    options.Text,
    typer.Option(
        "--from",
        metavar="NAME",
        help="A source by DICOMweb, as the file PROMPTSMOOTH_DICOM_RULES names it.",
        rich_help_panel=_FROM_PACS,
    ),
]


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What to fetch: UIDs, and the name of a source."""

    study: str | None
    series: str | None
    instance: str | None
    source: str | None

    @property
    def is_asked(self) -> bool:
        return self != Fetched(study=None, series=None, instance=None, source=None)


@contextmanager
def find_images(image: Path | None, fetched: Fetched) -> Iterator[Path]:
    """The image or folder that was named, or what was fetched: a file where it is one image.

    Raises:
        ValueError: neither or both were named, or nothing can be fetched.
    """
    if (image is None) != fetched.is_asked:
        raise ValueError("name an image or a folder, or --study with --from")
    if image is not None:
        yield image
        return
    with tempfile.TemporaryDirectory(prefix="promptsmooth-") as folder:
        paths = _fetch(fetched, Path(folder))
        yield paths[0] if len(paths) == 1 else Path(folder)


def _fetch(fetched: Fetched, folder: Path) -> list[Path]:
    from app.dicom.rules import WebSource, load_sources
    from app.dicom.settings import DicomSettings
    from app.dicom.web import Web, WebRefused

    if fetched.study is None or fetched.source is None:
        raise ValueError("--study and --from go together")
    if fetched.instance is not None and fetched.series is None:
        raise ValueError("--instance needs --series")
    settings = DicomSettings()
    source = load_sources(settings.rules).get(fetched.source)
    if not isinstance(source, WebSource):
        raise ValueError(
            f"{settings.rules} names no source {fetched.source} by DICOMweb; a PACS without it "
            "sends to a node: promptsmooth dicom fetch"
        )
    try:
        with Web(source) as web:
            uids = web.find_instances(fetched.study, fetched.series, fetched.instance)
            contents = (
                (uid, web.fetch(fetched.study, series, uid, most_bytes=settings.max_object_bytes))
                for series, uid in uids
            )
            paths = [path for one in contents if (path := _keep(*one, folder)) is not None]
    except WebRefused as error:
        raise ValueError(f"{fetched.source}: {error}") from None
    if not paths:
        raise ValueError(f"{fetched.source} has no such image")
    say_note(f"{len(paths)} images of {len(uids)} objects came from {fetched.source}")
    return paths


def _keep(uid: str, content: bytes, folder: Path) -> Path | None:
    """Writes an image under its UID; None where the object is none."""
    from app.dicom.instance import InstanceUnreadable, read_instance

    path = folder / f"{''.join(c for c in uid if c in '0123456789.')}.dcm"
    path.write_bytes(content)
    try:
        if read_instance(path).is_image:
            return path
    except InstanceUnreadable as error:
        raise ValueError(f"{uid}: {error}") from None
    path.unlink()
    return None
