"""What a run that a service certified says without noise, measured here where the model is here."""

from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from models.datasets.files import LabelledFile
from models.prompts.files import TUNED_FOLDER
from models.prompts.prompt import Prompt
from worker.evaluation.noiseless import Noiseless, list_tuned
from worker.evaluation.question import EvaluationQuestion
from worker.evaluation.run_file import EvaluatedImage


def measure_noiseless(
    question: EvaluationQuestion,
    images: Iterable[EvaluatedImage],
    files: Sequence[LabelledFile],
    prompts: Mapping[str, Prompt],
    folder: Path,
) -> list[Noiseless] | None:
    """Measures each row of a run without noise; None if this machine has not the run's model.

    One pass of each image, beside the thousands that certify it.

    Args:
        question: the question of the run.
        images: its finished images, in order.
        files: all files of the run, by place.
        prompts: the prompts that targets name, by digest.
        folder: the folder of the run, with the prompts that were tuned on its images.
    """
    if find_spec("torch") is None:
        return None
    from app.local.engine import find_model
    from models.catalogue import UnknownModel
    from models.catalogue.weights import WeightsError
    from worker.engine.runner.machine import choose_device, set_threads
    from worker.engine.shelf.runtime import load_served, read_runtime
    from worker.evaluation.loaded.noiseless import NoiselessModel
    from worker.settings import WorkerSettings

    settings = WorkerSettings()
    try:
        card, weights = find_model(question.identity.model.id)
        if card.sha256 != question.identity.model.sha256:
            return None
        set_threads(settings.threads)
        device = choose_device(settings.device)
        vlm = load_served(card, weights, device, read_runtime(settings))
    except (UnknownModel, WeightsError):
        return None
    tuned = list_tuned(question.rows, images)
    chosen = [files[place] for place in tuned]
    model = NoiselessModel(vlm=vlm, files=chosen, prompts=prompts, tuned=folder / TUNED_FOLDER)
    by_row = zip(question.rows, zip(*tuned.values(), strict=True), strict=True)
    return [model.measure(row, ids) for row, ids in by_row]
