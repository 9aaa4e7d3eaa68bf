"""Checks a bearer token (RFC 7519, RFC 9068) against the issuer's keys; asks nobody."""

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from joserfc import jws, jwt
from joserfc.errors import (
    BadSignatureError,
    ExpiredTokenError,
    InvalidClaimError,
    JoseError,
    MissingClaimError,
)

from app.server.access.caller import Caller
from app.server.access.sign_on.configuration import SignOnSettings
from app.server.access.sign_on.issuer import Published
from app.server.access.sign_on.people import name_owner
from app.server.access.sign_on.refusals import TokenRefused

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
ALGORITHMS += ["EdDSA", "Ed25519"]
"""Signatures by a private key: nobody who knows the public one can make them."""
_UNREADABLE = (JoseError, ValueError, TypeError, RecursionError)


def require_form(token: str) -> None:
    """Raises TokenRefused for what is no token."""
    try:
        jws.extract_compact(token.encode())
    except (JoseError, ValueError):
        raise TokenRefused("It is not a signed token (JWS).") from None


@lru_cache(maxsize=256)  # asked twice in each request, the first time on the event loop
def _read_claims(token: str, published: Published) -> Mapping[str, Any]:
    """What a token says that one of the issuer's keys signed, for whatever service and moment."""
    return jwt.decode(token, published.keys, algorithms=ALGORITHMS).claims


def is_signed(token: str, published: Published) -> bool:
    """Whether one of the issuer's keys signed a token, for whatever service and moment."""
    try:
        _read_claims(token, published)
    except _UNREADABLE:
        return False
    return True


def check_token(
    token: str, published: Published, settings: SignOnSettings, *, now: float | None = None
) -> Mapping[str, Any]:
    """The claims of a token that the issuer signed, for this service and for this moment.

    Args:
        token: as it came.
        published: the issuer's public keys.
        settings: who must have issued it, for whom, and how far clocks may differ.
        now: seconds since 1970; default: the clock's.

    Raises:
        TokenRefused: something of that does not hold.
    """
    registry = jwt.JWTClaimsRegistry(
        now=int(time.time() if now is None else now),
        leeway=settings.clock_skew_s,
        iss={"essential": True, "value": settings.issuer},
        aud={"essential": True, "values": list(settings.audiences)},
        exp={"essential": True},
        sub={"essential": True},
    )
    try:
        claims = _read_claims(token, published)
        registry.validate(dict(claims))
    except _UNREADABLE as error:
        raise TokenRefused(_explain(error)) from None
    return claims


def _explain(error: Exception) -> str:
    match error:
        case BadSignatureError():
            return "Its signature is not the issuer's."
        case ExpiredTokenError():
            return "It has expired; sign in again or ask for a new one."
        case MissingClaimError() | InvalidClaimError():
            return _CLAIMS.get(error.claim, "A claim of it is not as it must be.")
    return "It is not a token that this service can check, or names a key that the issuer lacks."


_CLAIMS = {
    "iss": "It comes from another issuer.",
    "aud": "It is for another service (aud).",
    "exp": "It does not say when it expires (exp).",
    "sub": "It does not say whose it is (sub).",
    "nbf": "It is not valid yet: the clocks differ, or it was made for later.",
    "iat": "It was made in the future: the clocks differ.",
}


def create_caller(claims: Mapping[str, Any], settings: SignOnSettings) -> Caller:
    """Who holds a token whose claims were checked, and what their groups may do.

    Raises:
        TokenRefused: it does not say whose it is.
    """
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        raise TokenRefused(_CLAIMS["sub"])
    listed = claims.get(settings.groups_claim, ())
    groups = [listed] if isinstance(listed, str) else listed if isinstance(listed, list) else []
    named = {group for group in groups if isinstance(group, str)}
    scopes = {scope for group in named for scope in settings.groups.get(group, ())}
    return Caller(name_owner(settings.issuer, subject), frozenset(scopes), settings.quotas)
