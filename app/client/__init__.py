"""A client of the service, for programs: submit, wait with progress, certify folders, verify.

    from app.client import Client

    with Client("https://certify.hospital.example", api_key=key, verify="lab-ca.pem") as client:
        job = client.certify(Path("scan.dcm"), sigma=["0.25", "0.5"])
        for certificate in job.certificates:
            print(certificate.sigma, certificate.outcome, certificate.radius)

`AsyncClient` has the same methods as coroutines. Both can be used again after an error. Every
submission carries an Idempotency-Key, so sending it again returns the same job.
"""

from app.client.answers import Certificate, Certification
from app.client.concurrent import AsyncClient
from app.client.errors import (
    ClientError,
    FileUnreadable,
    KeyUnusable,
    NotFinished,
    ServiceRefused,
    ServiceUnreachable,
    UnsafeAddress,
)
from app.client.events import Event
from app.client.folder import FolderItem, find_images
from app.client.sync import Client
from app.client.verifying import join, verify

__all__ = [
    "AsyncClient",
    "Certificate",
    "Certification",
    "Client",
    "ClientError",
    "Event",
    "FileUnreadable",
    "FolderItem",
    "KeyUnusable",
    "NotFinished",
    "ServiceRefused",
    "ServiceUnreachable",
    "UnsafeAddress",
    "find_images",
    "join",
    "verify",
]
