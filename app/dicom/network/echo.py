"""Asks whether somebody answers: C-ECHO, or a search by DICOMweb."""

from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from app.dicom.network.destinations import create_tls
from app.dicom.rules import CMove, CStore
from app.dicom.web import Web, WebAddress, WebRefused

_TIMEOUT_S = 10.0


def find_fault(address: WebAddress | CStore | CMove, *, ae_title: str) -> str | None:
    """Why a destination or source cannot be reached as it is named, or None."""
    if isinstance(address, WebAddress):
        return _search(address)
    tls = None
    try:
        if isinstance(address, CStore) and address.ca is not None:
            tls = (create_tls(address), address.host)
        return _echo(address, ae_title, tls)
    except (OSError, ValueError) as error:
        return f"no association ({type(error).__name__})"


def _search(address: WebAddress) -> str | None:
    try:
        with Web(address, timeout_s=_TIMEOUT_S) as web:
            web.search_one()
    except WebRefused as error:
        return str(error)
    return None


def _echo(address: CStore | CMove, ae_title: str, tls: object) -> str | None:
    ae = AE(ae_title=ae_title)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = _TIMEOUT_S
    ae.add_requested_context(Verification)
    association = ae.associate(
        address.host,
        address.port,
        ae_title=address.ae_title,
        tls_args=tls,  # type: ignore[arg-type]  # a context and the name that it checks
    )
    if not association.is_established:
        return "no association: it is away or does not accept this AE"
    try:
        status = association.send_c_echo().get("Status")
    finally:
        association.release()
    return None if status == 0 else "C-ECHO was not answered with success"
