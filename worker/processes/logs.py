"""Logs in JSON: a fixed event word and fields, never pixels, file names or DICOM tags."""

import json
import logging
import sys
from datetime import UTC, datetime

from models.catalogue import Catalogue


class JsonFormatter(logging.Formatter):
    """Formats each record as one line with a JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure_logging(level: int = logging.INFO) -> None:
    """Sends all logs to standard error, RQ's included, before RQ configures its own loggers."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ("rq.worker", "rq.queue", "rq.job", "rq.scheduler", "rq.registry"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(logging.WARNING)


def warn_of_cards(catalogue: Catalogue) -> None:
    """Logs one line for each of the lab's cards that cannot be used. Only its model is refused."""
    for model_id, error in sorted(catalogue.invalid.items()):
        fields = {"model": model_id, "reason": str(error)}
        logging.getLogger(__name__).warning("model_card_invalid", extra={"fields": fields})
