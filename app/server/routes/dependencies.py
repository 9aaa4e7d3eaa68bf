"""The dependencies of endpoints, as named types."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Path, Request
from redis import Redis

from app.server.access.caller import Reader, Submitter
from app.server.access.owned_records import OwnedRecords
from app.server.answers.problems import BatchUnknown, CertificationUnknown, FieldRepeated
from app.server.forms.certify_body import CertifyBody, parse_body
from app.server.jobs.lookup import find_batch_jobs, find_visible_job
from app.server.jobs.services import Services
from app.server.middleware.body_limits import HeldBody
from app.settings import AppSettings
from worker.contract import CertificationJob as Job
from worker.store.jobs.damaged import RecordDamaged

_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Damaged:
    """A certification that the caller may end, whose job cannot be read."""

    id: str


def _get_services(request: Request) -> Services:
    services: Services = request.state.services
    return services


ServicesDep = Annotated[Services, Depends(_get_services)]


def _get_redis(services: ServicesDep) -> Redis:
    return services.redis


def _get_settings(services: ServicesDep) -> AppSettings:
    return services.settings


def _check_certification_id(certification_id: Annotated[str, Path()]) -> str:
    if not _ID.fullmatch(certification_id):
        raise CertificationUnknown
    return certification_id


def _check_batch_id(batch_id: Annotated[str, Path()]) -> str:
    if not _ID.fullmatch(batch_id):
        raise BatchUnknown
    return batch_id


def _get_owned(request: Request) -> OwnedRecords:
    owned: OwnedRecords = request.app.state.owned
    return owned


OwnedRecordsDep = Annotated[OwnedRecords, Depends(_get_owned)]
RedisDep = Annotated[Redis, Depends(_get_redis)]
SettingsDep = Annotated[AppSettings, Depends(_get_settings)]


_CertificationId = Annotated[str, Depends(_check_certification_id)]
_BatchId = Annotated[str, Depends(_check_batch_id)]


def _find_job(certification_id: _CertificationId, redis: RedisDep, caller: Reader) -> Job:
    return find_visible_job(redis, certification_id, caller)


def _find_own_job(certification_id: _CertificationId, redis: RedisDep, caller: Submitter) -> Job:
    return find_visible_job(redis, certification_id, caller)


def _find_job_to_end(
    certification_id: _CertificationId, redis: RedisDep, caller: Submitter
) -> Job | Damaged:
    try:
        return find_visible_job(redis, certification_id, caller)
    except RecordDamaged:
        return Damaged(certification_id)


def _find_jobs(batch_id: _BatchId, redis: RedisDep, caller: Reader) -> tuple[Job, ...]:
    return find_batch_jobs(redis, batch_id, caller)


def _find_own_jobs(batch_id: _BatchId, redis: RedisDep, caller: Submitter) -> tuple[Job, ...]:
    return find_batch_jobs(redis, batch_id, caller)


JobDep = Annotated[Job, Depends(_find_job)]
"""The certification in the path, for reading."""
OwnJobDep = Annotated[Job, Depends(_find_own_job)]
"""The certification in the path, for changing something: needs the scope that submits."""
JobToEndDep = Annotated[Job | Damaged, Depends(_find_job_to_end)]
"""The same, for ending it; its record may be damaged."""
BatchJobsDep = Annotated[tuple[Job, ...], Depends(_find_jobs)]
OwnBatchJobsDep = Annotated[tuple[Job, ...], Depends(_find_own_jobs)]
_Prefer = Annotated[
    str | None,
    Header(
        alias="Prefer",
        description="`wait=N`: answer with the certificates if they are there within N seconds "
        "(RFC 7240), else with 202 as usual.",
    ),
]


def _list_preferences(request: Request, _: _Prefer = None) -> list[str]:
    return request.headers.getlist("prefer")


PreferHeader = Annotated[list[str], Depends(_list_preferences)]
"""Every such header of the request."""
_IdempotencyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="A name of the client's choice for this request, 1 to 255 visible characters. "
        "The same name with the same request leads to the same certification, however often it is "
        "sent (draft-ietf-httpapi-idempotency-key-header).",
    ),
]


def _find_idempotency_key(request: Request, key: _IdempotencyHeader = None) -> str | None:
    if len(request.headers.getlist("idempotency-key")) > 1:
        raise FieldRepeated("Expected the header Idempotency-Key at most once; nothing was queued.")
    return key


IdempotencyKey = Annotated[str | None, Depends(_find_idempotency_key)]


async def _parse(request: Request, services: ServicesDep) -> AsyncIterator[CertifyBody]:
    try:
        asked = await parse_body(request, services.settings)
        try:
            yield asked
        finally:
            asked.forget()
    finally:
        await request.close()  # a form's files


async def let_go(request: Request, asked: CertifyBody) -> None:
    """Drops what the body held, before a wait that does not need it."""
    asked.forget()
    await request.close()
    body: HeldBody = request.state.held_body
    body.let_go()


AskedDep = Annotated[CertifyBody, Depends(_parse)]
