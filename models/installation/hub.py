"""Downloads published weights from the Hugging Face Hub; no other code connects to it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from models.catalogue.cards import ModelDescription
from models.forms.files import INDEX
from models.forms.registry import get_form
from models.vlm.wordpiece import TOKENIZER_CONFIG, VOCAB

_TOKENIZER = [VOCAB, TOKENIZER_CONFIG]


class NotFetched(ValueError):
    """The weights could not be downloaded."""


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A folder of published files and the Hub commit they come from."""

    folder: Path
    repository: str
    revision: str

    def discard(self) -> None:
        """Removes the folder once the model has been added."""
        shutil.rmtree(self.folder, ignore_errors=True)


def fetch(description: ModelDescription, models: Path) -> Fetched:
    """Downloads the files that a model's form reads, with progress on standard error.

    All files come from one commit, except those of a tokenizer that has a repository of its own.
    They stay in `<models>/.fetched-<id>` until they are discarded, so the next call resumes the
    download.

    Raises:
        NotFetched: the model is not on the Hub, or the Hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi, snapshot_download

    published = description.published
    if published is None or not published.repository:
        raise NotFetched(
            f"The weights of {description.id!r} are not on the Hugging Face Hub. Get them from "
            f"{description.source} and run: promptsmooth models add {description.id} PATH"
        )
    folder = models / f".fetched-{description.id}"
    try:
        info = HfApi().model_info(published.repository)
        there = {sibling.rfilename for sibling in info.siblings or ()}
        form = get_form(published.form)
        names = [*filter(None, [published.weights]), *form.hub_weights]
        weights = next((name for name in names if name in there), names[0])
        snapshot_download(
            published.repository,
            revision=info.sha,
            local_dir=folder,
            allow_patterns=[*form.hub_files, *_list_patterns(weights)],
        )
        if published.tokenizer:
            snapshot_download(published.tokenizer, local_dir=folder, allow_patterns=_TOKENIZER)
    except Exception as error:  # the Hub client, its HTTP library and the system raise their own
        raise NotFetched(_explain(description, published.repository, error)) from error
    return Fetched(folder=folder, repository=published.repository, revision=info.sha or "")


def _list_patterns(weights: str) -> list[str]:
    """Returns the patterns of a weights file, or of an index and the shards that it names."""
    if not weights.endswith(INDEX):
        return [weights]
    stem, kind = weights.removesuffix(INDEX).rsplit(".", 1)
    return [weights, f"{stem}-*.{kind}"]


def _explain(description: ModelDescription, repository: str, error: Exception) -> str:
    reason = str(error).strip().split("\n")[0] or type(error).__name__
    return (
        f"{repository} could not be downloaded from the Hugging Face Hub: {reason}. Finished files "
        f"are kept, and the same command resumes. Without a network, copy the files from "
        f"{description.source} here and run: promptsmooth models add {description.id} PATH"
    )
