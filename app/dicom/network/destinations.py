"""Sends results where they belong, by STOW-RS or C-STORE. What is there already counts as sent."""

import ssl
from collections.abc import Sequence
from io import BytesIO

from pydicom import dcmread
from pynetdicom import AE

from app.dicom.rules import CStore, Destination, Stow
from app.dicom.web import Web, WebRefused

_TIMEOUT_S = 60.0
_DUPLICATE = 0x0111


class NotDelivered(Exception):
    """A destination has not taken everything; the text says why, without a header."""


def send(objects: Sequence[bytes], destination: Destination, *, ae_title: str) -> None:
    """Sends Part 10 objects; returns when the destination has said that it has all of them.

    Raises:
        NotDelivered: it has not.
    """
    if isinstance(destination, Stow):
        _stow(objects, destination)
    else:
        _c_store(objects, destination, ae_title)


def _stow(objects: Sequence[bytes], destination: Stow) -> None:
    try:
        with Web(destination) as web:
            web.store(objects)
    except WebRefused as error:
        raise NotDelivered(str(error)) from None


def _c_store(objects: Sequence[bytes], destination: CStore, ae_title: str) -> None:
    datasets = [dcmread(BytesIO(one)) for one in objects]
    ae = AE(ae_title=ae_title)
    ae.network_timeout = ae.acse_timeout = ae.dimse_timeout = _TIMEOUT_S
    ae.connection_timeout = _TIMEOUT_S
    for dataset in datasets:
        ae.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    try:
        tls = None if destination.ca is None else (create_tls(destination), destination.host)
        association = ae.associate(
            destination.host, destination.port, ae_title=destination.ae_title, tls_args=tls
        )
    except (OSError, ValueError) as error:
        raise NotDelivered(f"no association ({type(error).__name__})") from None
    if not association.is_established:
        raise NotDelivered("no association: the destination is away or does not accept this AE")
    try:
        for dataset in datasets:
            status = association.send_c_store(dataset).get("Status")
            if not _is_stored(status):
                said = "nothing" if status is None else f"0x{status:04X}"
                raise NotDelivered(f"C-STORE was answered with {said}")
    except (ValueError, RuntimeError, AttributeError) as error:
        raise NotDelivered(f"the destination does not take it ({type(error).__name__})") from None
    finally:
        association.release()


def create_tls(destination: CStore) -> ssl.SSLContext:
    """Trusts the destination's authorities, and shows our certificate where it has one.

    Raises:
        OSError: a file cannot be read.
    """
    context = ssl.create_default_context(cafile=destination.ca)
    if destination.certificate is not None:
        context.load_cert_chain(destination.certificate, destination.key)
    return context


def _is_stored(status: int | None) -> bool:
    """Success, a warning with which the object is stored (0xBxxx), or that it was there."""
    return status is not None and (
        status == 0 or 0xB000 <= status <= 0xBFFF or status == _DUPLICATE
    )
