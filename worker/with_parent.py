"""A program that ends with whoever started it: python -m worker.with_parent COMMAND [ARG ...]."""

import os
import sys

from worker.process import die_with_parent

if __name__ == "__main__":
    die_with_parent()  # outlives exec
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606
