"""Makes pynetdicom close its sockets.

pynetdicom 3.0.4 leaves a socket whose peer is gone to the garbage collector. Python warns of that
when it collects, which may be during any later test.
"""

import socket
from contextlib import suppress

import pytest
from pynetdicom.transport import AssociationSocket


def _close(self: AssociationSocket) -> None:
    if self.socket is not None:
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def close_sockets(patch: pytest.MonkeyPatch) -> None:
    """Makes every association in this process close its socket when it ends."""
    patch.setattr(AssociationSocket, "_shutdown_socket", _close)
