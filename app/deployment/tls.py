"""The certificates of the proxy and of Redis: the operator's own, or self-signed ones."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from models.files.whole_file import write_whole

CERTIFICATE_NAME, KEY_NAME = "server.crt", "server.key"
SELF_SIGNED_DAYS = 397
RENEW_DAYS = 30
_ORGANIZATION = "promptsmooth, self-signed"


class TlsUnusable(Exception):
    """The certificate files cannot be used; the sentence says what to do."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A certificate chain and its key. They match and are valid now."""

    chain_pem: bytes
    key_pem: bytes
    leaf: x509.Certificate

    @property
    def is_ours(self) -> bool:
        """Whether `create_self_signed` made this certificate."""
        names = self.leaf.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        return [name.value for name in names] == [_ORGANIZATION]

    def days_left(self, now: datetime) -> int:
        """Whole days until the certificate expires."""
        return (self.leaf.not_valid_after_utc - now).days


def load_pair(folder: Path, now: datetime) -> Pair | None:
    """Loads the pair in `folder`; None if neither file exists.

    Raises:
        TlsUnusable: one file is missing or unreadable, the key does not match, or the certificate
            is not valid now.
    """
    paths = folder / CERTIFICATE_NAME, folder / KEY_NAME
    if not any(path.exists() for path in paths):
        return None
    chain_pem, key_pem = (_read(path) for path in paths)
    try:
        leaf = x509.load_pem_x509_certificates(chain_pem)[0]
        key = load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError) as error:
        raise TlsUnusable(
            f"{folder}: expected a PEM chain and an unencrypted PEM key: {error}"
        ) from error
    if _spki(key.public_key()) != _spki(leaf.public_key()):
        raise TlsUnusable(
            f"{folder}: {KEY_NAME} is not the key of the first certificate in {CERTIFICATE_NAME}; "
            "the server's own certificate comes first, then those that signed it"
        )
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        raise TlsUnusable(
            f"{folder}: the certificate is valid from {leaf.not_valid_before_utc:%Y-%m-%d} to "
            f"{leaf.not_valid_after_utc:%Y-%m-%d}, and today is {now:%Y-%m-%d}"
        )
    return Pair(chain_pem=chain_pem, key_pem=key_pem, leaf=leaf)


def make_tls(
    folder: Path,
    *,
    own: Path | None,
    names: Sequence[str],
    now: datetime,
    renew: bool = False,
    key_mode: int = 0o400,
) -> Pair:
    """Puts a pair into `folder` and returns it: the operator's own if there is one, else
    self-signed.

    A self-signed pair is kept until it has fewer than `RENEW_DAYS` days left, is for other names,
    or `renew` is set.

    Raises:
        TlsUnusable: the own pair cannot be used; `folder` is left unchanged.
    """
    pair = None if own is None else load_pair(own, now)
    if pair is None:
        stands = None if renew else _find_usable(folder, names, now)
        if stands is not None:
            return stands
        pair = create_self_signed(names, now)
    folder.mkdir(exist_ok=True)
    write_whole(folder / KEY_NAME, pair.key_pem, mode=key_mode)
    write_whole(folder / CERTIFICATE_NAME, pair.chain_pem, mode=0o444)
    return pair


def create_self_signed(names: Sequence[str], now: datetime) -> Pair:
    """Creates a P-256 key and a self-signed certificate for `names`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64]),
        ]
    )
    leaf = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks differ between machines
        .not_valid_after(now + timedelta(days=SELF_SIGNED_DAYS))
        .add_extension(x509.SubjectAlternativeName(list(map(_general_name, names))), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )
    return Pair(
        chain_pem=leaf.public_bytes(Encoding.PEM),
        key_pem=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        leaf=leaf,
    )


def _find_usable(folder: Path, names: Sequence[str], now: datetime) -> Pair | None:
    """The existing self-signed pair, unless it must be replaced."""
    try:
        pair = load_pair(folder, now)
    except TlsUnusable:
        return None
    if pair is None or not pair.is_ours or pair.days_left(now) < RENEW_DAYS:
        return None
    found = pair.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return pair if list(found) == list(map(_general_name, names)) else None


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsUnusable(
            f"{path} cannot be read ({error.strerror}); it must exist and be readable by uid "
            "10001, for example install -o 10001 -m 0400"
        ) from error
