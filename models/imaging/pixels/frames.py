"""Which frame of a file is meant."""

from models.imaging.pixels.errors import FrameOutOfRange, FrameRequired


def choose_frame(frame: int | None, frames: int) -> int:
    """The index to decode: the requested one, or 0 where there is one frame (`frame` is ignored).

    Raises:
        FrameRequired: several frames and no choice.
        FrameOutOfRange: the choice is not among them.
    """
    if frames == 1:
        return 0
    if frame is None:
        raise FrameRequired(frames)
    if not 0 <= frame < frames:
        raise FrameOutOfRange(frame, frames)
    return frame
