"""Tau of a model whose card names none: measured when a GPU first loads it, and kept in a file.

The measurement has a fixed number of batches, so that it ends: every variation that one process can
try. A restart and other devices are for `promptsmooth models measure-eta`, whose tau a card names.
"""

from pathlib import Path

from pydantic import ValidationError

from models.catalogue.cards import Sha256
from models.files.whole_file import replace_whole
from models.log import get_logger
from models.vlm.base_classifier import create_base_classifier
from models.vlm.vlm import VLM
from worker.contract.quantities import Contract
from worker.engine.measure.eta import SIGMAS, create_synthetic_images, measure_eta, sample_batches
from worker.engine.shelf.identity import find_rows

log = get_logger(__name__)

MEASURED_TAU_FOLDER = "measured-tau"  # of the data folder


class MeasuredTau(Contract):
    """Tau of one f. Zero means that all runs were bit-equal."""

    model_sha256: Sha256
    fingerprint: Sha256 | None
    tau: float


def measure_tau(vlm: VLM) -> float:
    """Tau by one batch at each of two noise levels, under every variation in this process.

    Raises:
        worker.engine.measure.eta.NotMeasurable: no number bounds the difference between runs.
    """
    card = vlm.card
    classifier = create_base_classifier(vlm, card.template, card.class_names)
    batches = sample_batches(
        create_synthetic_images(card.preprocessing.size),
        batch_size=find_rows(vlm),
        each=1,
        sigmas=SIGMAS[1:3],
    )
    return measure_eta(classifier, batches, {}).tau


def find_or_measure_tau(vlm: VLM, fingerprint: str | None, folder: Path) -> float:
    """The tau that an earlier load kept for this f, or a new measurement, which is then kept.

    An f without a fingerprint is measured at every load: no name says that it is the same one.
    """
    path = folder / f"{vlm.card.sha256[:16]}-{(fingerprint or 'none')[:16]}.json"
    kept = _read(path)
    if kept is not None and fingerprint is not None:
        own = MeasuredTau(model_sha256=vlm.card.sha256, fingerprint=fingerprint, tau=kept.tau)
        if kept == own:
            return kept.tau
    made = MeasuredTau(model_sha256=vlm.card.sha256, fingerprint=fingerprint, tau=measure_tau(vlm))
    folder.mkdir(parents=True, exist_ok=True)
    with replace_whole(path) as begun:
        begun.write_text(made.model_dump_json())
    log.info("tau_measured", model=vlm.card.id, tau=made.tau)
    return made.tau


def _read(path: Path) -> MeasuredTau | None:
    try:
        return MeasuredTau.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
