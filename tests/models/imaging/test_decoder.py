"""Decoding in processes of their own: the same answers, and nothing that a file does gets out."""

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pydicom.data
import pytest
from descendants import find_descendants
from PIL import Image
from waiting import HANG_S, wait_until

from models.catalogue.cards import Preprocessing
from models.imaging import (
    Decoder,
    DecoderCrashed,
    DecodingBounds,
    DecodingTimedOut,
    DecodingUnavailable,
    FrameRequired,
    ImageEmpty,
    ImageError,
    ImageLimits,
    ImageTooLarge,
    PreparedImage,
    TransferSyntaxUnsupported,
    WindowInvalid,
    prepare,
)
from models.imaging.decoder.wire import parse

HALF = (0.5, 0.5, 0.5)
PATIENT = DecodingBounds(timeout_s=HANG_S)
PREPROCESSING = Preprocessing(size=32, mean=HALF, std=HALF)
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)


def encoded(image: Image.Image, format_: str = "PNG", **options: object) -> bytes:
    file = BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def installed(name: str) -> bytes:
    path = pydicom.data.get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return Path(path).read_bytes()


PNG = encoded(Image.fromarray(PIXELS))


def programs() -> set[psutil.Process]:
    """The processes that decoders are forked from."""
    mine = psutil.Process().children()
    return set(mine) & set(find_descendants(psutil.Process(), "models.imaging.decoder.program"))


@contextmanager
def watched(**options: Any) -> Iterator[tuple[Decoder, psutil.Process]]:
    """A decoder that has decoded, and its program."""
    before = programs()
    with Decoder(**{"bounds": PATIENT, **options}) as decoder:
        decoder.prepare(PNG, PREPROCESSING)
        (program,) = programs() - before
        yield decoder, program


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (PNG, {}),
        (PNG, {"picture_side": 20}),
        (encoded(Image.fromarray(PIXELS), "JPEG"), {"window": "auto"}),
        (installed("CT_small.dcm"), {"window": (40, 400)}),
        (installed("examples_ybr_color.dcm"), {"frame": 3}),
        (installed("JPGExtended.dcm"), {}),
        (installed("SC_rgb_jpeg_gdcm.dcm"), {}),
    ],
    ids=["png", "picture", "jpeg", "native", "frame", "gdcm", "ybr"],
)
def test_answer_is_that_of_the_same_code_in_this_process(
    decoder: Decoder, data: bytes, options: dict[str, object]
) -> None:
    apart, here = (
        how(data, PREPROCESSING, **options)  # type: ignore[arg-type]
        for how in (decoder.prepare, prepare)
    )
    assert (apart.input == here.input).all()
    assert (apart.picture is None) == (here.picture is None)
    if here.picture is not None:
        assert (apart.picture == here.picture).all()
    facts = ("height", "width", "source", "window", "window_origin", "frame", "frames", "notes")
    assert [getattr(apart, name) for name in facts] == [getattr(here, name) for name in facts]


def test_refusals_keep_their_kind_their_sentence_and_what_they_carry(decoder: Decoder) -> None:
    unknown = installed("CT_small.dcm").replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.7\0")
    for data in (PNG[:60], b"<html>", b"", unknown, installed("rtdose.dcm")):
        caught = []
        for how in (decoder.prepare, prepare):
            with pytest.raises(ImageError) as refusal:
                how(data, PREPROCESSING)
            caught.append(refusal.value)
        apart, here = caught
        assert type(apart) is type(here)
        assert (str(apart), vars(apart)) == (str(here), vars(here))
    with pytest.raises(FrameRequired) as frames:
        decoder.prepare(installed("rtdose.dcm"), PREPROCESSING)
    assert frames.value.frames == 15
    with pytest.raises(TransferSyntaxUnsupported) as syntax:
        decoder.prepare(unknown, PREPROCESSING)
    assert syntax.value.uid == "1.2.840.10008.1.2.7"


def test_what_needs_no_decoder_starts_none() -> None:
    with Decoder(limits=ImageLimits(max_bytes=10)) as idle:
        with pytest.raises(ImageEmpty):
            idle.prepare(b"", PREPROCESSING)
        with pytest.raises(ImageTooLarge, match="at most 10 bytes"):
            idle.prepare(bytes(11), PREPROCESSING)
        with pytest.raises(WindowInvalid):
            idle.prepare(b"x", PREPROCESSING, window=(0, 0))
        before = programs()
        idle.start()
        wait_until(lambda: len(programs() - before) == 1)


def test_dicom_of_millions_of_nested_elements_is_ended_in_time(slow_dicom: bytes) -> None:
    with Decoder(bounds=DecodingBounds(timeout_s=1)) as decoder:
        with pytest.raises(DecodingTimedOut, match="within 1 s of processor time"):
            decoder.prepare(slow_dicom, PREPROCESSING)

        def find_next() -> PreparedImage | None:
            with suppress(DecodingTimedOut):  # a second is short on a machine that is busy
                return decoder.prepare(PNG, PREPROCESSING)
            return None

        assert wait_until(find_next).width == 50


def test_waiting_for_the_processor_is_no_verdict_on_the_image(slow_dicom: bytes) -> None:
    """A stopped decoder stands for one that a busy machine does not run."""
    with watched(bounds=DecodingBounds(timeout_s=0.5)) as (decoder, program):
        thread = threading.Thread(target=lambda: forked_from(program).suspend())
        thread.start()
        with pytest.raises(DecodingUnavailable, match="busy; the image may be sound"):
            decoder.prepare(slow_dicom, PREPROCESSING)
        thread.join()
        assert program.is_running()


def test_image_beyond_the_memory_bound_is_refused_by_the_kernel() -> None:
    large = encoded(Image.new("RGB", (6000, 6000)), compress_level=1)
    bounds = DecodingBounds(memory_bytes=320 * 10**6, timeout_s=HANG_S)
    with Decoder(bounds=bounds) as tight:
        with pytest.raises(ImageTooLarge, match="memory"):
            tight.prepare(large, PREPROCESSING)
        assert tight.prepare(PNG, PREPROCESSING).width == 50


@pytest.mark.parametrize("blow", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_decoder_that_crashes_ends_its_own_image_alone(
    slow_dicom: bytes, blow: signal.Signals
) -> None:
    with watched() as (decoder, program):
        thread = threading.Thread(target=_strike, args=(program, blow))
        thread.start()
        with pytest.raises(DecoderCrashed):
            decoder.prepare(slow_dicom, PREPROCESSING)
        thread.join()
        assert program.is_running()
        assert decoder.prepare(PNG, PREPROCESSING).width == 50


def _strike(program: psutil.Process, blow: signal.Signals) -> None:
    forked_from(program).send_signal(blow)


def forked_from(program: psutil.Process) -> psutil.Process:
    """The decoder that is at work."""
    return wait_until(program.children, pause_s=0.01)[0]


@pytest.mark.parametrize("text", [b"{", b"[]", b"[" * 100_000])
def test_answer_that_a_hostile_file_forged_is_no_message(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON|nested|property"):
        parse(struct.pack(">IQ", len(text), 0) + text)


def test_program_that_was_killed_is_said_and_started_again() -> None:
    with watched() as (decoder, program):
        program.kill()
        program.wait()
        assert decoder.prepare(PNG, PREPROCESSING).width == 50


def test_program_killed_at_work_is_no_verdict_on_the_image(slow_dicom: bytes) -> None:
    with watched() as (decoder, program):

        def kill() -> None:
            forked_from(program)
            program.kill()

        thread = threading.Thread(target=kill)
        thread.start()
        with pytest.raises(DecodingUnavailable, match="could not be started or was ended"):
            decoder.prepare(slow_dicom, PREPROCESSING)
        thread.join()
        assert decoder.prepare(PNG, PREPROCESSING).width == 50


def test_program_holds_no_socket_file_or_secret_of_who_started_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:password@127.0.0.1:6379/0")
    with socket.create_server(("127.0.0.1", 0)) as server:
        os.set_inheritable(server.fileno(), True)
        with watched() as (_, program):
            assert "REDIS_URL" not in program.environ()
            held = [str(fd.readlink()) for fd in Path(f"/proc/{program.pid}/fd").iterdir()]
            assert len(held) == 4  # nothing, nothing, messages of the program itself, the channel
            assert held[3].startswith("socket:")
            assert program.net_connections("inet") == []


KILLED_OWNER = """
import sys, threading, time
from models.catalogue.cards import Preprocessing
from models.imaging import Decoder, DecodingBounds
decoder = Decoder(bounds=DecodingBounds(timeout_s=6000))
preprocessing = Preprocessing(size=32, mean=(0.5,) * 3, std=(0.5,) * 3)
data = open(sys.argv[1], "rb").read()
decoder.start()
threading.Thread(target=decoder.prepare, args=(data, preprocessing)).start()
print("asked", flush=True)
time.sleep(6000)
"""


def test_program_and_decoder_end_with_who_started_them(tmp_path, slow_dicom: bytes) -> None:
    """The decoder is stopped, so that it does not end by itself."""
    path = tmp_path / "slow.dcm"
    path.write_bytes(slow_dicom)
    owner = subprocess.Popen(
        [sys.executable, "-c", KILLED_OWNER, str(path)], stdout=subprocess.PIPE, text=True
    )
    with owner:
        assert owner.stdout is not None
        owner.stdout.readline()
        program = wait_until(psutil.Process(owner.pid).children)[0]
        forked = forked_from(program)
        forked.suspend()
        owner.kill()
    _, alive = psutil.wait_procs([program, forked], timeout=HANG_S)
    assert alive == []


LOADED = """
import sys
from pathlib import Path
from models.catalogue.cards import Preprocessing
from models.imaging import ImageError, prepare
from models.imaging.decoder import program

program._load_decoders()
loaded = set(sys.modules)
asked = Preprocessing(size=32, mean=(0.5,) * 3, std=(0.5,) * 3)
for path in sys.argv[1:]:
    try:
        prepare(Path(path).read_bytes(), asked, picture_side=64)
    except ImageError:
        pass
print(*sorted(set(sys.modules) - loaded))
"""


def test_decoders_are_forked_with_all_that_they_need_loaded(tmp_path) -> None:
    """Else each image would load it again."""
    grey = Image.fromarray((PIXELS[..., 0].astype(np.uint16) << 4) + 7)
    files = {"grey.png": encoded(grey), "colour.jpeg": encoded(Image.fromarray(PIXELS), "JPEG")}
    files |= {name: encoded(grey, name.split(".")[1]) for name in ("grey.tiff", "grey.jpeg2000")}
    files |= {
        name: installed(name) for name in ("CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm")
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    command = [sys.executable, "-c", LOADED, *map(str, tmp_path.iterdir())]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == []


def test_threads_share_the_processes_there_are() -> None:
    files = [encoded(Image.new("L", (40, 40), value)) for value in range(24)]
    before = programs()
    with Decoder(processes=2, bounds=PATIENT) as decoder, ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda data: decoder.prepare(data, PREPROCESSING), files))
        assert [int(image.input[0, 0, 0]) for image in found] == list(range(24))
        assert len(programs() - before) <= 2


def test_closed_decoder_leaves_no_process_and_takes_nothing() -> None:
    with watched() as (decoder, program):
        decoder.close()
        assert not program.is_running()
    with pytest.raises(ValueError, match="closed"):
        decoder.prepare(PNG, PREPROCESSING)


@pytest.mark.parametrize("bounds", [{"timeout_s": 0}, {"timeout_s": float("inf")}])
def test_bounds_that_bound_nothing_are_refused(bounds: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="timeout_s"):
        DecodingBounds(**bounds)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="memory_bytes"):
        DecodingBounds(memory_bytes=2**20)
