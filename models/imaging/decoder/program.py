"""The program that decodes images, each in its own process; it is run and never imported.

The program loads all decoders once and afterwards only forks. So a new decoder finds them loaded
and sees nothing of earlier images. The program itself runs no decoder; it watches the clock, and
the kernel counts a decoder's processor time.

Its argument is the descriptor of a socket, and it ends when the other end is closed.
"""

import gc
import math
import os
import resource
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

from models.files.parent_death import die_with_parent
from models.imaging.decoder.order import Order, answer
from models.imaging.decoder.wire import Head, receive, send
from models.imaging.pixels.limits import DecodingBounds

_CHUNK = 2**20
_NICER = 5  # the app that waits for an image answers others meanwhile; samples come after both
_MAX_ANSWER = 2**26
_TIME_SIGNALS = (signal.SIGPROF, signal.SIGXCPU)


class _ParentEnded(Exception):
    """No process is waiting for an answer any more."""


def main(descriptor: int) -> None:
    """Serves one process until it closes its end of the socket."""
    channel = socket.socket(fileno=descriptor)
    with suppress(OSError):
        os.nice(_NICER)
    _load_decoders()
    gc.disable()  # a decoder does not live long enough to need collection
    gc.freeze()
    with suppress(_ParentEnded, ConnectionError):
        send(channel, {"ready": True})
        while (order := receive(channel)) is not None:
            send(channel, *_decode_apart(channel, *order))


def _load_decoders() -> None:
    import gdcm  # noqa: F401
    import numpy.ma  # noqa: F401  # percentiles of a window need it: 10 ms of each decoder

    with suppress(ImportError):  # no wheel for Python 3.14: JPEG-LS is refused there
        import jpeg_ls  # noqa: F401
    from PIL import Image, Jpeg2KImagePlugin, MpoImagePlugin, WebPImagePlugin  # noqa: F401

    Image.preinit()  # which each decoder would do otherwise

    from models.imaging.dicom import image  # noqa: F401
    from models.imaging.formats import tiff  # noqa: F401


def _decode_apart(channel: socket.socket, head: Head, data: bytes) -> tuple[Head, bytes]:
    """Returns how a decoder of this file ended, what it used, and its answer, unread."""
    order = Order.model_validate(head)
    began = time.monotonic()
    try:
        child, answers = _fork_decoder(order, data, channel)
    except OSError:
        return {"ended": "unavailable"}, b""
    reply, complete = b"", False
    try:
        with answers:
            reply, complete = _collect(answers, channel, began + order.bounds.wall_s)
    finally:
        os.kill(child, signal.SIGKILL)  # not yet waited for, so its id cannot be reused
        _, status, usage = os.wait4(child, 0)
    out_of_time = os.WIFSIGNALED(status) and os.WTERMSIG(status) in _TIME_SIGNALS
    used = {
        "wall_s": time.monotonic() - began,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_bytes": 1024 * usage.ru_maxrss,
    }
    if not complete:  # a decoder that used less was kept waiting
        out_of_time = out_of_time or used["cpu_s"] >= order.bounds.timeout_s
    ended = "answered" if reply else "crashed"
    if out_of_time or not complete:
        ended = "out of time" if out_of_time else "delayed"
    return {"ended": ended, **used}, reply


def _fork_decoder(order: Order, data: bytes, channel: socket.socket) -> tuple[int, socket.socket]:
    ours, theirs = socket.socketpair()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            ours.close()
            channel.close()
            die_with_parent(parent)
            _bound(order.bounds)
            send(theirs, *answer(order, data))
        finally:
            os._exit(0)
    theirs.close()
    return child, ours


def _bound(bounds: DecodingBounds) -> None:
    """Limits this process: it may not grow, compute on, write files or start processes."""
    os.dup2(1, 2)  # a decoder's messages can hold tag values
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    signal.setitimer(signal.ITIMER_PROF, bounds.timeout_s)
    seconds = 1 + math.ceil(bounds.timeout_s)  # the kernel's own limit knows whole seconds alone
    resource.setrlimit(resource.RLIMIT_AS, (bounds.memory_bytes, bounds.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC):
        resource.setrlimit(limit, (0, 0))


def _collect(answers: socket.socket, channel: socket.socket, deadline: float) -> tuple[bytes, bool]:
    """Returns what the decoder wrote until it closed its end, and whether that was in time.

    Raises:
        _ParentEnded: no process is waiting for the answer.
    """
    poll = select.poll()
    poll.register(answers, select.POLLIN)
    poll.register(channel, select.POLLIN)
    reply = bytearray()
    while (left := deadline - time.monotonic()) > 0 and len(reply) < _MAX_ANSWER:
        ready = {descriptor for descriptor, _ in poll.poll(1000 * left)}
        if channel.fileno() in ready:  # no order comes before the answer, so the end was closed
            raise _ParentEnded
        if ready and not (chunk := answers.recv(_CHUNK)):
            return bytes(reply), True
        if ready:
            reply += chunk
    return b"", False


if __name__ == "__main__":
    main(int(sys.argv[1]))
