"""promptsmooth webhooks: where the end of a key's jobs is told, and with which secret."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from app.cli.operator.keys import find_keys_file
from app.cli.options import DataDir
from app.cli.terminal import sentences
from app.server.access import api_keys
from app.server.access.operator_file import now_utc
from app.server.access.sign_on.people import is_person
from app.server.jobs.webhooks import key_webhooks
from worker.contract import ANONYMOUS

webhooks_cli = typer.Typer(
    name="webhooks",
    help="Webhooks of a service: messages to an address when a job has ended. Each key "
    "has a secret that signs its messages, in the file that PROMPTSMOOTH_WEBHOOKS_FILE names, else "
    f"in {key_webhooks.WEBHOOKS_FILE_NAME} beside the keys file. A running service sees every "
    "change at once.",
    no_args_is_help=True,
)

KeyId = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help=f"Id of a key or of a person who signs in (oidc-…), or {ANONYMOUS}: whoever comes "
        "without a key, if none is needed.",
    ),
]
FileOption = Annotated[
    Path | None,
    typer.Option(
        "--file",
        dir_okay=False,
        help="The webhooks file.  (default: PROMPTSMOOTH_WEBHOOKS_FILE, else beside the keys file)",
    ),
]


@webhooks_cli.command(name="set")
def set_webhooks(
    key_id: KeyId,
    url: Annotated[
        str | None,
        typer.Option(help="Default address of the key's webhooks; none: only those that name one."),
    ] = None,
    file: FileOption = None,
    data_dir: DataDir = None,
) -> None:
    """Give a key webhooks, or change its default address. Prints the secret of a new one.

    The receiver needs the secret; whoever has it can forge messages.

    Examples:

      promptsmooth webhooks set 3f9a1c2b > ris.secret

      promptsmooth webhooks set 3f9a1c2b --url https://ris.hospital.example/hooks
    """
    now = now_utc()
    with sentences():
        _require_key(key_id, data_dir)
        path = _find_file(file, data_dir)
        with key_webhooks.change_webhooks(path) as found:
            old = found.get(key_id)
            secret = key_webhooks.create_secret(now)
            own = old or key_webhooks.KeyWebhooks(key_id=key_id, secrets=(secret,))
            found[key_id] = own.with_url(url)
    if old is None:
        typer.echo(secret.secret)
    typer.echo(f"the webhooks of {key_id} are in {path}", err=True)


@webhooks_cli.command()
def rotate(
    key_id: KeyId,
    overlap_hours: Annotated[
        float,
        typer.Option(min=0, max=24 * 90, help="Hours for which the old secret signs too; 0: none."),
    ] = 24,
    file: FileOption = None,
    data_dir: DataDir = None,
) -> None:
    """Replace the secret of a key's webhooks and print the new one.

    Until the overlap ends, messages carry a signature of both, so receivers can change in peace.

    Example:

      promptsmooth webhooks rotate 3f9a1c2b --overlap-hours 48 > ris.secret
    """
    now = now_utc()
    with sentences(), key_webhooks.change_webhooks(_find_file(file, data_dir)) as found:
        own = _require(found, key_id).rotate(now, overlap=timedelta(hours=overlap_hours))
        found[key_id] = own
    typer.echo(own.secrets[0].secret)


@webhooks_cli.command()
def remove(key_id: KeyId, file: FileOption = None, data_dir: DataDir = None) -> None:
    """Remove the webhooks of a key. Those that wait are not delivered any more.

    Example:

      promptsmooth webhooks remove 3f9a1c2b
    """
    with sentences(), key_webhooks.change_webhooks(_find_file(file, data_dir)) as found:
        _require(found, key_id)
        del found[key_id]
    typer.echo(f"{key_id} has no webhooks")


@webhooks_cli.command(name="list")
def list_webhooks(
    file: FileOption = None,
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List the keys that have webhooks; never a secret.

    Example:

      promptsmooth webhooks list
    """
    now = now_utc()
    with sentences():
        found = key_webhooks.load_webhooks(_find_file(file, data_dir)).webhooks
    shown = [
        {"key_id": one.key_id, "url": one.url, "secrets": len(one.list_secrets(now))}
        for one in found
    ]
    if as_json:
        typer.echo(json.dumps(shown, indent=2))
        return
    for one in shown:
        number = "1 secret" if one["secrets"] == 1 else f"{one['secrets']} secrets"
        typer.echo(f"{one['key_id']}  {number}  {one['url'] or 'no default address'}")


@webhooks_cli.command(name="test")
def send_test(
    server: Annotated[
        str, typer.Option(envvar="PROMPTSMOOTH_SERVER", help="Address of the service.")
    ],
    callback_url: Annotated[
        str | None, typer.Option(help="Where to.  (default: the default of the key)")
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="File with the API key.  (default: the variable PROMPTSMOOTH_API_KEY)",
        ),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Authorities to trust (PEM)."),
    ] = None,
) -> None:
    """Have the service send a signed test message now. Exit status 1 if it was not delivered.

    Example:

      promptsmooth webhooks test --server https://certify.hospital.example
    """
    from app.cli.certify_remotely import open_client

    with sentences(), open_client(server, api_key_file=api_key_file, ca=ca) as client:
        found = client.test_webhook(callback_url=callback_url)
    if not found["delivered"]:
        typer.echo(f"{found['message_id']} was not delivered: {found['detail']}", err=True)
        raise typer.Exit(1)
    typer.echo(f"{found['message_id']} was delivered: the receiver answered {found['status']}")


def _find_file(given: Path | None, data_dir: Path | None) -> Path:
    from app.settings import AppSettings

    named = given or (AppSettings().webhooks_file if data_dir is None else None)
    return named or find_keys_file(None, data_dir).with_name(key_webhooks.WEBHOOKS_FILE_NAME)


def _require_key(key_id: str, data_dir: Path | None) -> None:
    """Raises ValueError unless there is a key with this id. An id may have been mistyped."""
    if key_id == ANONYMOUS or is_person(key_id):
        return
    path = find_keys_file(None, data_dir)
    try:
        api_keys.find_index(list(api_keys.load_keys(path).keys), key_id)
    except (FileNotFoundError, api_keys.KeyUnknown):
        raise ValueError(f"{path} has no key {key_id!r}; see promptsmooth keys list") from None


def _require(found: dict[str, key_webhooks.KeyWebhooks], key_id: str) -> key_webhooks.KeyWebhooks:
    if key_id not in found:
        raise ValueError(f"{key_id} has no webhooks; see promptsmooth webhooks list")
    return found[key_id]
