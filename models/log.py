"""Loggers that take an event word and fields: `log.info("model_loaded", model=…, memory_bytes=…)`.

No line holds pixels, file names or DICOM tags. What a line looks like is decided where a program
starts (`worker.processes.logs`).
"""

import logging

import structlog


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module. Handlers and levels are those of `logging`."""
    bound: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return bound
