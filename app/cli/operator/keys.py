"""promptsmooth keys: who may use the service."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import get_data_dir
from app.cli.terminal import sentences
from app.server.access.api_keys import (
    KEYS_FILE_NAME,
    ApiKey,
    KeyUnknown,
    change_keys,
    create_key,
    find_index,
    hash_token,
    load_keys,
    now_utc,
)
from app.settings import Quotas

keys_cli = typer.Typer(
    name="keys",
    help="The keys of a service. Their file is the one that PROMPTSMOOTH_KEYS_FILE names, else "
    f"{KEYS_FILE_NAME} in the data folder, which promptsmooth up reads. It holds digests: a key is "
    "printed once, when it is made. A service that runs sees every change at once.",
    no_args_is_help=True,
)


class ScopeName(StrEnum):
    """What a key may do."""

    SUBMIT = "submit"
    READ = "read"
    ADMIN = "admin"


KeysFileOption = Annotated[
    Path | None,
    typer.Option(
        "--file",
        dir_okay=False,
        help=f"The file of keys.  (default: PROMPTSMOOTH_KEYS_FILE, else {KEYS_FILE_NAME} in the "
        "data folder)",
    ),
]
KeyId = Annotated[str, typer.Argument(metavar="ID", help="Id of a key: keys list shows them.")]


@keys_cli.command()
def add(
    label: Annotated[str, typer.Option(help="Whose key it is or what for; shown in lists.")],
    scope: Annotated[
        list[ScopeName] | None,
        typer.Option(
            help="submit: certify, learn, import prompts, and end or remove one's own. read: see "
            "one's own. admin: see and end everyone's. Repeatable.  (default: submit and read)"
        ),
    ] = None,
    expires_in_days: Annotated[
        int | None, typer.Option(min=1, max=36_500, help="Days it is valid.  (default: for ever)")
    ] = None,
    requests_per_minute: Annotated[
        int, typer.Option(min=0, help="Most requests a minute; 0: no bound.")
    ] = 600,
    jobs: Annotated[
        int, typer.Option(min=0, help="Most jobs that wait or run at a time; 0: no bound.")
    ] = 500,
    samples_per_day: Annotated[
        int, typer.Option(min=0, help="Most samples asked for in a day (UTC); 0: no bound.")
    ] = 0,
    file: KeysFileOption = None,
) -> None:
    """Make a key and print it, this once.

    The key alone goes to standard output, so that it can be piped to where it is kept.

    Examples:

      promptsmooth keys add --label "CT laboratory" > ct.key

      promptsmooth keys add --label "night run" --scope submit --scope read --jobs 5000

      promptsmooth keys add --label "operator" --scope admin --scope read --expires-in-days 365
    """
    now = now_utc()
    with sentences():
        path = find_keys_file(file)
        with change_keys(path) as keys:
            key, token = create_key(
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
        f"key {key.id} is in {path}; the line above is shown this once and stored nowhere",
        err=True,
    )


@keys_cli.command(name="list")
def list_keys(
    file: KeysFileOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List the keys: ids, labels, scopes, bounds and whether they are valid; never a key.

    Example:

      promptsmooth keys list
    """
    with sentences():
        path = find_keys_file(file)
        try:
            keys = load_keys(path).keys
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
def revoke(key_id: KeyId, file: KeysFileOption = None) -> None:
    """End a key now, for good. What it made stays, for keys with the scope admin.

    Example:

      promptsmooth keys revoke 3f9a1c2b
    """
    with sentences(), _change(file) as keys:
        index = find_index(keys, key_id)
        if keys[index].revoked_at is None:
            keys[index] = keys[index].model_copy(update={"revoked_at": now_utc()})
    typer.echo(f"key {key_id} is revoked")


@keys_cli.command()
def rotate(key_id: KeyId, file: KeysFileOption = None) -> None:
    """Replace a key by a new one of the same id, which sees all that the old one made.

    The old one ends at once. For a key that got lost, got known, or is old.

    Example:

      promptsmooth keys rotate 3f9a1c2b > ct.key
    """
    with sentences(), _change(file) as keys:
        index = find_index(keys, key_id)
        old = keys[index]
        if old.revoked_at is not None:
            raise ValueError(f"the key {key_id} is revoked, for good; make another: keys add")
        _, token = create_key(old.label, old.scopes, now=now_utc())
        token = token.replace(token.split("_")[1], key_id, 1)
        keys[index] = old.model_copy(update={"sha256": hash_token(token)})
    typer.echo(token)
    typer.echo(f"key {key_id} is a new one; the line above is shown this once", err=True)


def find_keys_file(given: Path | None) -> Path:
    """The file of keys that an option, the settings or the data folder name."""
    from app.settings import AppSettings

    return given or AppSettings().keys_file or get_data_dir(None) / KEYS_FILE_NAME


@contextmanager
def _change(file: Path | None) -> Iterator[list[ApiKey]]:
    try:
        with change_keys(find_keys_file(file)) as keys:
            yield keys
    except KeyUnknown as error:
        raise ValueError(str(error.args[0])) from None


def _print_table(keys: tuple[ApiKey, ...]) -> None:
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


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return f"revoked {key.revoked_at:%Y-%m-%d}"
    if key.expires_at is None:
        return "valid"
    valid = key.is_valid(now_utc())
    return f"{'valid until' if valid else 'expired'} {key.expires_at:%Y-%m-%d}"
