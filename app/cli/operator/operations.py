"""promptsmooth doctor, backup, restore and sweep: maintenance of a running service."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.checks import print_checks
from app.cli.options import DataDir, connect, get_data_dir
from app.cli.terminal import sentences

if TYPE_CHECKING:
    from redis import Redis

    from worker.settings import WorkerSettings


def doctor(
    digests: Annotated[
        bool, typer.Option("--digests", help="Read the weights of served models in full.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Check everything the service needs; one line each, with what to do if a check fails.

    Exit status 0 if nothing fails, otherwise 1.
    """
    from app.deployment.doctor import examine
    from app.server.access.api_keys import KEYS_FILE_NAME
    from app.settings import AppSettings
    from models.files.audit_log import AUDIT_LOG_NAME

    with sentences():
        settings = _settings(data_dir)
        app, own = AppSettings(), get_data_dir(data_dir)
        places = {
            "keys_file": app.keys_file or _if_there(own / KEYS_FILE_NAME),
            "audit_log": app.audit_log or _if_there(own / AUDIT_LOG_NAME),
        }
        app = app.model_copy(update=places)
        checks = list(examine(connect(data_dir), settings, app, digests=digests))
    print_checks(checks, as_json=as_json)


def backup(
    folder: Annotated[Path, typer.Argument(help="New folder for the backup.")],
    secret: Annotated[
        bool,
        typer.Option(
            "--secret",
            help="Include the key secret, with which anyone can forge certificates, and the "
            "secrets of webhooks.",
        ),
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Write all that this service keeps into a folder: jobs, images, votes, certificates, prompts.

    With them go the API keys (as digests), the audit log, and the settings given to this command.
    It can run while the service runs. For a backup at a moment when nothing runs, use promptsmooth
    drain first.
    """
    from app.deployment.redis_server import open_redis
    from app.deployment.service_backup import back_up, find_places

    with sentences():
        settings, own = _settings(data_dir), get_data_dir(data_dir)
        if secret:
            settings.secret_path.read_bytes()  # before anything is written
        with open_redis(own) as redis:
            manifest = back_up(redis, folder, find_places(own, settings), secret=secret)
    typer.echo(f"{manifest.keys} keys of Redis and {len(manifest.files) - 1} files in {folder}")
    if secret:
        typer.echo(
            "it includes the key secret: protect the folder as you protect the secret", err=True
        )
    else:
        typer.echo(
            "it does not include the key secret, without which the backup cannot be continued",
            err=True,
        )


def restore(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="The backup.")],
    over: Annotated[
        bool, typer.Option("--over", help="First remove the service's data from this Redis.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Load a backup into an empty Redis; jobs without a result are queued again within a minute.

    Nothing else may use that Redis in the meantime. If REDIS_URL is not set, the data folder's own
    Redis is started for it. The backup's API keys, audit log and key secret are put to their places
    unless something is there already.
    """
    from app.deployment.redis_server import open_redis
    from app.deployment.service_backup import (
        EVALUATIONS,
        KEYS,
        find_other_settings,
        find_places,
    )
    from worker.store.backup import require_secret, restore_backup, restore_beside

    with sentences():
        settings, own = _settings(data_dir), get_data_dir(data_dir)
        places = find_places(own, settings)
        with open_redis(own) as redis:
            require_secret(folder, settings.secret_path)
            number = restore_backup(redis, folder, over=over)
            put = restore_beside(folder, places)
            _warn_of_lost_keys(redis, places[KEYS], places[EVALUATIONS])
    typer.echo(f"{number} keys restored; keys whose time to live had passed were left out")
    for name in put:
        typer.echo(f"{name} is at {places[name]}")
    if other := find_other_settings(folder):
        typer.echo(
            f"the service of the backup had other settings: {', '.join(other)}; compare its "
            "settings.json",
            err=True,
        )


def _warn_of_lost_keys(redis: "Redis", keys_file: Path, evaluations: Path) -> None:
    """Says so where what was restored belongs to keys that are not there."""
    from app.server.access.owned_records import KEYS_LOST
    from app.server.jobs.evaluations import record
    from worker.store import owners

    owner = owners.find_key_owner(redis) or record.find_key_owner(evaluations)
    if not keys_file.exists() and owner is not None:
        typer.echo(f"{KEYS_LOST}; until then nobody is answered", err=True)


def repair(data_dir: DataDir = None) -> None:
    """Cut a damaged append-only file, with which Redis does not start, where the damage begins.

    For the data folder's own Redis, while no service runs there. What was stored after that place
    is lost; a copy of the folder as it was is kept.
    """
    from app.deployment.redis_log import repair_log

    with sentences():
        done = repair_log(get_data_dir(data_dir))
    if done is None:
        typer.echo("the append-only file can be read; nothing was changed")
        return
    cut, copy = done
    typer.echo(f"{cut} bytes were cut from the append-only file; the folder as it was is {copy}")
    typer.echo("what was stored after that place is lost; send it again", err=True)


def sweep(data_dir: DataDir = None) -> None:
    """Remove leftovers at once: list entries whose certification has expired.

    Worker hosts do the same every hour. Everything else expires by itself.
    """
    from worker.store.retention import sweep as sweep_now

    with sentences():
        image_ttl_s = _settings(data_dir).image_ttl_s
        removed = sweep_now(connect(data_dir), image_ttl_s=image_ttl_s)
    typer.echo(f"{removed} entries removed")


def _settings(data_dir: "DataDir") -> "WorkerSettings":
    from worker.settings import WorkerSettings

    settings = WorkerSettings()
    return settings if data_dir is None else settings.model_copy(update={"data_dir": data_dir})


def _if_there(path: Path) -> Path | None:
    """The path if it exists; `promptsmooth up` keeps it in its data folder."""
    return path if path.exists() else None
