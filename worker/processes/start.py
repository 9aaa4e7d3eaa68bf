"""Reads the settings of a process that starts."""

from functools import cache

from models.log import get_logger
from worker.processes.child import CANNOT_START
from worker.settings import SETTINGS_ERRORS, WorkerSettings, explain_settings

log = get_logger(__name__)


@cache  # a process forked for one job has them from its parent
def read_settings() -> WorkerSettings:
    """The settings in the environment; ends a process that cannot use them.

    The exit status is `CANNOT_START`, and the last log line names every unusable setting.
    """
    try:
        return WorkerSettings()
    except SETTINGS_ERRORS as error:
        log.error("settings_unusable", reason=explain_settings(error))
        raise SystemExit(CANNOT_START) from None
