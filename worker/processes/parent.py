"""A program that ends with whoever started it, from its first moment on."""

import os
import sys
from collections.abc import Sequence

from models.files.parent_death import die_with_parent


def with_parent(command: Sequence[str]) -> list[str]:
    """The command that runs `command` as a child of this process, and never beyond it.

    The child knows from whom it descends: a parent that was killed before the child could ask the
    kernel to watch it is noticed too.
    """
    return [sys.executable, "-m", "worker.processes.parent", str(os.getpid()), *command]


def main() -> None:
    """Becomes the program of its arguments: PARENT COMMAND [ARG ...]."""
    die_with_parent(int(sys.argv[1]))  # outlives exec
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606


if __name__ == "__main__":
    main()
