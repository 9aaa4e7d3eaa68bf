"""The multipart form of POST /prompts."""

from typing import Annotated

from fastapi import UploadFile
from pydantic import Field, WithJsonSchema

from app.request.targets import AskedClassNames
from models.prompts.cards import PromptId
from models.prompts.prompt import MAX_SUFFIX
from worker.contract import MAX_CLASS_NAMES, Contract

File = Annotated[UploadFile, WithJsonSchema({"type": "string", "format": "binary"})]


RULES = {
    "file": "one file: safetensors with one tensor ctx, (n_ctx, width), or the JSON that GET "
    "/prompts/{id}/ctx answers",
    "id": "a name of at most 64 characters a-z, 0-9, dot, hyphen and underscore, the first a "
    "letter or digit",
    "model": "the id of a model, at most 64 characters",
    "class_name": f"2 to {MAX_CLASS_NAMES} class names that people can tell apart, none blank",
    "suffix": f"at most {MAX_SUFFIX} printable characters, for safetensors only",
    "licence": "at most 200 characters",
    "source": "at most 500 characters",
}


class ImportForm(Contract):
    """A prompt that was learned elsewhere. Fields that are not listed here are refused."""

    file: File = Field(
        description=f"{RULES['file']}. A checkpoint that torch saved is taken by the command "
        "promptsmooth prompts import alone."
    )
    id: PromptId = Field(
        description=f"{RULES['id']}. It names this prompt for ever.",
        examples=["chest-xray-16-shots"],
    )
    model: str = Field(
        max_length=64,
        description=f"{RULES['model']}. The one the prompt was learned for; GET /models lists all.",
    )
    class_name: AskedClassNames = Field(
        description=f"{RULES['class_name']}. In the order of the classes."
    )
    suffix: str | None = Field(
        default=None,
        max_length=MAX_SUFFIX,
        description=f"{RULES['suffix']}. What follows the class name; JSON says it itself. "
        "Default: what the file's metadata says, else a full stop.",
    )
    licence: str = Field(
        default="", max_length=200, description=f"{RULES['licence']}. Licence of the vectors."
    )
    source: str = Field(
        default="", max_length=500, description=f"{RULES['source']}. Where they come from."
    )


REPEATABLE = frozenset({"class_name"})
