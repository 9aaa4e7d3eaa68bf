"""promptsmooth doctor, backup, restore and sweep: maintenance of a running service."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import DataDir, connect, get_data_dir
from app.cli.terminal import sentences

if TYPE_CHECKING:
    from worker.settings import WorkerSettings

_MARKS = {"ok": typer.colors.GREEN, "warning": typer.colors.YELLOW, "fails": typer.colors.RED}


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
    from app.server.audit_log.log import AUDIT_LOG_NAME
    from app.settings import AppSettings

    with sentences():
        settings = _settings(data_dir)
        app, own = AppSettings(), get_data_dir(data_dir)
        checks = list(
            examine(
                connect(data_dir),
                settings,
                keys_file=app.keys_file or _if_there(own / KEYS_FILE_NAME),
                audit_log=app.audit_log or _if_there(own / AUDIT_LOG_NAME),
                digests=digests,
            )
        )
    if as_json:
        typer.echo(json.dumps([check.model_dump(mode="json") for check in checks], indent=2))
    else:
        for check in checks:
            mark = typer.style(f"{check.verdict:8}", fg=_MARKS[check.verdict])
            typer.echo(f"{mark} {check.name}: {check.found}" + (f" → {check.do}" * bool(check.do)))
    raise typer.Exit(1 if any(check.verdict == "fails" for check in checks) else 0)


def backup(
    folder: Annotated[Path, typer.Argument(help="New folder for the backup.")],
    secret: Annotated[
        bool,
        typer.Option(
            "--secret", help="Include the key secret; whoever has it can forge certificates."
        ),
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Write jobs, images, votes, certificates and prompts of this service into a folder.

    It can run while the service runs. For a backup at a moment when nothing runs, use promptsmooth
    drain first.
    """
    from app.deployment.redis_server import open_redis
    from worker.store.backup import make_backup

    with sentences():
        settings = _settings(data_dir)
        content = settings.secret_path.read_bytes() if secret else None
        with open_redis(get_data_dir(data_dir)) as redis:
            manifest = make_backup(redis, folder, content)
    typer.echo(f"{manifest.keys} keys written to {folder}")
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
    Redis is started for it. If the backup includes the key secret, it is copied to the data folder
    unless there is one.
    """
    from app.deployment.redis_server import open_redis
    from worker.store.backup import require_secret, restore_backup, restore_secret

    with sentences():
        secret_path = _settings(data_dir).secret_path
        with open_redis(get_data_dir(data_dir)) as redis:
            require_secret(folder, secret_path)
            number = restore_backup(redis, folder, over=over)
            restore_secret(folder, secret_path)
    typer.echo(f"{number} keys restored; keys whose time to live had passed were left out")


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
