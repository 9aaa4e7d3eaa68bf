"""Prompts tuned on an image, kept as files where there is no server."""

from collections.abc import Callable
from pathlib import Path

from models.prompts.files import save_prompt
from worker.contract import CertifyRequest
from worker.contract.protocol import PromptsTuned
from worker.jobs.tuned_prompts import create_tuned_cards

TUNED_FOLDER = "tuned-prompts"


def keep_tuned_files(
    folder: Path, request: CertifyRequest, create: Callable[[], PromptsTuned]
) -> PromptsTuned:
    """Tunes, and writes each prompt down before it is certified, so that it can be fetched.

    The folder is made with the first prompt; one that lies there stays as it is. Tuning is not
    kept between runs: on one machine the same request tunes the same prompt.
    """
    tuned = create()
    for card, one in create_tuned_cards(request, tuned):
        if not (folder / f"{card.id}.toml").exists():
            save_prompt(folder, card, one.prompt.decode())
    return tuned
