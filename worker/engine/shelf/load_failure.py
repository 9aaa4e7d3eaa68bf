"""Why a model cannot be loaded, for the sessions that wait for it: a stable code and a sentence.

The sentences reach clients, so they name files but no folders. The log has the full error.
"""

from pathlib import Path

import torch

from models.catalogue.cards import ModelCard
from models.catalogue.weights import DigestMismatch, WeightsError, WeightsMissing, check_size
from models.log import get_logger
from worker.contract import Failure

log = get_logger(__name__)

Fingerprint = tuple[tuple[int, int, int] | None, ...]


def take_fingerprint(card: ModelCard, folder: Path) -> Fingerprint:
    """Shows whether a model's files have changed, without reading them."""
    return tuple(_look(folder / file.name) for file in card.files)


def _look(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_ctime_ns  # ctime: new permissions count too


def list_missing(card: ModelCard, folder: Path) -> tuple[str, ...]:
    """The names of the card's files that are not in the folder."""
    return tuple(file.name for file in card.files if not (folder / file.name).is_file())


def find_failure(card: ModelCard, folder: Path) -> Failure | None:
    """What is wrong with a model's files, as far as it shows without reading them; else None."""
    if missing := list_missing(card, folder):
        return _missing(card, ", ".join(missing))
    try:
        for file in card.files:
            check_size(file, folder)
    except WeightsError as error:
        return explain(card, error)
    return None


def explain(card: ModelCard, error: Exception) -> Failure:
    """The failure of a load that ended with this error."""
    match error:
        case WeightsMissing():
            return _missing(card, error.path.name)
        case DigestMismatch():
            return Failure(
                code="model_digest_mismatch",
                detail=f"The file {error.path.name} of the model {card.id!r} on this host is not "
                f"the one its card names: expected {error.expected}, found {error.found}.",
            )
        case _ if _is_out_of_memory(error):
            return Failure(
                code="model_out_of_memory",
                detail=f"The device of this host lacks the memory for the model {card.id!r}.",
            )
        case WeightsError() | ValueError():
            return Failure(
                code="model_unusable", detail=f"The model {card.id!r} cannot be used: {error}"
            )
    log.error("model_load_broke", exc_info=error, model=card.id)
    return Failure(
        code="model_load_failed",
        detail=f"The model {card.id!r} could not be loaded on this host; the host's log says why.",
    )


def _is_out_of_memory(error: Exception) -> bool:
    """Torch has an exception type for CUDA only; on the CPU its message tells."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def _missing(card: ModelCard, names: str) -> Failure:
    return Failure(
        code="model_missing",
        detail=f"The weights of the model {card.id!r} are not on this host; missing: {names}.",
    )


def too_large(card: ModelCard, memory_bytes: int, budget_bytes: int) -> Failure:
    """The failure of a model that would not fit even alone."""
    return Failure(
        code="model_too_large",
        detail=f"The model {card.id!r} takes {to_mb(memory_bytes)} MB; the models of this host "
        f"share {to_mb(budget_bytes)} MB (PROMPTSMOOTH_MODEL_MEMORY_MB).",
    )


def to_mb(memory_bytes: int) -> float:
    """Bytes in megabytes (a million bytes), to one decimal."""
    return round(memory_bytes / 1e6, 1)
