"""Signatures over certificates: Ed25519 over canonical JSON (RFC 8785).

The signing key is derived from the key secret, so that all hosts sign alike and the backup of one
file is enough. A signature says that the service made a document and that nobody changed it since;
it does not say that the document is right: an audit does.
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from worker.certification.audit import Finding
from worker.contract.certificate.document import FinishedResult, Signature
from worker.contract.request import canonical_bytes

SIGNED_FIELDS = (
    "schema_version",
    "model",
    "input",
    "certificates",
    "provenance",
    "research_use_only",
)


def create_signing_key(secret: bytes) -> Ed25519PrivateKey:
    """The signing key that belongs to a key secret."""
    info = b"promptsmooth certificate signature 1"
    seed = HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(secret)
    return Ed25519PrivateKey.from_private_bytes(seed)


def encode_public_key(key: Ed25519PublicKey) -> str:
    """The 32 bytes of a public key in base64."""
    return base64.b64encode(key.public_bytes_raw()).decode()


def parse_public_key(text: str) -> str:
    """A public key as somebody typed it, in base64. Raises ValueError if it is none."""
    try:
        return encode_public_key(
            Ed25519PublicKey.from_public_bytes(base64.b64decode(text.strip(), validate=True))
        )
    except ValueError:
        raise ValueError("a public key is 32 bytes in base64; another text came") from None


def sign(result: FinishedResult, secret: bytes) -> FinishedResult:
    """The result with its signature; one that it had is replaced."""
    signature = create_signature(_signed_bytes(result.model_dump(mode="json")), secret)
    return result.model_copy(update={"signature": signature})


def create_signature(signed: bytes, secret: bytes) -> Signature:
    """The signature of bytes under the key that belongs to a secret."""
    key = create_signing_key(secret)
    return Signature(
        public_key=encode_public_key(key.public_key()),
        value=base64.b64encode(key.sign(signed)).decode(),
    )


def _signed_bytes(document: Mapping[str, Any]) -> bytes:
    return canonical_bytes({name: document[name] for name in SIGNED_FIELDS})


def check_signature(document: Mapping[str, Any], trusted_keys: tuple[str, ...]) -> Finding:
    """Whether a document is as one of the trusted keys signed it.

    Args:
        document: a finished certification, parsed from JSON; further fields are ignored.
        trusted_keys: public keys in base64, as `GET /keys/signing` gives them. Without any, the
            key in the document itself is tried, and the sentence says what that is worth.
    """
    return check_signed(document, _signed_bytes, trusted_keys)


def check_signed(
    document: Mapping[str, Any],
    get_signed: Callable[[Mapping[str, Any]], bytes],
    trusted_keys: tuple[str, ...],
    *,
    signer: str = "the service",
    published: str = "the service publishes at /keys/signing",
) -> Finding:
    """Whether one of the trusted keys signed a document of any kind.

    Args:
        document: an object with the field `signature`, parsed from JSON.
        get_signed: the bytes of a document that are signed; raises KeyError, TypeError or
            ValueError where it has none.
        trusted_keys: as `check_signature` takes them.
        signer: who is called the signer of such a document.
        published: how that signer makes its key known.
    """

    def finding(holds: bool, sentence: str) -> Finding:
        return Finding(code="signature", holds=holds, sentence=sentence)

    try:
        signature = document["signature"]
        value = base64.b64decode(signature["value"], validate=True)
        signed = get_signed(document)
        raw = base64.b64decode(signature["public_key"], validate=True)
        key = Ed25519PublicKey.from_public_bytes(raw)
        key_text = encode_public_key(key)
        if signature["algorithm"] != "Ed25519":
            raise ValueError("another algorithm")
    except (KeyError, TypeError, ValueError):
        return finding(False, "The document has no signature that can be read.")
    if trusted_keys and key_text not in trusted_keys:
        return finding(False, f"The signature is by another key than {signer}'s.")
    try:
        key.verify(value, signed)
    except InvalidSignature:
        return finding(False, "The document was changed after it was signed.")
    if not trusted_keys:
        return finding(
            True,
            f"The document is as the key {key_text} signed it; compare that key with the one "
            f"{published}.",
        )
    return finding(True, f"The document is as {signer} signed it.")
