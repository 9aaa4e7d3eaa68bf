"""The processes that a process started, some of which may end at any moment."""

import psutil


def find_descendants(parent: psutil.Process, words: str) -> list[psutil.Process]:
    """Living descendants of `parent` whose command line contains `words`."""
    return [one for one in parent.children(recursive=True) if words in _read_command(one)]


def _read_command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has ended, or is a zombie
        return ""
