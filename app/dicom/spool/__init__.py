"""What was accepted and is still owed, on disk: objects and results as files, the rest in SQLite.

A file is complete under its name, and a row says that it is needed. Files are written, with fsync,
before their row and removed after it, so a kill at any moment leaves at most a file without a row,
which `sweep` removes. Names and rows hold digests of UIDs, never a header. The UIDs themselves are
beside them where a rule needs them later: to read the header again from its source, or to name the
images of a series in its joint answer.
"""

from app.dicom.spool.spool import Spool, SpoolDraining, SpoolFull
from app.dicom.spool.task import Document, Member, Results, State, Task, Uids, digest

__all__ = [
    "Document",
    "Member",
    "Results",
    "Spool",
    "SpoolDraining",
    "SpoolFull",
    "State",
    "Task",
    "Uids",
    "digest",
]
