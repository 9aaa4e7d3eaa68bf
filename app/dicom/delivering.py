"""Takes owed results to their destinations, each as often as it needs."""

from app.dicom.audit import Audit
from app.dicom.network.destinations import NotDelivered, send
from app.dicom.retries import retry_later
from app.dicom.rules import Rules
from app.dicom.settings import DicomSettings
from app.dicom.spool import Spool, Task
from models.files.audit_log import AuditLogUnavailable
from models.log import get_logger

log = get_logger(__name__)


class Delivering:
    """Sends what is owed. A destination that has it is not sent it again for another's sake.

    Args:
        rules: name the destinations.
        settings: of the node.
        spool: this thread's own.
        audit: records what was delivered.
    """

    def __init__(self, rules: Rules, settings: DicomSettings, spool: Spool, audit: Audit) -> None:
        self._rules, self._settings, self._spool = rules, settings, spool
        self._audit = audit

    def step(self) -> bool:
        """Works on one task that is due; False if none is."""
        task = self._spool.find_due("owed")
        if task is None:
            return False
        try:
            objects = [path.read_bytes() for path in self._spool.result_paths(task)]
        except FileNotFoundError:
            self._spool.make_again(task)
            return True
        faults = {name: self._send(objects, name) for name in task.owed}
        faults |= self._record(task, [name for name, fault in faults.items() if not fault])
        still_owed = [name for name, fault in faults.items() if fault]
        self._spool.delivered(task, still_owed)
        if still_owed:
            reasons = "; ".join(f"{name}: {fault}" for name, fault in faults.items() if fault)
            retry_later(self._settings, self._spool, task, reasons)
        else:
            log.info("delivered", task=task.key[:16])
        return True

    def _record(self, task: Task, done: list[str]) -> dict[str, str]:
        """What has no entry counts as not delivered, and is sent once more: the same objects."""
        try:
            if done:
                self._audit.record("delivered", object=task.object, destinations=done)
        except AuditLogUnavailable:
            return dict.fromkeys(done, "its delivery cannot be written in the audit log")
        return {}

    def _send(self, objects: list[bytes], name: str) -> str:
        """Why a destination has not taken the results; empty if it has."""
        destination = self._rules.destinations.get(name)
        if destination is None:
            return "there is no such destination in the rules"
        try:
            send(objects, destination, ae_title=self._settings.ae_title)
        except NotDelivered as error:
            return str(error)
        except Exception as error:  # one odd destination must not keep the others from theirs
            log.error("step_failed", destination=name, reason=type(error).__name__)
            return f"it could not be sent ({type(error).__name__})"
        return ""
