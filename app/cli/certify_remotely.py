"""promptsmooth certify with a service."""

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from app.cli.options import Fields
from app.client import Certification, Client, ClientError, FolderItem, find_images
from models.files.csv_cells import disarm
from worker.contract.certificate.audit import parse_json
from worker.contract.certificate.document import FinishedResult, parse_document

_KEY_VARIABLE = "PROMPTSMOOTH_API_KEY"
_COLUMNS = (
    "file",
    "certification",
    "status",
    "sigma",
    "prompting",
    "outcome",
    "prediction",
    "radius",
    "why_not",
)


def find_api_key(file: Path | None) -> str | None:
    """The key in a file, else in the environment, else None; never an argument that `ps` shows."""
    text = os.environ.get(_KEY_VARIABLE, "") if file is None else file.read_text()
    return text.strip() or None


@contextmanager
def open_client(server: str, *, api_key_file: Path | None, ca: Path | None) -> Iterator[Client]:
    """A client of the service that the options name."""
    trust = True if ca is None else str(ca)
    with Client(server, api_key=find_api_key(api_key_file), verify=trust) as client:
        yield client


def certify_one(client: Client, image: Path, asked: Fields, *, quiet: bool) -> Certification:
    """Certifies one image file and shows its progress; ctrl-C cancels the job."""
    job = client.submit(image, **asked)
    try:
        with _bar(quiet=quiet) as progress:
            task = progress.add_task("certifying", total=None)

            def show(now: Certification) -> None:
                total = now.samples_total or None
                progress.update(task, total=total, completed=now.samples_done)

            ended = client.wait(job.id, on_progress=show)
    except KeyboardInterrupt:
        client.cancel(job.id)
        raise
    if ended.status != "finished":
        raise ValueError(f"certification {ended.id} {ended.status}. {ended.failure}".strip())
    return ended


def read_result(certification: Certification) -> FinishedResult:
    """A finished certification as this release reads it."""
    return parse_document(parse_json(certification.content))


def certify_folder(
    client: Client, folder: Path, asked: Fields, output: Path, *, quiet: bool
) -> tuple[int, int]:
    """Certifies the images of a folder; writes one document per image and certificates.csv.

    Returns:
        how many images there are, and how many have certificates.
    """
    paths = find_images(folder)
    output.mkdir(parents=True, exist_ok=True)
    finished = 0
    table = (output / "certificates.csv").open(
        "w",
        newline="",
        encoding="utf-8",
        errors="backslashreplace",  # names need not be UTF-8
    )
    with table as file, _bar(quiet=quiet) as bar:
        write = csv.DictWriter(file, _COLUMNS)
        write.writeheader()
        for item in bar.track(
            client.certify_folder(paths, **asked), total=len(paths), description="images"
        ):
            name = item.path.relative_to(folder)
            item = _keep(item, output / f"{name}.json")
            finished += _is_finished(item)
            for row in _rows(item):
                cells = {"file": str(name), **row}
                write.writerow({column: disarm(cell) for column, cell in cells.items()})
            file.flush()
    return len(paths), finished


def _is_finished(item: FolderItem) -> bool:
    return item.certification is not None and item.certification.status == "finished"


def _keep(item: FolderItem, path: Path) -> FolderItem:
    """Writes the item's document, if it has one; a name that cannot be written is its error."""
    if item.certification is None or not _is_finished(item):
        return item
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(item.certification.content)
    except OSError as error:
        reason = error.strerror or "a system error"
        return FolderItem(
            path=item.path,
            error=ClientError(f"certified, but its document cannot be written: {reason}"),
        )
    return item


def _rows(item: FolderItem) -> Iterator[dict[str, str]]:
    """One row per certificate, or one for an image that has none."""
    job = item.certification
    if job is None:
        yield {"status": "refused", "why_not": str(item.error)}
        return
    common = {"certification": job.id, "status": job.status}
    if not job.certificates:
        yield {**common, "why_not": job.failure}
    for one in job.certificates:
        yield {
            **common,
            "sigma": f"{one.sigma:f}",
            "prompting": one.prompting,
            "outcome": one.outcome,
            "prediction": one.prediction or "",
            "radius": "" if one.radius is None else str(one.radius),
        }


def _bar(*, quiet: bool) -> Progress:
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    return Progress(*columns, console=Console(stderr=True), disable=quiet)
