"""Runs a program that ends with its parent, from its first moment on."""

import os
import sys
from collections.abc import Sequence

from models.files.parent_death import die_with_parent


def with_parent(command: Sequence[str]) -> list[str]:
    """The command that runs `command` as a child of this process that never outlives it.

    The child is told its parent's process id, so it also notices a parent that was killed before
    the child could ask the kernel to watch it.
    """
    return [sys.executable, "-m", "worker.processes.parent", str(os.getpid()), *command]


def main() -> None:
    """Replaces this process by the program in its arguments: PARENT COMMAND [ARG ...]."""
    die_with_parent(int(sys.argv[1]))  # stays in effect after exec
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606


if __name__ == "__main__":
    main()
