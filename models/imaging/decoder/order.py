"""The orders for a decoder process and its answers."""

import numpy as np
from pydantic import BaseModel, ConfigDict

from models.catalogue.cards import Preprocessing
from models.imaging.decoder.wire import Head
from models.imaging.pixels.decoded import Source, Window, WindowOrigin
from models.imaging.pixels.errors import DecoderCrashed, ImageError
from models.imaging.pixels.limits import DecodingBounds, ImageLimits
from models.imaging.pixels.window import RequestedWindow
from models.imaging.prepare import PreparedImage, prepare


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Order(_Message):
    """One file to prepare, without its bytes, and the limits for the process that prepares it."""

    preprocessing: Preprocessing
    frame: int | None
    window: RequestedWindow
    picture_side: int | None
    limits: ImageLimits
    refuse_burned_in: bool
    bounds: DecodingBounds


class _Facts(_Message):
    """Everything in a `PreparedImage` except its arrays."""

    height: int
    width: int
    source: Source
    window: Window | None
    window_origin: WindowOrigin
    frame: int
    frames: int
    notes: tuple[str, ...]


class _Refusal(_Message):
    code: str
    text: str
    members: dict[str, int | str]


class _Answer(_Message):
    facts: _Facts | None = None
    picture: tuple[int, int, int] | None = None
    refusal: _Refusal | None = None


def answer(order: Order, data: bytes) -> tuple[Head, bytes]:
    """Prepares the file and returns the answer: an image or a refusal."""
    try:
        prepared = prepare(
            data,
            order.preprocessing,
            frame=order.frame,
            window=order.window,
            picture_side=order.picture_side,
            limits=order.limits,
            refuse_burned_in=order.refuse_burned_in,
        )
    except ImageError as error:
        refusal = _Refusal(code=error.code, text=str(error), members=vars(error))
        return _Answer(refusal=refusal).model_dump(mode="json"), b""
    facts = {name: getattr(prepared, name) for name in _Facts.model_fields}
    body = prepared.input.tobytes()
    if prepared.picture is None:
        return _Answer(facts=_Facts(**facts)).model_dump(mode="json"), body
    head = _Answer(facts=_Facts(**facts), picture=prepared.picture.shape)
    return head.model_dump(mode="json"), body + prepared.picture.tobytes()


def read_answer(head: Head, body: bytes, order: Order) -> PreparedImage:
    """Returns the prepared image in an answer, which a hostile file may have forged.

    Raises:
        ImageError: the file was refused, or this is not a valid answer.
    """
    try:
        read = _Answer.model_validate(head)
        if read.refusal is not None:
            raise ImageError.restore(read.refusal.code, read.refusal.text, read.refusal.members)
        return _read_prepared(read, body, order.preprocessing.size)
    except ImageError:
        raise
    except ValueError:
        raise DecoderCrashed from None


def _read_prepared(read: _Answer, body: bytes, size: int) -> PreparedImage:
    if read.facts is None:
        raise ValueError("an answer without a refusal must have facts")
    arrays = np.frombuffer(body, np.uint8)
    ends = 3 * size * size
    return PreparedImage(
        input=arrays[:ends].reshape(3, size, size),
        picture=None if read.picture is None else arrays[ends:].reshape(read.picture),
        **dict(read.facts),
    )
