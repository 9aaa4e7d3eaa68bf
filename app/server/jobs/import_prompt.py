"""Turns an uploaded file into a prompt for an installed model, without torch."""

from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from app.server.answers.problems import PromptFormatUnsupported, PromptInvalid, invalid
from app.server.forms.prompts import RULES, ImportForm
from app.server.jobs.capacity.model_hosts import require_card
from models.catalogue import Catalogue
from models.catalogue.text_width import find_text_width
from models.files.bounded_json import JsonBounds, check_bounds
from models.prompts.cards import PromptCard
from models.prompts.ctx_file import UnreadableCtx, find_suffix, parse_ctx
from models.prompts.imported import ImportRefused, create_import
from models.prompts.prompt import Prompt
from worker.contract.prompt import EncodedPrompt

MAX_BYTES = 4 * 2**20
_DEFAULT_SUFFIX = "."
_BOUNDS = JsonBounds(text_bytes=MAX_BYTES, elements=256, depth=4, escapes=512)


def create_prompt(form: ImportForm, catalogue: Catalogue) -> tuple[PromptCard, Prompt]:
    """The prompt that a form asks to import.

    Raises:
        Problem: the file is not a prompt, does not fit the model, or another field is wrong.
    """
    model = require_card(catalogue, form.model)
    ctx, suffix = _parse(form)
    if not suffix.isprintable():
        raise invalid("suffix", RULES["suffix"])
    try:
        return create_import(
            ctx,
            prompt_id=form.id,
            model=model,
            text_width=find_text_width(model, catalogue.folder(model.id)),
            class_names=form.class_name,
            suffix=suffix,
            created_at=datetime.now(UTC),
            licence=form.licence,
            source=form.source,
        )
    except ImportRefused as error:
        raise PromptInvalid(str(error)) from None


def _parse(form: ImportForm) -> tuple[npt.NDArray[np.float32], str]:
    """The vectors and the words after the class name. The format is detected from the content."""
    content = form.file.file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise PromptInvalid(f"Expected a prompt of at most {MAX_BYTES} bytes, got more.")
    if content[8:9] == b"{":
        ctx, said = _parse_safetensors(content)
        return ctx, form.suffix if form.suffix is not None else said or _DEFAULT_SUFFIX
    if content.lstrip()[:1] == b"{":
        if form.suffix is not None:
            raise invalid("suffix", "no value: a prompt in JSON has its own suffix")
        prompt = _parse_json(content)
        return prompt.ctx, prompt.suffix
    raise PromptFormatUnsupported


def _parse_safetensors(content: bytes) -> tuple[npt.NDArray[np.float32], str | None]:
    try:
        return parse_ctx(content), find_suffix(content)
    except UnreadableCtx as error:
        raise PromptInvalid(f"The file is not a safetensors prompt: {error}.") from None


def _parse_json(content: bytes) -> Prompt:
    try:
        check_bounds(content, _BOUNDS)
        return EncodedPrompt.model_validate_json(content).decode()
    except ValueError:
        raise PromptInvalid(
            "Expected JSON with ctx, n_ctx, width and suffix, as in GET /prompts/{id}/ctx, "
            "with n_ctx x width finite numbers in ctx."
        ) from None
