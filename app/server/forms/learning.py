"""The multipart form of POST /prompts/learn."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from app.request.callback import MAX_CHARACTERS, check_callback
from app.request.callback import RULE as CALLBACK_RULE
from app.request.numbers import DECIMAL_TEXT, PLAIN_DECIMAL, PLAIN_WHOLE, check_different
from app.request.targets import AskedClassNames, AskedTemplate
from app.server.forms.prompts import File
from models.prompts.cards import PromptId
from worker.contract import MAX_CLASS_NAMES, Contract
from worker.contract.learning import MAX_EPOCHS, MAX_LEARNING_IMAGES

MAX_NOISE_LEVELS = 16
MAX_SHOTS = 1024

_Whole = Annotated[int, PLAIN_WHOLE]
_Sigma = Annotated[float, Field(ge=0, le=10), PLAIN_DECIMAL, DECIMAL_TEXT]


RULES = {
    "zip": "one zip file with a folder of images for each class, instead of image",
    "image": "two or more image files, instead of zip",
    "image_class": "the class of each image, at most 200 characters, once for each image and in "
    "their order",
    "id": "a name of at most 64 characters a-z, 0-9, dot, hyphen and underscore, the first a "
    "letter or digit",
    "model": "the id of a model, at most 64 characters",
    "class_name": f"2 to {MAX_CLASS_NAMES} class names that people can tell apart, none blank",
    "template": "a sentence with {} exactly once, at most 1000 characters, all of them visible",
    "preset": '"default" or "paper"',
    "shots": f"an integer from 1 to {MAX_SHOTS}",
    "epochs": f"an integer from 1 to {MAX_EPOCHS}",
    "seed": "an integer from 0 to 2^53",
    "noise_level": f"1 to {MAX_NOISE_LEVELS} decimal numbers from 0 to 10, each named once",
    "learning_rate": "a decimal number greater than 0 and at most 10",
    "callback_url": CALLBACK_RULE,
}


class LearnForm(Contract):
    """What a prompt is learned from and how. Fields that are not listed here are refused."""

    zip: File | None = Field(
        default=None,
        description=f"{RULES['zip']}. The folder an image lies in is its class; folders named by "
        "numbers are ordered as numbers, others by name.",
    )
    image: list[File] | None = Field(
        default=None,
        min_length=2,
        description=f"{RULES['image']}. PNG, JPEG, JPEG 2000, TIFF, WebP or DICOM.",
    )
    image_class: (
        Annotated[
            list[Annotated[str, Field(min_length=1, max_length=200)]],
            Field(max_length=MAX_LEARNING_IMAGES, fail_fast=True),
        ]
        | None
    ) = Field(default=None, description=f"{RULES['image_class']}.")
    id: PromptId = Field(
        description=f"{RULES['id']}. It names this prompt for ever.",
        examples=["chest-xray-16-shots"],
    )
    model: str | None = Field(
        default=None,
        max_length=64,
        description=f"{RULES['model']}. Default: the service's default model; GET /models lists "
        "all.",
    )
    class_name: AskedClassNames | None = Field(
        default=None,
        description=f"{RULES['class_name']}. In the order of the folders, for prompts with other "
        "words than the folders' names.",
    )
    template: AskedTemplate | None = Field(
        default=None,
        description=f"{RULES['template']}. The vectors take the place of the words before {{}}; "
        "those after it follow the class name. Default: the model card's.",
    )
    preset: Literal["default", "paper"] = Field(
        default="default",
        description=f"{RULES['preset']}. default is what served best on the model that "
        "ships; paper is PromptSmooth as published.",
    )
    shots: _Whole = Field(
        default=16,
        ge=1,
        le=MAX_SHOTS,
        description=f"{RULES['shots']}. Images of each class; the seed chooses them among those "
        "sent.",
    )
    epochs: _Whole = Field(
        default=50,
        ge=1,
        le=MAX_EPOCHS,
        description=f"{RULES['epochs']}. Times that each image is seen.",
    )
    seed: _Whole = Field(
        default=1,
        ge=0,
        le=2**53,
        description=f"{RULES['seed']}. The same request with the same seed gives the same prompt "
        "on the same kind of device and number of threads.",
    )
    noise_level: (
        Annotated[
            list[_Sigma],
            Field(min_length=1, max_length=MAX_NOISE_LEVELS, fail_fast=True),
            AfterValidator(check_different),
        ]
        | None
    ) = Field(
        default=None,
        description=f"{RULES['noise_level']}. The noise of an image is drawn from them anew in "
        "every epoch. Default: the preset's.",
        examples=[["0", "0.25", "0.5"]],
    )
    learning_rate: Annotated[float, PLAIN_DECIMAL, DECIMAL_TEXT] | None = Field(
        default=None, gt=0, le=10, description=f"{RULES['learning_rate']}. Default: the preset's."
    )
    callback_url: Annotated[str, AfterValidator(check_callback)] | None = Field(
        default=None,
        max_length=MAX_CHARACTERS,
        description=f"{RULES['callback_url']}. A signed message with id and status goes there when "
        "the learning has ended (Standard Webhooks). Default: that of the key, if it has one.",
    )


REPEATABLE = frozenset({"image", "image_class", "class_name", "noise_level"})
