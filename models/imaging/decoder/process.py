"""Controls the process that forks decoders, on the caller's side."""

import os
import socket
import subprocess
import sys

from models.imaging.decoder.order import Order, read_answer
from models.imaging.decoder.wire import Head, parse, receive, send
from models.imaging.pixels.errors import DecoderCrashed, DecodingTimedOut
from models.imaging.prepare import PreparedImage

_START_S = 60
_GRACE_S = 10  # the process keeps the time itself; this covers a process that was stopped
# Where programs and libraries are. No other variables are passed on: they can hold secrets.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class DecodingUnavailable(OSError):
    """The process could not be started, ended, or had to wait too long; the image may be sound."""

    def __init__(self, *, busy: bool = False) -> None:
        if busy:
            super().__init__(
                "The image was not decoded in time because this machine is busy; the image may be "
                "sound. Try again."
            )
            return
        super().__init__(
            "Images cannot be decoded at the moment: the process that does it could not be started "
            "or was ended. Try again. If that does not help, raise the limits on processes and "
            "memory."
        )


class DecoderProcess:
    """One process that decodes one image at a time; it starts when it is first asked.

    Several threads must not ask it at once.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._ready = False

    def ask(self, order: Order, data: bytes) -> PreparedImage:
        """Returns the prepared image.

        Raises:
            ImageError: the image is refused, or its decoder exceeded its limits or crashed.
            DecodingUnavailable: the process could not decide.
        """
        return read_outcome(*self.decode(order, data), order)

    def decode(self, order: Order, data: bytes) -> tuple[Head, bytes]:
        """Returns how the decoder of this file ended, and its answer for `read_outcome`.

        The first part also states what the decoder used: `ended`, `wall_s`, `cpu_s`, `peak_bytes`.

        Raises:
            DecodingUnavailable: the process could not decide.
        """
        try:
            return self._exchange(order, data)
        except BaseException as error:  # a late answer would be taken for that of the next image
            self.end()
            if isinstance(error, OSError | ValueError):
                raise DecodingUnavailable from None
            raise

    def _exchange(self, order: Order, data: bytes) -> tuple[Head, bytes]:
        channel = self._open()
        channel.settimeout(order.bounds.wall_s + _GRACE_S)
        send(channel, order.model_dump(mode="json"), data)
        received = receive(channel)
        if received is None or received[0]["ended"] == "unavailable":
            raise ConnectionError
        return received

    def start(self) -> None:
        """Starts the process if it is not running, without waiting until it is ready."""
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
        """Returns the channel to a process that is ready."""
        self.start()
        assert self._channel is not None
        if not self._ready:
            self._channel.settimeout(_START_S)
            if receive(self._channel) is None:
                raise ConnectionError
            self._ready = True
        return self._channel

    def end(self) -> None:
        """Ends the process and any decoder at work; it starts again when it is next asked."""
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._channel = self._process = None


def read_outcome(outcome: Head, answer: bytes, order: Order) -> PreparedImage:
    """Returns the prepared image of a decoder that has ended.

    Raises:
        ImageError: the image was refused, or its decoder exceeded its limits or crashed.
        DecodingUnavailable: the decoder waited for the processor for too long.
    """
    if outcome["ended"] == "delayed":
        raise DecodingUnavailable(busy=True)
    if outcome["ended"] == "out of time":
        raise DecodingTimedOut(order.bounds.timeout_s)
    if outcome["ended"] == "crashed":
        raise DecoderCrashed
    try:
        head, body = parse(answer)
    except ValueError:
        raise DecoderCrashed from None
    return read_answer(head, body, order)
