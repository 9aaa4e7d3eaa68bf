"""Learned prompts: list, show, import and remove."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Response
from redis import Redis
from starlette.responses import JSONResponse

from app.request.targets import check_name_lengths
from app.server.access.caller import Caller, Reader, Submitter
from app.server.answers import problems
from app.server.answers.etag import NOT_MODIFIED, REVALIDATED, IfNoneMatch, answer_json, tagged
from app.server.answers.prompts import PromptList, PromptView, prompt_path, prompt_view
from app.server.audit_log.entries import describe_prompt
from app.server.forms.items import take_only
from app.server.forms.multipart import FormRoute
from app.server.forms.prompts import REPEATABLE, RULES, ImportForm
from app.server.jobs.import_prompt import create_prompt
from app.server.routes.dependencies import RedisDep, ServicesDep, SettingsDep
from models.prompts.cards import PromptCard
from models.prompts.catalogue import ships
from models.prompts.ctx_file import write_ctx
from models.prompts.prompt import Prompt
from worker.contract.prompt import EncodedPrompt
from worker.store import prompts
from worker.store.durable import one_connection, wait_durable

router = APIRouter(prefix="/prompts", tags=["prompts"], route_class=FormRoute)

_FOUND: dict[int | str, dict[str, Any]] = {
    **NOT_MODIFIED,
    **problems.describe(problems.PromptNotFound, problems.QueueUnavailable),
}
_SAFETENSORS = "application/octet-stream"
ModelFilter = Annotated[str | None, Query(description="Only prompts for the model of this id.")]


@router.get(
    "",
    response_model=PromptList,
    responses={**NOT_MODIFIED, **problems.describe(problems.QueueUnavailable)},
)
def list_prompts(
    redis: RedisDep,
    caller: Reader,
    model: ModelFilter = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The learned and imported prompts that every worker can use now.

    A prompt that was adapted to one image is not listed; its certificate names it.
    """
    cards = prompts.list_cards(redis, view=caller.view)
    shown = PromptList(prompts=tuple(prompt_view(c) for c in cards if model in (None, c.model)))
    return answer_json(shown, if_none_match)


@router.get("/{prompt_id}", response_model=PromptView, responses=_FOUND)
def get_prompt(
    prompt_id: str, redis: RedisDep, caller: Reader, if_none_match: IfNoneMatch = None
) -> Response:
    """One prompt, by its id or its digest: what it was made for, and what made it."""
    return answer_json(prompt_view(_find_card(redis, prompt_id, caller)), if_none_match)


@router.get("/{prompt_id}/ctx", response_model=EncodedPrompt, responses=_FOUND)
def get_ctx(
    prompt_id: str, redis: RedisDep, caller: Reader, if_none_match: IfNoneMatch = None
) -> Response:
    """The values of a prompt: float32, least significant byte first, in base64."""
    return answer_json(_find_prompt(redis, prompt_id, caller), if_none_match)


@router.get(
    "/{prompt_id}/ctx.safetensors",
    response_class=Response,
    responses={
        **_FOUND,
        200: {"content": {_SAFETENSORS: {}}, "description": "One tensor, ctx, (n_ctx, width)"},
    },
)
def get_safetensors(
    prompt_id: str, redis: RedisDep, caller: Reader, if_none_match: IfNoneMatch = None
) -> Response:
    """The values of a prompt as a safetensors file, the words after the class name as metadata."""
    prompt = _find_prompt(redis, prompt_id, caller).decode()
    file = Response(write_ctx(prompt.ctx, prompt.suffix), media_type=_SAFETENSORS)
    return tagged(file, if_none_match, cache=REVALIDATED)


@router.post(
    "",
    status_code=201,
    response_model=PromptView,
    dependencies=[take_only(RULES, REPEATABLE)],
    responses={
        **problems.describe(
            problems.FormUnreadable,
            problems.PromptIdTaken,
            *problems.OF_A_BODY,
            problems.PromptFormatUnsupported,
            problems.ModelUnknown,
            problems.PromptInvalid,
            problems.QueueUnavailable,
        ),
        200: {"model": PromptView, "description": "It was there already, with this card"},
        201: {"description": "Imported: every worker can use it now"},
    },
)
def import_prompt(
    form: Annotated[ImportForm, Form(media_type="multipart/form-data")],
    services: ServicesDep,
    caller: Submitter,
) -> Response:
    """Imports context vectors that were learned elsewhere; every worker can use them at once.

    Your key alone sees them; what a key with the scope admin brings is everyone's.
    """
    check_name_lengths(form.class_name, most=services.settings.max_class_name_chars)
    card, prompt = create_prompt(form, services.catalogue)
    services.audit.record("prompt.accepted", **describe_prompt(card))
    stands = store_prompt(services.redis, card, prompt, owner=caller.view)
    return JSONResponse(
        prompt_view(stands).model_dump(mode="json"),
        status_code=201 if stands.created_at == card.created_at else 200,
        headers={"Location": prompt_path(card.id)},
    )


@router.delete(
    "/{prompt_id}",
    status_code=204,
    response_class=Response,
    responses=problems.describe(
        problems.PromptNotFound,
        problems.PromptShips,
        problems.PromptKept,
        problems.QueueUnavailable,
    ),
)
def remove_prompt(
    prompt_id: str, redis: RedisDep, settings: SettingsDep, caller: Submitter
) -> None:
    """Removes a prompt, by its id.

    Certificates made with it stay valid: they name its digest. Its id names no other prompt from
    now on. Jobs accepted before still find its values. A prompt that lies in a worker host's
    folder comes back when that host starts: remove it there too (promptsmooth prompts remove).
    """
    if ships(prompt_id):
        raise problems.PromptShips
    if prompts.is_adapted_id(prompt_id):
        raise problems.PromptKept
    _find_card(redis, prompt_id, caller)
    if caller.view is not None and prompts.find_owner(redis, prompt_id) is None:
        raise problems.ScopeMissing(
            "This prompt is shared; only a key with the scope admin can remove it."
        )
    if not prompts.remove(redis, prompt_id, ttl_s=settings.image_ttl_s):
        raise problems.PromptNotFound


def store_prompt(
    redis: Redis, card: PromptCard, prompt: Prompt, *, owner: str | None
) -> PromptCard:
    """Stores a prompt durably and returns the stored card.

    Raises:
        Problem: the id belongs to another prompt or is reserved.
    """
    try:
        with one_connection(redis) as connection:
            stands = prompts.put_prompt(connection, card, prompt, owner=owner)
            wait_durable(connection)
    except prompts.PromptIdReserved:
        expected = "an id that neither begins with zero-shot- nor is 64 hexadecimal digits"
        raise problems.invalid("id", expected) from None
    except prompts.PromptIdTaken:
        raise problems.PromptIdTaken from None
    return stands


def _find_card(redis: Redis, name: str, caller: Caller) -> PromptCard:
    card = prompts.find_card(redis, name, view=caller.view)
    if card is None:
        raise problems.PromptNotFound
    return card


def _find_prompt(redis: Redis, name: str, caller: Caller) -> EncodedPrompt:
    prompt = prompts.find_prompt(redis, _find_card(redis, name, caller).sha256)
    if prompt is None:
        raise problems.PromptNotFound
    return prompt
