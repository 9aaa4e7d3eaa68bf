"""The process that forks decoders, from the side of whoever asks it."""

import os
import socket
import subprocess
import sys

from models.imaging.decoder.order import Order, read_answer
from models.imaging.decoder.wire import Head, parse, receive, send
from models.imaging.pixels.errors import DecoderCrashed, DecodingTimedOut
from models.imaging.prepare import PreparedImage

_START_S = 60
_GRACE_S = 10  # the process keeps the time itself; this is for one that was stopped
# Where programs and libraries are. No other variable: they can hold passwords and keys.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class DecodingUnavailable(OSError):
    """No process could be started, or the one that was there ended: the image may be sound."""

    def __init__(self) -> None:
        super().__init__(
            "Images cannot be decoded at the moment: the process that does it could not be started "
            "or was ended. Try again; where that does not help, raise the limits on processes and "
            "memory."
        )


class DecoderProcess:
    """One process that decodes one image at a time; started when it is first asked.

    Not safe to ask from several threads at once.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._ready = False

    def ask(self, order: Order, data: bytes) -> PreparedImage:
        """The prepared image.

        Raises:
            ImageError: it is refused, or its decoder ran out of its bounds or crashed.
            DecodingUnavailable: nothing could be said of it.
        """
        return read_outcome(*self.decode(order, data), order)

    def decode(self, order: Order, data: bytes) -> tuple[Head, bytes]:
        """How the decoder of this file ended and what it used (`ended`, `wall_s`, `cpu_s`,
        `peak_bytes`), and its answer, which `read_outcome` reads.

        Raises:
            DecodingUnavailable: nothing could be said of it.
        """
        try:
            return self._exchange(order, data)
        except BaseException as error:  # an answer that is still to come would be taken for another
            self.end()
            if isinstance(error, OSError | ValueError):
                raise DecodingUnavailable from None
            raise

    def _exchange(self, order: Order, data: bytes) -> tuple[Head, bytes]:
        channel = self._open()
        channel.settimeout(order.bounds.timeout_s + _GRACE_S)
        send(channel, order.model_dump(mode="json"), data)
        received = receive(channel)
        if received is None or received[0]["ended"] == "unavailable":
            raise ConnectionError
        return received

    def start(self) -> None:
        """Starts it where it does not run, and does not wait until it is ready."""
        if self._process is not None and self._process.poll() is not None:
            self.end()
        if self._process is not None:
            return
        ours, theirs = socket.socketpair()
        with theirs:
            number = theirs.fileno()
            command = [sys.executable, "-P", "-m", "models.imaging.decoder.program", str(number)]
            kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
            self._process = subprocess.Popen(  # noqa: S603 (our own program and a number)
                command,
                env=kept | _ONE_THREAD,
                pass_fds=[number],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._channel, self._ready = ours, False

    def _open(self) -> socket.socket:
        """The channel to a process that is ready."""
        self.start()
        assert self._channel is not None
        if not self._ready:
            self._channel.settimeout(_START_S)
            if receive(self._channel) is None:
                raise ConnectionError
            self._ready = True
        return self._channel

    def end(self) -> None:
        """Ends it, with a decoder that is at work. It starts again when it is asked again."""
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._channel = self._process = None


def read_outcome(outcome: Head, answer: bytes, order: Order) -> PreparedImage:
    """The prepared image of a decoder that has ended.

    Raises:
        ImageError: it was refused, or its decoder ran out of its bounds or crashed.
    """
    if outcome["ended"] == "out of time":
        raise DecodingTimedOut(order.bounds.timeout_s)
    if outcome["ended"] == "crashed":
        raise DecoderCrashed
    try:
        head, body = parse(answer)
    except ValueError:
        raise DecoderCrashed from None
    return read_answer(head, body, order)
