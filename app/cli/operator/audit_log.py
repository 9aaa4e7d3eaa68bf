"""promptsmooth audit-log: checks that the log of who did what is whole."""

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import DataDir, connect, get_data_dir
from app.cli.terminal import sentences

if TYPE_CHECKING:
    from app.server.audit_log.check import Broken, Whole

audit_log_cli = typer.Typer(
    name="audit-log",
    help="The audit log: who did what, when, to which digest. Each line has the digest of the "
    "line before. docs/security.md says what that proves, and what it does not.",
    no_args_is_help=True,
)

_READINGS, _PAUSE_S = 5, 0.1
_HEAD = re.compile(r"([1-9][0-9]{0,14}):([0-9a-f]{64})")
LogPath = Annotated[
    Path | None,
    typer.Argument(
        metavar="[PATH]",
        exists=True,
        help="Folder of a log, or one of its files.  (default: PROMPTSMOOTH_AUDIT_LOG, else audit "
        "in the data folder)",
    ),
]


class LogBroken(ValueError):
    """The log is missing, or is not what the service wrote."""


@audit_log_cli.command()
def verify(
    path: LogPath = None,
    expect_head: Annotated[
        str | None,
        typer.Option(
            metavar="SEQ:SHA256",
            help="An entry that audit-log head printed before; it must still be there, unchanged.",
        ),
    ] = None,
    anchor: Annotated[
        bool,
        typer.Option(
            "--anchor",
            help="Also compare with the head that the service noted in Redis (REDIS_URL, else the "
            "Redis of the service on the data folder).",
        ),
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Check that every line of a log is in its place and unaltered.

    Exit status 0 if the log is whole, otherwise 1 and the first broken line.

    Examples:

      promptsmooth audit-log verify

      promptsmooth audit-log verify /var/log/promptsmooth --expect-head "$(cat noted-head)"
    """
    from app.server.audit_log.check import Broken

    with sentences():
        noted = [_parse_head(expect_head)]
        if anchor:  # before the files are read: the service goes on writing meanwhile
            noted.append(_find_anchor(_find_files(path, data_dir)[0], data_dir))
        files = _find_files(path, data_dir)
        found = _check_settled(files)
        if isinstance(found, Broken):
            problems = [_describe(found)]
        else:
            problems = [each for one in noted for each in _compare(files, found, one)]
    if problems or isinstance(found, Broken):
        typer.secho(problems[0], fg=typer.colors.RED)
        raise typer.Exit(1)
    since = "" if found.first == 1 else f" from entry {found.first} on"
    typer.secho(f"whole{since}: {found.head.seq} entries, head {found.head}", fg="green")


@audit_log_cli.command()
def head(path: LogPath = None, data_dir: DataDir = None) -> None:
    """Check a log and print its head, SEQ:SHA256, to be noted elsewhere.

    A noted head shows later whether any entry up to it was cut off or altered.

    Example:

      promptsmooth audit-log head > /mnt/elsewhere/noted-head
    """
    from app.server.audit_log.check import Broken

    with sentences():
        found = _check_settled(_find_files(path, data_dir))
    if isinstance(found, Broken):
        typer.secho(_describe(found), fg=typer.colors.RED, err=True)
        raise typer.Exit(1)
    typer.echo(str(found.head))


def _find_files(path: Path | None, data_dir: Path | None) -> list[Path]:
    from app.settings import AppSettings
    from models.files.audit_log import AUDIT_LOG_NAME, list_files

    place = path or AppSettings().audit_log or get_data_dir(data_dir) / AUDIT_LOG_NAME
    files = [place] if place.is_file() else list_files(place)
    if not files:
        raise LogBroken(f"there is no audit log in {place}")
    return files


def _check_settled(files: list[Path]) -> "Whole | Broken":
    """Reads again where the last line may be one that is being written at this moment."""
    from app.server.audit_log.check import INCOMPLETE, Broken, check_files

    for _ in range(_READINGS):
        found = check_files(files)
        if not (isinstance(found, Broken) and found.sentence == INCOMPLETE):
            break
        time.sleep(_PAUSE_S)
    return found


def _describe(broken: "Broken") -> str:
    return f"BROKEN  {broken.path}, line {broken.line}: {broken.sentence}"


def _parse_head(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    if not (found := _HEAD.fullmatch(text.strip())):
        raise ValueError("--expect-head: expected SEQ:SHA256, as audit-log head prints it")
    return int(found[1]), found[2]


def _compare(files: list[Path], found: "Whole", noted: tuple[int, str] | None) -> list[str]:
    """What is wrong with a whole log, compared with an entry that was noted elsewhere."""
    from app.server.audit_log.check import find_entry

    if noted is None:
        return []
    seq, sha256 = noted
    if seq > found.head.seq:
        return [
            f"BROKEN  cut off: the log ends at entry {found.head.seq}, but entry {seq} was noted"
        ]
    there = find_entry(files, seq)
    if there is None:
        return [f"BROKEN  entry {seq} was noted but is not in these files"]
    if there != sha256:
        return [f"BROKEN  entry {seq} differs from the noted one: the log was rewritten"]
    return []


def _find_anchor(file: Path, data_dir: Path | None) -> tuple[int, str] | None:
    """The head that was noted for the log of this file; None if the file is no log's."""
    from app.server.audit_log.check import find_chain
    from worker.store import keyspace

    if (chain := find_chain(file)) is None:
        return None  # checking it says so
    with connect(data_dir) as redis:
        noted = redis.get(keyspace.audit_head(chain))
    if not isinstance(noted, bytes):
        raise LogBroken("Redis has no head for this log: it was never noted, or it was removed")
    return _parse_head(noted.decode())
