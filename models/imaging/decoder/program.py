"""Run as a program, never imported by another: decodes images, each in a process of its own.

The program loads all decoders once and then only forks, so a decoder finds them loaded and nothing
of the image before it. It runs no decoder itself, and is the one that watches the clock.

Argument: the descriptor of a socket. It ends when the other end is closed.
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
_MAX_ANSWER = 2**26


class _ParentEnded(Exception):
    """Nobody waits for an answer any more."""


def main(descriptor: int) -> None:
    """Serves one process until that closes its end."""
    channel = socket.socket(fileno=descriptor)
    _load_decoders()
    gc.disable()  # a decoder lives too short to collect anything
    gc.freeze()
    with suppress(_ParentEnded, ConnectionError):
        send(channel, {"ready": True})
        while (order := receive(channel)) is not None:
            send(channel, *_decode_apart(channel, *order))


def _load_decoders() -> None:
    import gdcm  # noqa: F401

    with suppress(ImportError):  # no wheel for Python 3.14: JPEG-LS is refused there
        import jpeg_ls  # noqa: F401
    from PIL import Jpeg2KImagePlugin, MpoImagePlugin, PngImagePlugin, WebPImagePlugin  # noqa: F401

    from models.imaging.dicom import image  # noqa: F401


def _decode_apart(channel: socket.socket, head: Head, data: bytes) -> tuple[Head, bytes]:
    """How a decoder of this file ended, what it used, and its answer, which is not read here."""
    order = Order.model_validate(head)
    began = time.monotonic()
    try:
        child, answers = _fork_decoder(order, data, channel)
    except OSError:
        return {"ended": "unavailable"}, b""
    reply, complete = b"", False
    try:
        with answers:
            reply, complete = _collect(answers, channel, began + order.bounds.timeout_s)
    finally:
        os.kill(child, signal.SIGKILL)  # not waited for yet, so the id is still its own
        _, status, usage = os.wait4(child, 0)
    out_of_time = not complete or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU)
    used = {
        "wall_s": time.monotonic() - began,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_bytes": 1024 * usage.ru_maxrss,
    }
    ended = "out of time" if out_of_time else "answered" if reply else "crashed"
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
    """From here on this process may neither grow, stay, write files nor start another."""
    os.dup2(1, 2)  # a decoder's messages can hold tag values
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    seconds = math.ceil(bounds.timeout_s)
    resource.setrlimit(resource.RLIMIT_AS, (bounds.memory_bytes, bounds.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC):
        resource.setrlimit(limit, (0, 0))


def _collect(answers: socket.socket, channel: socket.socket, deadline: float) -> tuple[bytes, bool]:
    """What the decoder wrote until it closed its end, and whether it did so in time.

    Raises:
        _ParentEnded: nobody waits for it.
    """
    poll = select.poll()
    poll.register(answers, select.POLLIN)
    poll.register(channel, select.POLLIN)
    reply = bytearray()
    while (left := deadline - time.monotonic()) > 0 and len(reply) < _MAX_ANSWER:
        ready = {descriptor for descriptor, _ in poll.poll(1000 * left)}
        if channel.fileno() in ready:  # nothing is asked before the answer: it was closed
            raise _ParentEnded
        if ready and not (chunk := answers.recv(_CHUNK)):
            return bytes(reply), True
        if ready:
            reply += chunk
    return b"", False


if __name__ == "__main__":
    main(int(sys.argv[1]))
