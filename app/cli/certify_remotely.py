"""promptsmooth certify with a service."""

import csv
import json
import os
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from app.cli.options import Fields
from app.cli.terminal import say_note
from app.client import Certification, Client, ClientError, FolderItem, find_images, join
from app.client.answers import ENDED
from models.files.csv_cells import disarm
from worker.contract.certificate.audit import parse_json
from worker.contract.certificate.document import FinishedResult, parse_document
from worker.contract.certificate.series import JointAbstained, JointCertified

_KEY_VARIABLE = "PROMPTSMOOTH_API_KEY"
_GOAL_WORDS = {True: "yes", False: "not shown", None: ""}
_COLUMNS = (
    "file",
    "certification",
    "reference",
    "status",
    "sigma",
    "prompting",
    "outcome",
    "prediction",
    "radius",
    "reaches_goal",
    "why_not",
)


def find_api_key(file: Path | None) -> str | None:
    """The key in a file, else in the environment, else None; never an argument that `ps` shows."""
    text = os.environ.get(_KEY_VARIABLE, "") if file is None else file.read_text()
    return text.strip() or None


@contextmanager
def open_client(server: str, *, api_key_file: Path | None, ca: Path | None) -> Iterator[Client]:
    """A client of the service that the options name. It says when it has to ask again, and why."""
    options = read_connection(api_key_file=api_key_file, ca=ca)
    with Client(server, **options) as client:
        yield client


def read_connection(*, api_key_file: Path | None, ca: Path | None) -> dict[str, Any]:
    """The arguments of a client of the service that the options name."""
    return {
        "api_key": find_api_key(api_key_file),
        "verify": True if ca is None else str(ca),
        "on_wait": _create_on_wait(),
    }


def _create_on_wait() -> Callable[[str], None]:
    """Says each reason once: else the command would be silent for as long as patience lasts."""
    said: set[str] = set()

    def say(reason: str) -> None:
        if reason not in said:
            said.add(reason)
            say_note(f"{reason.removesuffix('.')}; asking again")

    return say


def certify_one(
    client: Client,
    image: Path,
    asked: Fields,
    *,
    quiet: bool,
    before: FinishedResult | None = None,
) -> Certification:
    """Certifies one image file and shows its progress; ctrl-C cancels the job.

    With `before`, a certificate of the same image and fields, it goes on from that: what was
    certified before is answered from what the service stored.
    """
    job = client.submit(image, **asked)
    say_note(job.note)
    ended = _follow(client, job, quiet=quiet)
    if before is None:
        return ended
    from app.local.go_on import count_continuations  # with noise, which a client does without

    for _ in range(count_continuations(before) + 1):
        ended = _follow(client, client.continue_certification(ended.id), quiet=quiet)
    return ended


def _follow(client: Client, job: Certification, *, quiet: bool) -> Certification:
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
    with _table(output) as write, _bar(quiet=quiet) as bar:
        for item in bar.track(
            client.certify_folder(paths, **asked), total=len(paths), description="images"
        ):
            finished += _note(item, folder, output, write)
    return len(paths), finished


def certify_batch(
    client: Client, folder: Path, asked: Fields, output: Path, *, quiet: bool
) -> tuple[int, int, tuple[JointCertified | JointAbstained, ...]]:
    """Certifies the images of a folder as one joint batch; writes as `certify_folder` does.

    Beside it, `joint.json` has what holds for all images together.

    Returns:
        how many images there are, how many have certificates, and what holds for them together:
        nothing where none has.

    Raises:
        ValueError: there is only one image.
    """
    paths = find_images(folder)
    if len(paths) < 2:
        raise ValueError("a joint batch has at least two images")
    output.mkdir(parents=True, exist_ok=True)
    sent = client.submit_batch(paths, **{**asked, "joint": "true"})
    items: dict[int, FolderItem] = {}
    kept = 0
    with _table(output) as write, _bar(quiet=quiet) as bar:
        task = bar.add_task("images", total=len(paths))

        def note_ended(batch: dict[str, Any]) -> None:
            nonlocal kept
            for place, item in _list_ended(client, batch, paths, items):
                items[place] = item
                kept += _note(item, folder, output, write)
                bar.advance(task)

        try:
            client.wait_batch(sent["id"], on_progress=note_ended)
        except KeyboardInterrupt:
            client.cancel_batch(sent["id"])
            raise
    made = [item.certification for item in items.values() if item.certification is not None]
    joint = join(made) if any(map(_is_finished, items.values())) else ()
    (output / "joint.json").write_text(dump_joint(joint) + "\n", encoding="utf-8")
    return len(paths), kept, joint


def _list_ended(
    client: Client, batch: dict[str, Any], paths: Sequence[Path], known: Container[int]
) -> Iterator[tuple[int, FolderItem]]:
    """The images of a batch that have ended and are not known yet, each with its place in it."""
    for one in batch["refused"]:
        if (place := one["image_index"]) not in known:
            yield place, FolderItem(path=paths[place], error=ClientError(one["detail"]))
    for one in batch["certifications"]:
        if (place := one["image_index"]) not in known and one["status"] in ENDED:
            yield place, FolderItem(path=paths[place], certification=client.get(one["id"]))


def dump_joint(joint: Sequence[JointCertified | JointAbstained]) -> str:
    """What holds for the images of a joint batch together, as JSON."""
    shown = [one.model_dump(mode="json") for one in joint]
    return json.dumps(shown, indent=2, ensure_ascii=False)


@contextmanager
def _table(output: Path) -> Iterator["csv.DictWriter[str]"]:
    with (output / "certificates.csv").open(
        "w",
        buffering=1,  # rows stay, however the command ends
        newline="",
        encoding="utf-8",
        errors="backslashreplace",  # names need not be UTF-8
    ) as file:
        write = csv.DictWriter(file, _COLUMNS)
        write.writeheader()
        yield write


def _note(item: FolderItem, folder: Path, output: Path, write: "csv.DictWriter[str]") -> bool:
    """Writes an item's document and its rows; whether it has certificates."""
    name = item.path.relative_to(folder)
    item = _keep(item, output / f"{name}.json")
    for row in _rows(item):
        cells = {"file": str(name), **row}
        write.writerow({column: disarm(cell) for column, cell in cells.items()})
    return _is_finished(item)


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
    reference = job.document.get("reference", "")
    common = {"certification": job.id, "reference": reference, "status": job.status}
    if not job.certificates:
        yield {**common, "why_not": job.failure}
    reached = (job.document.get("goal") or {}).get("reached", ())
    for one, answer in zip_longest(job.certificates, reached):
        yield {
            **common,
            "reaches_goal": _GOAL_WORDS[answer],
            "sigma": f"{one.sigma:f}",
            "prompting": one.prompting,
            "outcome": one.outcome,
            "prediction": one.prediction or "",
            "radius": "" if one.radius is None else str(one.radius),
        }


def _bar(*, quiet: bool) -> Progress:
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    return Progress(*columns, console=Console(stderr=True), disable=quiet)
