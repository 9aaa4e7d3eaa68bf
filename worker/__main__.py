"""A worker host: python -m worker. Engine, RQ workers and their supervisor."""

import sys

from worker.processes.logs import configure_logging
from worker.supervisor import main

if __name__ == "__main__":
    configure_logging()
    sys.exit(main())
