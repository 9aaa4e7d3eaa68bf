"""Published weights from the Hugging Face Hub: the only code that opens a connection for them."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from models.catalogue.cards import ModelDescription
from models.forms.registry import get_form


class NotFetched(ValueError):
    """The weights could not be fetched."""


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A folder of published files, and the commit of the Hub they are of."""

    folder: Path
    repository: str
    revision: str

    def discard(self) -> None:
        """Removes the folder, once the model was added."""
        shutil.rmtree(self.folder, ignore_errors=True)


def fetch(description: ModelDescription, models: Path) -> Fetched:
    """Fetches what a model's form reads, with progress on standard error.

    What was fetched stays in `<models>/.fetched-<id>` until it is discarded: the next call goes on
    from there. All files are of one commit.

    Raises:
        NotFetched: the model is not on the Hub, or the Hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi, snapshot_download

    published = description.published
    if published is None or not published.repository:
        raise NotFetched(
            f"The weights of {description.id!r} are not on the Hugging Face Hub: get them from "
            f"{description.source} and run: promptsmooth models add {description.id} PATH"
        )
    folder = models / f".fetched-{description.id}"
    try:
        info = HfApi().model_info(published.repository)
        there = {sibling.rfilename for sibling in info.siblings or ()}
        form = get_form(published.form)
        weights = next((name for name in form.hub_weights if name in there), form.hub_weights[0])
        snapshot_download(
            published.repository,
            revision=info.sha,
            local_dir=folder,
            allow_patterns=[*form.hub_files, weights],
        )
    except Exception as error:  # the Hub's client, its HTTP library and the system have their own
        raise NotFetched(_explain(description, published.repository, error)) from error
    return Fetched(folder=folder, repository=published.repository, revision=info.sha or "")


def _explain(description: ModelDescription, repository: str, error: Exception) -> str:
    reason = str(error).strip().split("\n")[0] or type(error).__name__
    return (
        f"{repository} could not be fetched from the Hugging Face Hub: {reason}. What came so far "
        f"is kept, and the same command goes on. Without a network, copy the files of "
        f"{description.source} here and run: promptsmooth models add {description.id} PATH"
    )
