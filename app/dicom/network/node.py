"""The service class provider: C-ECHO, and C-STORE of images into the spool.

Success is answered when the object and its tasks are on disk, and not before.
"""

import logging
import sqlite3
import ssl
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path

from prometheus_client import Counter
from pydicom.uid import UID
from pynetdicom import AE, _config, build_context, evt
from pynetdicom._globals import ALL_TRANSFER_SYNTAXES
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event
from pynetdicom.sop_class import _STORAGE_CLASSES, Verification  # type: ignore[attr-defined]
from pynetdicom.transport import ThreadedAssociationServer

from app.dicom.audit import Audit
from app.dicom.instance import InstanceUnreadable, read_instance
from app.dicom.rules import Rules
from app.dicom.settings import DicomSettings
from app.dicom.spool import Spool, SpoolDraining, SpoolFull, digest
from models.imaging.dicom.file import TRANSFER_SYNTAXES
from models.log import get_logger

SUCCESS = 0x0000
NOT_AUTHORISED = 0x0124
OUT_OF_RESOURCES = 0xA700
NOT_ITS_SOP_CLASS = 0xA900
CANNOT_UNDERSTAND = 0xC000
_SLACK_BYTES = 2**20  # commands and headers of PDUs beside an object

log = get_logger(__name__)


def list_sop_classes() -> tuple[UID, ...]:
    """Every storage class of images, but for video and masks of 1 bit, which are not decoded."""
    return tuple(
        UID(uid)
        for name, uid in sorted(_STORAGE_CLASSES.items())
        if "ImageStorage" in name and "Video" not in name and "SingleBit" not in name
    )


class Node:
    """Takes objects from the callers that the settings allow.

    Args:
        settings: of the node.
        rules: decide what is taken.
        spool: of this node alone; it is swept first.
        audit: records what is accepted.
        stored: counts C-STORE requests by the status of the answer.
    """

    def __init__(
        self, settings: DicomSettings, rules: Rules, spool: Spool, audit: Audit, stored: Counter
    ) -> None:
        self._settings, self._rules, self._spool = settings, rules, spool
        self._audit, self._stored, self._ae = audit, stored, self._create_ae(settings)
        self._lock = threading.Lock()
        self._received: dict[object, int] = {}
        self._networks = [ip_network(one) for one in settings.calling_networks]

    @contextmanager
    def listening(self) -> Iterator[int]:
        """Listens until the block ends; yields the port."""
        self._spool.sweep()
        before = _config.STORE_RECV_CHUNKED_DATASET, tempfile.tempdir
        _config.STORE_RECV_CHUNKED_DATASET = True  # an object goes to disk as it comes, and there
        tempfile.tempdir = str(self._spool.folder / "incoming")
        server = self._ae.start_server(
            (self._settings.bind, self._settings.port),
            block=False,
            ssl_context=self._create_ssl_context(),
            evt_handlers=[
                (evt.EVT_REQUESTED, self._check_caller),
                (evt.EVT_PDU_RECV, self._count_bytes),
                (evt.EVT_C_STORE, self._store),
                (evt.EVT_CONN_CLOSE, self._clean_up),
            ],
        )
        assert isinstance(server, ThreadedAssociationServer)
        try:
            yield server.server_address[1]
        finally:
            self._ae.shutdown()  # ends live associations too
            _config.STORE_RECV_CHUNKED_DATASET, tempfile.tempdir = before

    def count_associations(self) -> int:
        """How many are open now."""
        return len(self._ae.active_associations)

    @staticmethod
    def _create_ae(settings: DicomSettings) -> AE:
        ae = AE(ae_title=settings.ae_title)
        ae.require_called_aet = True
        ae.maximum_associations = settings.max_associations
        ae.maximum_pdu_size = settings.max_pdu_bytes
        ae.network_timeout = ae.acse_timeout = ae.dimse_timeout = settings.idle_s
        ae.add_supported_context(Verification, ALL_TRANSFER_SYNTAXES[:2])
        syntaxes: list[str | UID] = sorted(TRANSFER_SYNTAXES)
        ae.supported_contexts += [build_context(uid, syntaxes) for uid in list_sop_classes()]
        return ae

    def _create_ssl_context(self) -> ssl.SSLContext | None:
        settings = self._settings
        if settings.tls_certificate is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
        if settings.tls_client_ca is not None:
            context.load_verify_locations(settings.tls_client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _check_caller(self, event: Event) -> None:
        """Rejects an association whose caller is not on the list, and any while draining."""
        caller = event.assoc.requestor
        try:
            title = "" if caller.primitive is None else str(caller.primitive.calling_ae_title)
            known = title.strip() in self._settings.calling_ae
            address = ip_address(caller.address)
        except ValueError:
            known = False
        if known and any(address in network for network in self._networks):
            if self._spool.is_draining():
                event.assoc.acse.send_reject(0x02, 0x03, 0x01)  # transient: temporary congestion
                event.assoc.kill()
            return
        log.warning("caller_rejected", known_title=known)
        event.assoc.acse.send_reject(0x01, 0x01, 0x03)  # calling AE title not recognised
        event.assoc.kill()

    def _count_bytes(self, event: Event) -> None:
        """Ends an association whose object is longer than any may be."""
        received = self._received.get(event.assoc, 0) + len(event.pdu)
        self._received[event.assoc] = received
        if received > self._settings.max_object_bytes + _SLACK_BYTES:
            log.warning("object_too_long")
            event.assoc.abort(block=False)

    def _forget(self, event: Event) -> None:
        self._received.pop(event.assoc, None)

    def _clean_up(self, event: Event) -> None:
        """Removes what had come of an object when its connection ended."""
        self._forget(event)
        message = event.assoc.dimse.message
        if message is not None and message._data_set_file is not None:
            message._data_set_file.close()
            Path(message._data_set_file.name).unlink(missing_ok=True)

    def _store(self, event: Event) -> int:
        status = self._answer(event)
        self._stored.labels(f"{status:04X}").inc()
        return status

    def _answer(self, event: Event) -> int:
        self._forget(event)
        received = event.dataset_path
        try:
            return self._take(event, received)
        except (SpoolFull, SpoolDraining, OSError, sqlite3.Error) as error:
            log.error("not_taken", reason=type(error).__name__)
            return OUT_OF_RESOURCES
        except Exception as error:  # a hostile header raises what nobody foresaw
            log.error("not_understood", reason=type(error).__name__)
            return CANNOT_UNDERSTAND
        finally:
            received.unlink(missing_ok=True)

    def _take(self, event: Event, received: Path) -> int:
        try:
            instance = read_instance(received)
        except InstanceUnreadable:
            return CANNOT_UNDERSTAND
        request = event.request
        assert isinstance(request, C_STORE)
        if (instance.sop_class_uid, instance.sop_instance_uid) != (
            request.AffectedSOPClassUID,
            request.AffectedSOPInstanceUID,
        ):
            return NOT_ITS_SOP_CLASS
        caller = str(event.assoc.requestor.ae_title).strip()
        found = self._rules.find(instance, caller)
        if not found:
            return SUCCESS if self._rules.unmatched == "drop" else NOT_AUTHORISED
        name = digest(instance.sop_instance_uid)

        def record(new: int) -> None:
            self._audit.record("accepted", caller=caller, object=name, new=new)

        with self._lock:
            new = self._spool.accept(received, instance, found, record=record)
        log.info("accepted", caller=caller, object=name[:16], new=new)
        return SUCCESS


def quieten_libraries() -> None:
    """Libraries log what a peer sent, and warn of odd values in it; our logs hold no header."""
    warnings.simplefilter("ignore")
    for name in ("pynetdicom", "highdicom", "pydicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # a line for every look at a job
