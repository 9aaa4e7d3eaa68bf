"""A worker host, python -m worker: a supervisor with its engine and RQ workers."""

import sys

from worker.processes.logs import configure_logging
from worker.supervisor import main

if __name__ == "__main__":
    configure_logging()
    sys.exit(main())
