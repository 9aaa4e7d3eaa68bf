"""Writes a dossier as PDF and JSON, and checks one."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.dossier.gather import DossierOptions, gather
from app.dossier.printed import print_dossier
from models.files.whole_file import write_whole
from worker.certification.audit import Finding
from worker.evaluation.dossier.document import Dossier
from worker.evaluation.dossier.signed import seal
from worker.key_secret import commitment, load_secret


@dataclass(frozen=True, kw_only=True)
class WrittenDossier:
    """What was written, and whether it could be signed."""

    pdf: Path
    json: Path
    is_signed: bool


def write_dossier(
    options: DossierOptions, secrets: Path, out: Path, *, key_secret: Path | None = None
) -> WrittenDossier:
    """Writes the dossier of a run: the PDF `out`, and the JSON file beside it.

    It is signed with the secret of the run, as the certificates are, if that is on this machine.

    Args:
        options: the run, and what to look at beside it.
        secrets: the folder of the secrets of runs.
        out: the PDF, `<name>.pdf`.
        key_secret: the file of the secret of the service that certified the images.

    Raises:
        ValueError: `out` is no name of a PDF, its folder is not there, or `key_secret` is not the
            secret of the run. Otherwise as `gather`.
        worker.key_secret.SecretUnusable: the secret is there and cannot be read.
        OSError: a file cannot be written.
    """
    if out.suffix != ".pdf":
        raise ValueError("--out is the PDF's name and ends in .pdf; the JSON file gets .json")
    if not out.parent.is_dir():
        raise ValueError(f"there is no folder {out.parent} to write to")
    dossier = gather(options)
    secret = _find_secret(secrets, key_secret, dossier.results.question.key_commitment)
    pdf = print_dossier(dossier)
    document = seal(dossier.model_dump(mode="json"), pdf, secret)
    written = WrittenDossier(pdf=out, json=out.with_suffix(".json"), is_signed=secret is not None)
    write_whole(written.pdf, pdf)
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(written.json, f"{text}\n".encode())
    return written


def _find_secret(secrets: Path, key_secret: Path | None, committed: str) -> bytes | None:
    if key_secret is None:
        path = secrets / committed
        return load_secret(path) if path.exists() else None
    secret = load_secret(key_secret)
    if commitment(secret) != committed:
        raise ValueError("the file of --secret holds another key secret than that of the run")
    return secret


def recompute(
    document: dict[str, Any], options: DossierOptions, pdf: bytes | None = None
) -> tuple[Finding, ...]:
    """Whether the run gives the dossier again, every certificate audited, and prints this PDF.

    The PDF is compared byte for byte. It is left out where other versions printed it.

    Raises:
        ValueError: the dossier is of another version, or was written with the images and no folder
            of them is named. Otherwise as `gather`.
    """
    try:
        stated = Dossier.model_validate_json(json.dumps(document["dossier"]))
    except ValueError as error:
        raise ValueError("the file is no dossier of this version") from error
    if stated.data.compared and options.data is None:
        raise ValueError("the dossier was written with the images: name their folder with --data")
    again = gather(replace(options, written=stated.written))
    printer = {"printed_with": stated.reproduction.printed_with}
    same_printer = again.reproduction.model_copy(update=printer)
    differing = _list_differing(stated, again.model_copy(update={"reproduction": same_printer}))
    what = f"gives another {', '.join(differing)}" if differing else "gives the same dossier"
    found = Finding(code="run", holds=not differing, sentence=f"The run {what}.")
    if pdf is None or again.reproduction != same_printer:
        return (found,)
    same = print_dossier(again) == pdf
    what = "this very PDF" if same else "another PDF"
    return found, Finding(code="printed", holds=same, sentence=f"The run prints {what}.")


def _list_differing(stated: Dossier, again: Dossier) -> list[str]:
    """The fields in which two dossiers differ as JSON."""
    one, other = (dossier.model_dump(mode="json") for dossier in (stated, again))
    return sorted(name for name in one if one[name] != other[name])
