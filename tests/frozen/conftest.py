"""One host for all comparisons, and what the code of today makes on it."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from .freeze import Files
from .subject import Host

Make = Callable[[Callable[[Host], Files]], Files]


@pytest.fixture(scope="session")
def host(valkey: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host whose engine answers. Redis is emptied by whoever uses it."""
    folder: Path = tmp_path_factory.mktemp("frozen")
    host = Host(folder, valkey)
    with host.serving():
        yield host


@pytest.fixture(scope="session")
def make(host: Host) -> Make:
    """Makes samples of one kind, once for all tests."""
    return cache(lambda create: create(host))
