"""Why nobody is let in, and the form of a token; knows no library of tokens."""

_MAX_CHARACTERS = 16_384


class TokenRefused(ValueError):
    """The token is not one that lets anybody in; the message says why and quotes nothing of it."""


class CodeRefused(ValueError):
    """The issuer gave no token for a code, or none that lets anybody in."""


class IssuerAway(OSError):
    """The issuer does not answer, or not as OpenID Connect Discovery 1.0 says."""


def looks_like_token(text: str) -> bool:
    """Whether a credential has the form of a signed token (JWS) and not that of a key."""
    return text.count(".") == 2 and len(text) <= _MAX_CHARACTERS
