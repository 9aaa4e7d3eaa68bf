"""A worker host: python -m worker. Engine, RQ workers and their supervisor."""

import logging
import sys

from worker.logs import configure_logging
from worker.process import die_with_parent
from worker.sampling.keys import SecretUnusable
from worker.supervisor import main

if __name__ == "__main__":
    configure_logging()
    if "--with-parent" in sys.argv[1:]:
        die_with_parent()
    try:
        sys.exit(main())
    except SecretUnusable as error:
        logging.getLogger("worker").error("given_up", extra={"fields": {"reason": str(error)}})
        sys.exit(1)
