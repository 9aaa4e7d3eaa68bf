"""What a person is called: an owner like a key, whose name tells nothing of who they are."""

import hashlib
import re

_FORM = re.compile(r"oidc-[0-9a-f]{24}")


def name_owner(issuer: str, subject: str) -> str:
    """Whose data it is: the same person has the same name for ever, and the name tells nothing."""
    named = f"{issuer} {subject}".encode(errors="surrogatepass")  # JSON may hold lone surrogates
    return f"oidc-{hashlib.sha256(named).hexdigest()[:24]}"


def is_person(owner: str) -> bool:
    """Whether an owner is a person of an issuer, and no key."""
    return _FORM.fullmatch(owner) is not None
