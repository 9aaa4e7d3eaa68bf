"""An image that cannot be used: its code says why, and gives the HTTP status."""

from app.server.answers.problems.problem import Problem
from models.imaging import ImageError
from worker.contract import RefusedImage

_STATUS = {
    "image_too_large": 413,
    "image_format_unsupported": 415,
    "pixels_unsupported": 415,
    "transfer_syntax_unsupported": 415,
}


class ImageRefused(Problem):
    status, code = 422, "image_invalid"
    text = "An image cannot be used."

    def __init__(self, error: ImageError, *, index: int, count: int) -> None:
        error.__traceback__ = None  # its frames hold the file, in a circle that is collected late
        self.code = error.code
        self.status = image_status(error.code)
        place = "" if count == 1 else f"Image {index + 1} of {count}: "
        frames = getattr(error, "frames", None)
        members = {} if frames is None else {"frames": frames}
        super().__init__(f"{place}{error}", image_index=index, **members)
        self.of_image = RefusedImage(
            image_index=index, status=self.status, code=error.code, detail=str(error), **members
        )


def image_status(code: str) -> int:
    """The HTTP status for an image error's code."""
    return _STATUS.get(code, 422)
