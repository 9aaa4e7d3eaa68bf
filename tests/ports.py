"""Ports of this machine that nobody listens on."""

import socket
from contextlib import ExitStack


def find_free_port() -> int:
    """Any port: test runs beside one another do not look for the same one."""
    (port,) = find_free_ports(1)
    return port


def find_free_ports(count: int) -> list[int]:
    """Ports that differ from one another."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
