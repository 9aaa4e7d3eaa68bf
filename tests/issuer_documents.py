"""What an issuer of OpenID Connect publishes: its discovery document and its keys."""

from collections.abc import Iterable

from joserfc.jwk import Key


def create_documents(url: str, keys: Iterable[Key]) -> dict[str, dict[str, object]]:
    """The documents of the issuer at this address, by their paths; of keys, the public parts."""
    return {
        "/.well-known/openid-configuration": {
            "issuer": url,
            "authorization_endpoint": f"{url}/authorize",
            "token_endpoint": f"{url}/token",
            "jwks_uri": f"{url}/keys",
        },
        "/keys": {"keys": [key.as_dict(private=False) for key in keys]},
    }
