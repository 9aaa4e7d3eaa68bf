"""What HTTP shows about an image before anything is certified."""

from base64 import b64encode

from pydantic import Field

from app.server.answers.pictures import encode_png
from app.server.answers.schemas import Schema
from models.imaging import PreparedImage, Source, WindowOrigin


class Preview(Schema):
    """A frame as this service reads it, and what the model would see. Nothing of it is kept."""

    source: Source
    frames: int = Field(description="How many frames the file holds.")
    frame: int = Field(description="Which of them this is, from 0.")
    window: tuple[float, float] | None = Field(
        description="Centre and width that were applied; null: none was."
    )
    window_origin: WindowOrigin = Field(description="Who chose the window.")
    height: int = Field(description="Rows of the frame in its file.")
    width: int = Field(description="Columns of the frame in its file.")
    notes: tuple[str, ...] = Field(description="What whoever looks at it must know.")
    picture_png: str = Field(
        description="The frame as PNG in base64, made smaller where it is larger than 512 pixels."
    )
    input_png: str = Field(description="The model's 8-bit input as PNG in base64.")


def preview_view(prepared: PreparedImage) -> Preview:
    """Shows a prepared image. It must have been prepared with its picture."""
    assert prepared.picture is not None
    return Preview(
        **prepared.reading,
        height=prepared.height,
        width=prepared.width,
        picture_png=b64encode(encode_png(prepared.picture)).decode(),
        input_png=b64encode(encode_png(prepared.input.transpose(1, 2, 0))).decode(),
    )
