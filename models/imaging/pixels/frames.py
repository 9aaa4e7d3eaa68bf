"""Chooses the frame of a file to decode."""

from models.imaging.pixels.errors import FrameOutOfRange, FrameRequired


def choose_frame(frame: int | None, frames: int) -> int:
    """Returns the index to decode: the requested one, or 0 if there is one frame.

    With one frame, `frame` is ignored.

    Raises:
        FrameRequired: there are several frames, and none was chosen.
        FrameOutOfRange: the chosen frame does not exist.
    """
    if frames == 1:
        return 0
    if frame is None:
        raise FrameRequired(frames)
    if not 0 <= frame < frames:
        raise FrameOutOfRange(frame, frames)
    return frame
