"""Sign-on of the page: where people sign in, and the token for the code they come back with."""

from typing import TYPE_CHECKING, Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request, Response
from pydantic import Field

from app.server.access.sign_on.refusals import CodeRefused, IssuerAway
from app.server.answers.problems import NotFound, SignOnRefused, SignOnUnavailable
from worker.contract import Contract

if TYPE_CHECKING:
    from app.server.access.sign_on.sign_on import SignOn

router = APIRouter(include_in_schema=False)  # of the page alone; programs ask the issuer
_AT_ONCE = CapacityLimiter(4)
Text = Annotated[str, Field(min_length=1, max_length=4096)]


class Code(Contract):
    """What the page came back with from the issuer."""

    code: Text
    code_verifier: Text
    redirect_uri: Text


@router.get("/sign-on")
async def get_sign_on(request: Request) -> dict[str, Any]:
    """Whether people can sign in, and where."""
    sign_on = _find(request)
    offer = None if sign_on is None else sign_on.offer()
    if offer is None:
        return {"offered": False}
    return {
        "offered": True,
        "authorization_endpoint": offer.authorization_endpoint,
        "parameters": offer.parameters,
    }


@router.post("/sign-on")
async def exchange_code(request: Request, sent: Code, response: Response) -> dict[str, Any]:
    """The token for a code. It goes into `Authorization: Bearer` as a key does."""
    sign_on = _find(request)
    if sign_on is None:
        raise NotFound
    response.headers["Cache-Control"] = "no-store"
    try:
        token, caller = await to_thread.run_sync(
            sign_on.exchange, sent.code, sent.code_verifier, sent.redirect_uri, limiter=_AT_ONCE
        )
    except CodeRefused as error:
        raise SignOnRefused(str(error)) from None
    except IssuerAway:
        raise SignOnUnavailable from None
    return {"token": token, "scopes": sorted(caller.scopes)}


def _find(request: Request) -> "SignOn | None":
    found: SignOn | None = request.app.state.sign_on
    return found
