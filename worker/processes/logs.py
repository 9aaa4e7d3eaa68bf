"""Log lines in JSON, one object a line: time, level, logger, event word, fields.

No line holds pixels, file names or DICOM tags.
"""

import logging
import sys
from datetime import UTC, datetime

import structlog
from structlog.typing import EventDict


def configure_logging(level: int = logging.INFO) -> None:
    """Sends every log line to standard error, RQ's too. Called before RQ configures its own."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(create_formatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ("rq.worker", "rq.queue", "rq.job", "rq.scheduler", "rq.registry"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(logging.WARNING)


def create_formatter() -> logging.Formatter:
    """The form of a line, for our own events and for what libraries log."""
    return structlog.stdlib.ProcessorFormatter(
        processors=[_arrange, structlog.processors.JSONRenderer()],
        foreign_pre_chain=[structlog.processors.format_exc_info],
    )


def _arrange(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Time, level and logger come first."""
    record: logging.LogRecord = event.pop("_record")
    event.pop("_from_structlog")
    return {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": event.pop("event"),
        **event,
    }
