"""promptsmooth keys: who may use the service."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import DataDir, get_data_dir
from app.cli.terminal import sentences
from app.server.access import api_keys
from app.server.access.operator_file import now_utc
from app.settings import Quotas

keys_cli = typer.Typer(
    name="keys",
    help="The keys of a service. They are kept in the file that PROMPTSMOOTH_KEYS_FILE names, else "
    f"in {api_keys.KEYS_FILE_NAME} in the data folder, which promptsmooth up reads. The file holds "
    "digests; a key is printed only once, when it is created. A running service sees every change "
    "at once.",
    no_args_is_help=True,
)


class ScopeName(StrEnum):
    """What a key may do."""

    SUBMIT = "submit"
    READ = "read"
    ADMIN = "admin"
    URGENT = "urgent"
    EVALUATE = "evaluate"


KeysFileOption = Annotated[
    Path | None,
    typer.Option(
        "--file",
        dir_okay=False,
        help="The keys file.  (default: PROMPTSMOOTH_KEYS_FILE, else "
        f"{api_keys.KEYS_FILE_NAME} in the data folder)",
    ),
]
KeyId = Annotated[str, typer.Argument(metavar="ID", help="Id of a key; keys list shows the ids.")]


@keys_cli.command()
def add(
    label: Annotated[str, typer.Option(help="Who or what the key is for; shown in lists.")],
    scope: Annotated[
        list[ScopeName] | None,
        typer.Option(
            help="submit: certify, learn, import prompts, and end or remove one's own. read: see "
            "one's own. admin: both, and see, end and remove everyone's. urgent: ask for the "
            "priority urgent. evaluate: start evaluations of the service's datasets. "
            "Repeatable.  (default: submit and read)"
        ),
    ] = None,
    expires_in_days: Annotated[
        int | None,
        typer.Option(min=1, max=36_500, help="Days that the key is valid.  (default: for ever)"),
    ] = None,
    requests_per_minute: Annotated[
        int, typer.Option(min=0, help="Most requests a minute; 0: no limit.")
    ] = 600,
    jobs: Annotated[
        int, typer.Option(min=0, help="Most jobs queued or running at a time; 0: no limit.")
    ] = 500,
    samples_per_day: Annotated[
        int, typer.Option(min=0, help="Most samples requested in a day (UTC); 0: no limit.")
    ] = 0,
    file: KeysFileOption = None,
    data_dir: DataDir = None,
) -> None:
    """Create a key and print it. It is shown only this once.

    Only the key goes to standard output, so that it can be redirected to where it is kept.

    Examples:

      promptsmooth keys add --label "CT laboratory" > ct.key

      promptsmooth keys add --label "night run" --scope submit --scope read --jobs 5000

      promptsmooth keys add --label "operator" --scope admin --expires-in-days 365
    """
    now = now_utc()
    with sentences():
        path = find_keys_file(file, data_dir)
        with api_keys.change_keys(path) as keys:
            key, token = api_keys.create_key(
                label,
                tuple(one.value for one in scope or (ScopeName.SUBMIT, ScopeName.READ)),
                now=now,
                expires_at=None if expires_in_days is None else now + timedelta(expires_in_days),
                quotas=Quotas(
                    requests_per_minute=requests_per_minute or None,
                    jobs=jobs or None,
                    samples_per_day=samples_per_day or None,
                ),
                taken=frozenset(each.id for each in keys),
            )
            keys.append(key)
    typer.echo(token)
    typer.echo(
        f"key {key.id} is in {path}; the line above is shown only once and is stored nowhere",
        err=True,
    )


@keys_cli.command(name="list")
def list_keys(
    file: KeysFileOption = None,
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List the keys: ids, labels, scopes, limits and whether they are valid; never a key itself.

    Example:

      promptsmooth keys list
    """
    with sentences():
        path = find_keys_file(file, data_dir)
        try:
            keys = api_keys.load_keys(path).keys
        except FileNotFoundError:
            keys = ()
    if as_json:
        import json

        shown = [key.model_dump(mode="json", exclude={"sha256"}) for key in keys]
        typer.echo(json.dumps(shown, indent=2, ensure_ascii=False))
        return
    _print_table(keys)
    typer.echo(f"{len(keys)} in {path}", err=True)


@keys_cli.command()
def revoke(key_id: KeyId, file: KeysFileOption = None, data_dir: DataDir = None) -> None:
    """Revoke a key now and for good. What it created stays, for keys with the scope admin.

    Example:

      promptsmooth keys revoke 3f9a1c2b
    """
    with sentences(), _change(file, data_dir) as keys:
        index = api_keys.find_index(keys, key_id)
        if keys[index].revoked_at is None:
            keys[index] = keys[index].model_copy(update={"revoked_at": now_utc()})
    typer.echo(f"key {key_id} is revoked")


@keys_cli.command()
def rotate(key_id: KeyId, file: KeysFileOption = None, data_dir: DataDir = None) -> None:
    """Replace a key by a new one with the same id, which sees everything that the old one created.

    The old key stops working at once. Use this for a key that was lost, has leaked, or is old.

    Example:

      promptsmooth keys rotate 3f9a1c2b > ct.key
    """
    with sentences(), _change(file, data_dir) as keys:
        index = api_keys.find_index(keys, key_id)
        old = keys[index]
        if old.revoked_at is not None:
            raise ValueError(
                f"the key {key_id} is revoked for good; create another with: promptsmooth keys add"
            )
        _, token = api_keys.create_key(old.label, old.scopes, now=now_utc())
        token = token.replace(token.split("_")[1], key_id, 1)
        keys[index] = old.model_copy(update={"sha256": api_keys.hash_token(token)})
    typer.echo(token)
    typer.echo(f"key {key_id} is replaced; the line above is shown only once", err=True)


def find_keys_file(given: Path | None, data_dir: Path | None) -> Path:
    """The keys file that the options, the settings or the data folder name."""
    from app.settings import AppSettings

    named = given or (AppSettings().keys_file if data_dir is None else None)
    return named or get_data_dir(data_dir) / api_keys.KEYS_FILE_NAME


@contextmanager
def _change(file: Path | None, data_dir: Path | None) -> Iterator[list[api_keys.ApiKey]]:
    try:
        with api_keys.change_keys(find_keys_file(file, data_dir)) as keys:
            yield keys
    except api_keys.KeyUnknown as error:
        raise ValueError(str(error.args[0])) from None


def _print_table(keys: tuple[api_keys.ApiKey, ...]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    table.add_column("id", no_wrap=True)
    table.add_column("label", overflow="fold")
    for column in ("scopes", "made", "state", "bounds"):
        table.add_column(column, overflow="fold")
    for key in keys:
        bounds = key.quotas.model_dump(exclude_none=True)
        said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in bounds.items())
        made = f"{key.created_at:%Y-%m-%d}"
        table.add_row(key.id, key.label, " ".join(key.scopes), made, _state(key), said or "none")
    Console().print(table)


def _state(key: api_keys.ApiKey) -> str:
    if key.revoked_at is not None:
        return f"revoked {key.revoked_at:%Y-%m-%d}"
    if key.expires_at is None:
        return "valid"
    valid = key.is_valid(now_utc())
    return f"{'valid until' if valid else 'expired'} {key.expires_at:%Y-%m-%d}"
