"""promptsmooth dicom: a node beside the PACS, its rules, and what it still owes."""

import json
import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from app.cli.terminal import sentences

if TYPE_CHECKING:
    from app.dicom.rules import Rule
    from app.dicom.spool import Spool

_LOOK_S = 0.5
_ENDED = {"done", "dead", "left"}
_FRAMES_SHOWN = 12

dicom_cli = typer.Typer(
    name="dicom",
    help="A node beside the PACS: images come in by C-STORE, are certified by rules, and the "
    "results go back into their study. Settings: PROMPTSMOOTH_DICOM_... (docs/settings.md).",
    no_args_is_help=True,
)


@contextmanager
def _with_extra() -> Iterator[None]:
    """Expected errors as sentences, a missing extra among them."""
    with sentences():
        try:
            yield
        except ModuleNotFoundError as error:
            if error.name not in ("pynetdicom", "highdicom"):
                raise
            raise ValueError(
                f"{error.name} is not installed: it comes with promptsmooth-service[dicom]"
            ) from None


@dicom_cli.command()
def serve() -> None:
    """Run the node until ctrl-C. What is under way goes on at the next start."""
    with _with_extra():
        from app.dicom.program import serve as serve_node
        from app.dicom.settings import DicomSettings
        from worker.processes.logs import configure_logging

        configure_logging(logging.INFO)
        settings, ended = DicomSettings(), threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: ended.set())
        serve_node(
            settings,
            ended,
            on_ready=lambda port: typer.echo(
                f"ready. AE title {settings.ae_title}, port {port}  (ctrl-C ends)"
            ),
        )
    typer.echo("stopped")


@dicom_cli.command()
def rules(
    check: Annotated[
        Path, typer.Option("--check", dir_okay=False, metavar="FILE", help="File of rules (TOML).")
    ],
    instance: Annotated[
        Path | None,
        typer.Option("--with", exists=True, dir_okay=False, help="A DICOM file to ask about."),
    ] = None,
    calling_ae: Annotated[str, typer.Option(help="AE title that would send it.")] = "",
) -> None:
    """Check a file of rules, and say what would happen to an image, and why."""
    with _with_extra():
        from app.dicom.instance import read_instance
        from app.dicom.rules import load_rules

        found = load_rules(check)
        if instance is None:
            typer.echo(f"{len(found.rules)} rules can be used")
            return
        described = read_instance(instance)
        for rule in found.rules:
            objection = rule.find_objection(described, calling_ae)
            typer.echo(f"{rule.name}: {objection or 'takes it'}")
            if objection is None:
                typer.echo(f"  {_explain_choice(rule.every, rule.middle, rule.at_most)}")
                if described.frames > 1:
                    typer.echo(f"  {_explain_frames(rule, described.frames)}")
                if rule.joint:
                    typer.echo("  answers its series together too, at the same alpha in all")
                typer.echo(f"  asks {json.dumps(rule.request)}")
                typer.echo(f"  results go to {', '.join(rule.send_to)}")
        if not found.find(described, calling_ae):
            typer.echo(f"no rule takes it: the node would {found.unmatched} it")


def _explain_choice(every: int, middle: bool, at_most: int | None) -> str:
    if middle:
        return "certifies the middle image of its series, once the series is complete"
    if at_most is not None:
        return f"certifies at most {at_most} images of its series, once the series is complete"
    return "certifies it" if every == 1 else f"certifies every {every}th image of its series"


def _explain_frames(rule: "Rule", frames: int) -> str:
    if (objection := rule.find_frame_objection(frames)) is not None:
        return f"it would become a dead letter: {objection}"
    chosen = [rule.choose_frame(frames) if f is None else f for f in rule.choose_frames(frames)]
    shown = ", ".join(map(str, chosen[:_FRAMES_SHOWN]))
    more = "" if len(chosen) <= _FRAMES_SHOWN else f", ..., {chosen[-1]} ({len(chosen)} in all)"
    return f"of its {frames} frames, counted from 0: {shown}{more}"


@contextmanager
def _open_spool() -> "Iterator[Spool]":
    from app.dicom.program import open_spool
    from app.dicom.settings import DicomSettings

    settings = DicomSettings()
    if not settings.spool.is_dir():
        raise ValueError(f"there is no spool at {settings.spool} (PROMPTSMOOTH_DICOM_SPOOL)")
    with closing(open_spool(settings)) as spool:
        yield spool


@dicom_cli.command()
def fetch(
    study: Annotated[str, typer.Option(help="Study Instance UID.")],
    source: Annotated[str, typer.Option("--from", help="Name of a source in the rules.")],
    series: Annotated[str | None, typer.Option(help="Series Instance UID.")] = None,
    instance: Annotated[str | None, typer.Option(help="SOP Instance UID; needs --series.")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="What has its results gets another attempt.")
    ] = False,
    go_on: Annotated[
        bool,
        typer.Option(
            "--continue", help="What has its results gets more samples, if its rule names n_cap."
        ),
    ] = False,
) -> None:
    """Take a study from a PACS into the spool; the rules choose, and the node does the rest."""
    with _with_extra():
        from app.dicom.network.fetching import fetch as fetch_study
        from app.dicom.program import open_spool
        from app.dicom.rules import load_rules
        from app.dicom.settings import DicomSettings

        if instance is not None and series is None:
            raise ValueError("--instance needs --series")
        if again and go_on:
            raise ValueError("--again and --continue are two things: name one")
        settings = DicomSettings()
        with closing(open_spool(settings)) as spool:
            found, new = fetch_study(
                load_rules(settings.rules),
                source,
                spool,
                settings,
                study=study,
                series=series,
                instance=instance,
                renew="again" if again else "continue" if go_on else None,
            )
    typer.echo(f"{found} objects came; {new} new tasks are in the spool")


@dicom_cli.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say what is spooled, waiting, owed and dead, and what is wrong. Exit status 1: dead letters.

    gathering: waits for its series. waiting: for the service. going-on: for more samples there.
    certifying: for its certificates. joining: a series for those of its images. owed: for a
    destination. done: delivered. left: not chosen by its rule. dead: given up.
    """
    with _with_extra(), _open_spool() as spool:
        from app.dicom.spool import State

        counted, troubled = spool.count_states(), spool.list_troubled()
        names = get_args(State)
        counts = {name: counted.get(name, 0) for name in names}
        if as_json:
            columns = ("task", "rule", "state", "tries", "reason")
            rows = [dict(zip(columns, row, strict=True)) for row in troubled]
            shown = {**counts, "spooled_bytes": spool.count_bytes(), "troubled": rows}
            typer.echo(json.dumps(shown, indent=2))
        else:
            typer.echo("  ".join(f"{name} {count}" for name, count in counts.items()))
            typer.echo(f"objects in the spool: {spool.count_bytes()} bytes")
            for key, rule, state, tries, reason in troubled:
                typer.echo(f"{key[:16]}  {rule}  {state}  after {tries} failed tries: {reason}")
    raise typer.Exit(1 if counts["dead"] else 0)


@dicom_cli.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Check the node's settings, rules and spool, and whether all whom it has to reach answer.

    Exit status 0 if nothing fails, otherwise 1.
    """
    with _with_extra():
        from app.cli.checks import print_checks
        from app.deployment.dicom_node import examine_node

        checks = list(examine_node())
        if not checks:
            raise ValueError("no node is set up here: PROMPTSMOOTH_DICOM_... names nothing")
    print_checks(checks, as_json=as_json)


@dicom_cli.command()
def drain(
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when nothing is under way any more.")
    ] = False,
) -> None:
    """Accept nothing more. Senders are told to come later; what is in the spool goes on."""
    with _with_extra(), _open_spool() as spool:
        spool.drain(on=True)
        while wait and not spool.count_states().keys() <= _ENDED:
            time.sleep(_LOOK_S)
    typer.echo("drained" if wait else "draining")


@dicom_cli.command()
def resume() -> None:
    """Accept objects again after `drain`."""
    with _with_extra(), _open_spool() as spool:
        spool.drain(on=False)
    typer.echo("resumed")


@dicom_cli.command()
def pseudonym(
    patient_id: Annotated[str, typer.Argument(help="Patient ID, as the PACS has it.")],
    issuer: Annotated[
        str, typer.Option(help="Issuer of Patient ID, where the headers name one.")
    ] = "",
) -> None:
    """Print the pseudonym of a patient, under the salt of the settings."""
    with _with_extra():
        from app.dicom.documents.pseudonyms import load_pseudonyms
        from app.dicom.settings import DicomSettings

        found = load_pseudonyms(DicomSettings().pseudonym_salt_file)
    typer.echo(found.name_patient(patient_id, issuer))


@dicom_cli.command()
def retry() -> None:
    """Set all dead letters going again, where they died."""
    with _with_extra(), _open_spool() as spool:
        typer.echo(f"{spool.retry_dead()} tasks go on")


@dicom_cli.command()
def erase(
    study: Annotated[str, typer.Option(help="Study Instance UID.")],
) -> None:
    """Erase all of a study from the spool: objects, results that are owed, and their records."""
    with _with_extra(), _open_spool() as spool:
        from app.dicom.audit import Audit
        from app.dicom.settings import DicomSettings
        from app.dicom.spool import digest

        Audit(DicomSettings()).record("erased", study=digest(study))
        typer.echo(f"{spool.erase_study(study)} tasks erased")
