"""Sign-on as the app uses it: who holds a token, and how the page comes by one."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import anyio
from anyio import to_thread

from app.server.access.caller import Caller
from app.server.access.sign_on.bearer import (
    check_token,
    create_caller,
    is_signed,
    require_form,
)
from app.server.access.sign_on.configuration import SignOnSettings
from app.server.access.sign_on.issuer import Issuer
from app.server.access.sign_on.refusals import CodeRefused, IssuerAway, TokenRefused
from models.log import get_logger

_LOOK_S = 30.0
log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What the page needs to send somebody to the issuer."""

    authorization_endpoint: str
    parameters: Mapping[str, str]


class SignOn:
    """Checks tokens and exchanges codes.

    Args:
        settings: whose tokens are taken.
        issuer: what the issuer publishes. Default: fetched from it.
    """

    def __init__(self, settings: SignOnSettings, issuer: Issuer | None = None) -> None:
        self._settings = settings
        self._issuer = issuer or Issuer(settings)
        self._fetching = anyio.Lock()

    @property
    def settings(self) -> SignOnSettings:
        """Whose tokens are taken."""
        return self._settings

    def find_caller(self, token: str) -> Caller:
        """Who holds a token; asks nobody.

        Raises:
            TokenRefused: the token lets nobody in.
            IssuerAway: the issuer's keys were never fetched.
        """
        require_form(token)  # what is no token is refused, whether or not there are keys
        published = self._issuer.published
        if published is None:
            raise IssuerAway("the issuer's keys were never fetched")
        return create_caller(check_token(token, published, self._settings), self._settings)

    async def prepare(self, token: str) -> None:
        """Fetches keys if none that is kept signed this token; the issuer may have changed them.

        An issuer that is away changes nothing: the token is judged by the keys that are kept.
        """
        try:
            require_form(token)
        except TokenRefused:
            return
        if not self._is_signed(token):
            async with self._fetching:  # one fetch at a time, for which others wait
                if not self._is_signed(token) and self._issuer.may_fetch():
                    await self._fetch()

    def _is_signed(self, token: str) -> bool:
        published = self._issuer.published
        return published is not None and is_signed(token, published)

    async def keep_fresh(self) -> None:
        """Fetches keys when they are old. Runs while the app does."""
        while True:
            async with self._fetching:
                if self._issuer.is_stale() and self._issuer.may_fetch():
                    await self._fetch()
            await anyio.sleep(_LOOK_S)

    async def _fetch(self) -> None:
        try:
            await to_thread.run_sync(self._issuer.fetch)
        except IssuerAway as error:
            log.warning("issuer_away", reason=str(error))

    def offer(self) -> Offer | None:
        """How to sign in now; None if nobody knows yet where."""
        published, settings = self._issuer.published, self._settings
        if published is None:
            return None
        own = {"response_type": "code", "client_id": settings.client_id, "scope": settings.scope}
        return Offer(
            authorization_endpoint=published.authorization_endpoint,
            parameters={**settings.request, **own},
        )

    def exchange(self, code: str, verifier: str, redirect_uri: str) -> tuple[str, Caller]:
        """The token for a code that the issuer gave the page (RFC 6749, 4.1.3; RFC 7636, 4.5).

        The access token if it is one that this service can check, else the identity token.

        Raises:
            CodeRefused: there is no such token.
            IssuerAway: the issuer does not answer.
        """
        published = self._issuer.published or self._issuer.fetch()
        form = {
            **self._settings.request,
            "grant_type": "authorization_code",
            "client_id": self._settings.client_id,
            "code": code,
            "code_verifier": verifier,
            "redirect_uri": redirect_uri,
            **self._read_secret(),
        }
        status, answer = self._issuer.post(published.token_endpoint, form)
        if status != 200:
            raise CodeRefused("The issuer did not accept the code; sign in again.")
        return self._choose(answer)

    def _choose(self, answer: Mapping[str, Any]) -> tuple[str, Caller]:
        reasons = []
        for name in ("access_token", "id_token"):
            token = answer.get(name)
            if not isinstance(token, str):
                continue
            try:
                self._fetch_keys_of(token)
                caller = self.find_caller(token)
            except TokenRefused as error:
                reasons.append(f"{name}: {error}")
                continue
            if not caller.scopes:
                raise CodeRefused(
                    "You are signed in, but none of your groups may use this service."
                )
            return token, caller
        raise CodeRefused(
            "The issuer gave no token that this service takes. " + " ".join(reasons[:2])
        )

    def _fetch_keys_of(self, token: str) -> None:
        """Fetches keys if the issuer has changed the one that signs since they were fetched."""
        if not self._is_signed(token) and self._issuer.may_fetch():
            with suppress(IssuerAway):
                self._issuer.fetch()

    def _read_secret(self) -> dict[str, str]:
        path = self._settings.client_secret_file
        return {} if path is None else {"client_secret": path.read_text().strip()}
