"""When a step that failed is tried again, and when it is given up."""

from app.dicom.settings import DicomSettings
from app.dicom.spool import Spool, Task

_LARGEST_EXPONENT = 30


def find_pause(settings: DicomSettings, tries: int) -> float:
    """Seconds before the next try after so many failed ones: doubled each time, up to a limit."""
    doubled = settings.first_retry_s * 2.0 ** min(tries, _LARGEST_EXPONENT)
    return min(doubled, settings.longest_retry_s)


def retry_later(settings: DicomSettings, spool: Spool, task: Task, reason: str) -> None:
    """Puts a task off, or makes it a dead letter if this step has failed for too long."""
    if task.tries and spool.clock() - task.since > settings.give_up_s:
        spool.give_up(task, reason)
    else:
        spool.put_off(task, find_pause(settings, task.tries), reason)
