"""Checks a node beside the PACS: its settings, its rules, and whom it has to reach."""

import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial

from pydantic import ValidationError

from app.client import ClientError
from app.deployment.checks import Check
from app.deployment.variables import name_variable
from app.dicom.rules import Rules, RulesInvalid, load_rules
from app.dicom.service import create_client
from app.dicom.settings import DicomSettings
from models.files.audit_log import find_fault as find_log_fault

_FULL_SHARE = 0.8


def is_configured(environment: Mapping[str, str]) -> bool:
    """Whether a node is set up on this machine."""
    return any(
        name_variable(DicomSettings, name) in environment for name in DicomSettings.model_fields
    )


def examine_node(environment: Mapping[str, str] = os.environ) -> Iterator[Check]:
    """Runs all checks of a node; nothing where none of its settings is there."""
    if not is_configured(environment):
        return
    check = partial(Check, name="node")
    try:
        from app.dicom.network.node import quieten_libraries

        quieten_libraries()
        settings = DicomSettings()
    except ModuleNotFoundError as error:
        do = "install promptsmooth-service[dicom]"
        yield check(verdict="fails", found=f"{error.name} is not installed", do=do)
        return
    except ValidationError as error:
        named = ".".join(map(str, error.errors()[0]["loc"])) or "its settings"
        do = "correct PROMPTSMOOTH_DICOM_…: docs/settings.md"
        yield check(verdict="fails", found=f"{named} cannot be used", do=do)
        return
    yield _check_callers(settings)
    yield from _check_rules(settings)
    yield from _check_files(settings)
    yield _check_spool(settings)
    yield _check_service(settings)


def _check_callers(settings: DicomSettings) -> Check:
    name = "node's callers"
    if not settings.calling_ae:
        do = "name them in PROMPTSMOOTH_DICOM_CALLING_AE"
        return Check(name=name, verdict="fails", found="nobody may send", do=do)
    said = f"{len(settings.calling_ae)} AE titles may send to {settings.ae_title}"
    if settings.tls_certificate is None and settings.bind != "127.0.0.1":
        do = "set PROMPTSMOOTH_DICOM_TLS_CERTIFICATE where the network is not trusted"
        return Check(name=name, verdict="warning", found=f"{said}, without TLS", do=do)
    return Check(name=name, verdict="ok", found=said)


def _check_rules(settings: DicomSettings) -> Iterator[Check]:
    check = partial(Check, name="node's rules")
    try:
        rules = load_rules(settings.rules)
    except RulesInvalid as error:
        yield check(verdict="fails", found=str(error), do="correct the file of rules")
        return
    if any(r.pseudonymise for r in rules.rules) and settings.pseudonym_salt_file is None:
        do = "name a file of 16 secret bytes in PROMPTSMOOTH_DICOM_PSEUDONYM_SALT_FILE"
        yield check(verdict="fails", found="a rule asks for pseudonyms without a salt", do=do)
    else:
        yield check(verdict="ok", found=f"{len(rules.rules)} rules can be used")
    yield from _check_addresses(rules, settings)


def _check_addresses(rules: Rules, settings: DicomSettings) -> Iterator[Check]:
    from app.dicom.network.echo import find_fault

    named = [("destination", *one) for one in rules.destinations.items()]
    for kind, name, address in (*named, *(("source", *one) for one in rules.sources.items())):
        fault = find_fault(address, ae_title=settings.ae_title)
        check = partial(Check, name=f"{kind} {name}")
        if fault is None:
            yield check(verdict="ok", found="answers")
        else:
            do = f"correct it in the rules, or let it know the AE title {settings.ae_title}"
            yield check(verdict="fails", found=fault, do=do)


def _check_files(settings: DicomSettings) -> Iterator[Check]:
    files = (settings.api_key_file, settings.pseudonym_salt_file, settings.tls_key)
    for path in (one for one in files if one is not None):
        check = partial(Check, name=f"node's file {path.name}")
        if not path.is_file() or not os.access(path, os.R_OK):
            yield check(
                verdict="fails", found="it cannot be read", do="mount it, or correct its mode"
            )
        elif path.stat().st_mode & 0o007:
            yield check(verdict="warning", found="everyone may read it", do="chmod o-rwx")
    if settings.audit_log is not None and (fault := find_log_fault(settings.audit_log)):
        do = "free some space, or let the node's user write there; until then nothing is accepted"
        yield Check(name="node's audit log", verdict="fails", found=fault, do=do)


def _check_spool(settings: DicomSettings) -> Check:
    check = partial(Check, name="node's spool")
    if not settings.spool.is_dir():
        place = next(one for one in settings.spool.absolute().parents if one.exists())
        if not os.access(place, os.W_OK):
            return check(verdict="fails", found=f"{place} cannot be written to", do=_OWN_IT)
        return check(verdict="ok", found="none yet; the node makes it")
    if not os.access(settings.spool, os.W_OK):
        return check(verdict="fails", found="it cannot be written to", do=_OWN_IT)
    return _judge_spool(settings, check)


_OWN_IT = "make the node's user the owner of the folder"


def _judge_spool(settings: DicomSettings, check: "partial[Check]") -> Check:
    from app.dicom.program import open_spool

    with closing(open_spool(settings)) as spool:
        counted, kept = spool.count_states(), spool.count_bytes()
        draining = spool.is_draining()
    said = f"{kept / 1e6:.0f} MB of objects, {counted.get('owed', 0)} results owed"
    if dead := counted.get("dead", 0):
        do = "promptsmooth dicom status says why; promptsmooth dicom retry sets them going"
        return check(verdict="warning", found=f"{dead} dead letters", do=do)
    if draining:
        do = "promptsmooth dicom resume"
        return check(verdict="warning", found="the node drains and accepts nothing", do=do)
    if kept > _FULL_SHARE * settings.spool_bytes:
        do = "see what is owed, or raise PROMPTSMOOTH_DICOM_SPOOL_BYTES"
        return check(verdict="warning", found=f"nearly full: {said}", do=do)
    return check(verdict="ok", found=said)


def _check_service(settings: DicomSettings) -> Check:
    check = partial(Check, name="node's service")
    try:
        with create_client(settings) as client:
            client.models()
    except (ClientError, OSError, ValueError) as error:
        do = "correct PROMPTSMOOTH_DICOM_SERVER and …_API_KEY_FILE, or start the service"
        return check(verdict="fails", found=f"no answer for this key ({error})", do=do)
    return check(verdict="ok", found="answers")
