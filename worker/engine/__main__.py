"""The engine process: python -m worker.engine. The only process of a worker host with torch."""

import logging
import signal
import sys

from models.catalogue import UnknownModel, load_catalogue, warn_of_cards
from models.catalogue.weights import WeightsError
from worker.engine.engine import Engine
from worker.engine.runner.machine import choose_device, set_threads
from worker.engine.runner.selftest import NoiseMismatch, check_noise
from worker.engine.server import EngineServer
from worker.engine.shelf.shelf import Shelf
from worker.processes.child import CANNOT_START
from worker.processes.logs import configure_logging
from worker.processes.scheduling import let_others_go_first, share_arenas
from worker.settings import WorkerSettings

log = logging.getLogger("worker.engine")


def create_engine(settings: WorkerSettings) -> Engine:
    """Loads, tests and warms up the models of the settings.

    Raises:
        NoiseMismatch: the noise here is not the noise that certificates are about.
        UnknownModel, WeightsError, FeaturesUnusable, BudgetExceeded: a model cannot be served.
    """
    set_threads(settings.threads)
    check_noise()
    catalogue = load_catalogue(settings.models)
    warn_of_cards(catalogue)
    shelf = Shelf(
        catalogue,
        choose_device(settings.device),
        budget_bytes=settings.model_memory_mb * 1_000_000,
        preferred=settings.serve_models,
        noise=settings.noise,
    )
    shelf.load_preferred()
    return Engine(shelf)


def main() -> int:
    """Serves until SIGTERM. Exit status 3: it cannot start, and the log's last line says why."""
    share_arenas()
    configure_logging()
    settings = WorkerSettings()
    try:
        engine = create_engine(settings)
    except (NoiseMismatch, UnknownModel, WeightsError, NotADirectoryError, ValueError) as error:
        log.error("engine_cannot_start", extra={"fields": {"reason": str(error)}})
        return CANNOT_START
    let_others_go_first()  # not before: who waits for a model waits for the load
    server = EngineServer(engine, settings.socket_path)
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    log.info("engine_ready", extra={"fields": engine.status().samples_per_s})
    server.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
