"""Who sent what, and what became of it, in an audit log of the node's own.

Entries name objects by digests of their UIDs. An entry that cannot be written keeps its action from
taking place: a sender is told to come later, and results stay owed.
"""

from typing import Any

from app.dicom.settings import DicomSettings
from models.files.audit_log import AuditLog

_FILE_BYTES = 64 * 10**6


class Audit:
    """Records actions of the node; nothing where the settings name no folder."""

    def __init__(self, settings: DicomSettings) -> None:
        folder = settings.audit_log
        self._log = None if folder is None else AuditLog(folder, max_bytes=_FILE_BYTES)

    def record(self, action: str, **fields: Any) -> None:
        """Writes an entry; it is on disk when this returns.

        Raises:
            AuditLogUnavailable: it could not be written.
        """
        if self._log is not None:
            self._log.record(f"dicom.{action}", **fields)
