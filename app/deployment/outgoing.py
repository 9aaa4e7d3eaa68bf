"""Checks what the app itself calls: the issuer of sign-on, and the receivers of webhooks."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import anyio

from app.deployment.checks import Check
from app.request.callback import Origin, parse_callback
from app.server.access.sign_on.configuration import SignOnSettings, SignOnUnusable
from app.server.access.sign_on.found import find_sign_on
from app.server.access.sign_on.refusals import IssuerAway
from app.server.jobs.webhooks.addresses import AddressRefused, Receivers, create_receivers
from app.server.jobs.webhooks.key_webhooks import (
    KeyWebhooks,
    WebhooksFileUnusable,
    find_webhooks_file,
    load_webhooks,
)
from app.server.jobs.webhooks.webhooks import require_usable
from app.settings import AppSettings


def check_issuer(path: Path | None) -> Iterator[Check]:
    """Asks the issuer for its keys, as the app does; nothing where people do not sign in.

    Args:
        path: the file of sign-on.
    """
    check = partial(Check, name="issuer")
    try:
        sign_on = find_sign_on(path)
    except SignOnUnusable as error:
        do = "correct the file that PROMPTSMOOTH_SIGN_ON_FILE names: the app does not start with it"
        yield check(verdict="fails", found=str(error), do=do)
        return
    if sign_on is not None:
        yield _ask(sign_on.settings)


def _ask(settings: SignOnSettings) -> Check:
    from app.server.access.sign_on.issuer import Issuer

    check = partial(Check, name="issuer")
    try:
        found = Issuer(settings.model_copy(update={"keys_cache": None})).fetch()
    except IssuerAway as error:
        do = (
            "let the app reach it, in containers with compose.sign-on.yml; until then nobody can "
            "sign in"
        )
        kept = Issuer(settings).published is not None
        said = f"{settings.issuer}: {error}" + "; its keys are in the cache" * kept
        return check(verdict="warning" if kept else "fails", found=said, do=do)
    number = len(found.keys.keys)
    return check(verdict="ok", found=f"{settings.issuer} answers; keys for signatures: {number}")


def check_webhooks(settings: AppSettings) -> Iterator[Check]:
    """Checks the files of webhooks and where they may go; connects to no receiver.

    Nothing where no key has webhooks and no receiver is allowed.

    Args:
        settings: of the app.
    """
    path = find_webhooks_file(settings.webhooks_file, settings.keys_file)
    try:
        require_usable(settings)
        own = () if path is None else load_webhooks(path).webhooks
    except WebhooksFileUnusable as error:
        do = "correct it: the app does not start with it"
        yield Check(name="webhooks", verdict="fails", found=str(error), do=do)
        return
    if not own and not settings.webhook_receivers:
        return
    receivers = create_receivers(settings)
    yield _check_file(path, own, receivers)
    for origin in _list_origins(own, receivers):
        yield anyio.run(_check_receiver, origin, receivers)


def _check_file(path: Path | None, own: tuple[KeyWebhooks, ...], receivers: Receivers) -> Check:
    check = partial(Check, name="webhooks", verdict="warning")
    if not own:
        return check(found="no key has a secret", do="make one with promptsmooth webhooks set")
    if not receivers.origins:
        found = f"keys with webhooks: {len(own)}; none may be delivered"
        return check(found=found, do="name the receivers in PROMPTSMOOTH_WEBHOOK_RECEIVERS")
    if path is not None and path.stat().st_mode & 0o007:
        return check(found="everyone may read the file of secrets", do=f"chmod o-rwx {path}")
    return check(verdict="ok", found=f"keys with webhooks: {len(own)}")


def _list_origins(own: tuple[KeyWebhooks, ...], receivers: Receivers) -> list[Origin]:
    """The origins that are named in full: those allowed, and those of default addresses."""
    allowed = [one for one in receivers.origins if not one.host.startswith("*.")]
    defaults = [parse_callback(one.url).origin for one in own if one.url is not None]
    return list(dict.fromkeys((*allowed, *defaults)))


async def _check_receiver(origin: Origin, receivers: Receivers) -> Check:
    check = partial(Check, name=f"receiver {origin}")
    if not receivers.allows_origin(origin):
        do = (
            "add its origin to PROMPTSMOOTH_WEBHOOK_RECEIVERS, or give the key another default "
            "address with promptsmooth webhooks set"
        )
        return check(verdict="fails", found="a key's default, and not allowed", do=do)
    try:
        addresses = await receivers.resolve(origin.host, origin.port)
    except AddressRefused as error:
        do = "correct the name, or name its private network in PROMPTSMOOTH_WEBHOOK_NETWORKS"
        return check(verdict="fails", found=str(error), do=do)
    return check(verdict="ok", found=f"may be called at {', '.join(addresses)}")
