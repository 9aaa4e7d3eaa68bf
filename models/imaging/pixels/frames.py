"""Chooses the frame of a file to decode."""

from models.imaging.pixels.errors import FrameOutOfRange, FrameRequired


def choose_frame(frame: int | None, frames: int) -> int:
    """Returns the index to decode: the requested one, or 0 if there is one frame.

    Raises:
        FrameRequired: there are several frames, and none was chosen.
        FrameOutOfRange: the chosen frame does not exist.
    """
    if frame is None:
        if frames > 1:
            raise FrameRequired(frames)
        return 0
    if not 0 <= frame < frames:
        raise FrameOutOfRange(frame, frames)
    return frame
