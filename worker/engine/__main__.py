"""The engine process, python -m worker.engine: the only process of a worker host with torch."""

import signal
import sys
from functools import partial

from models.catalogue import UnknownModel, load_catalogue, warn_of_cards
from models.catalogue.weights import WeightsError
from models.log import get_logger
from worker.engine.engine import Engine
from worker.engine.measure.first_load import MEASURED_TAU_FOLDER, find_or_measure_tau
from worker.engine.runner.machine import choose_device, set_threads
from worker.engine.runner.selftest import NoiseMismatch, check_noise
from worker.engine.server import EngineServer
from worker.engine.shelf.loaded_model import load_model
from worker.engine.shelf.runtime import read_runtime
from worker.engine.shelf.shelf import Shelf
from worker.processes.child import CANNOT_START
from worker.processes.logs import configure_logging
from worker.processes.scheduling import let_others_go_first, share_arenas
from worker.processes.start import read_settings
from worker.settings import WorkerSettings

log = get_logger("worker.engine")


def create_engine(settings: WorkerSettings) -> Engine:
    """Creates an engine, with the preferred models of the settings loaded, tested and warmed up.

    Raises:
        NoiseMismatch: the noise on this machine is not the noise that certificates are about.
        UnknownModel, WeightsError, FeaturesUnusable, BudgetExceeded: a model cannot be served.
    """
    set_threads(settings.threads)
    check_noise()
    catalogue = load_catalogue(settings.models)
    warn_of_cards(catalogue)
    measure = partial(find_or_measure_tau, folder=settings.data_dir / MEASURED_TAU_FOLDER)
    runtime = read_runtime(settings)
    shelf = Shelf(
        catalogue,
        choose_device(settings.device),
        budget_bytes=settings.model_memory_mb * 1_000_000,
        preferred=settings.serve_models,
        noise=settings.noise,
        load=partial(load_model, measure_tau=measure, runtime=runtime),
        runtime=runtime,
    )
    shelf.load_preferred()
    return Engine(shelf)


def main() -> int:
    """Serves until SIGTERM. Exit status 3 means it cannot start; the log's last line says why."""
    share_arenas()
    configure_logging()
    settings = read_settings()
    try:
        engine = create_engine(settings)
    except (NoiseMismatch, UnknownModel, WeightsError, NotADirectoryError, ValueError) as error:
        log.error("engine_cannot_start", reason=str(error))
        return CANNOT_START
    let_others_go_first()  # not earlier: clients are waiting while models load
    server = EngineServer(engine, settings.socket_path)
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    log.info("engine_ready", **engine.status().samples_per_s)
    server.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
