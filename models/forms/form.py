"""The interface of a published form of weights."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from models.catalogue.cards import Architecture, ModelDescription, SourceForm


class FormRefused(ValueError):
    """The files are incomplete or in none of the known forms."""


@dataclass(frozen=True, kw_only=True)
class PublishedFiles:
    """The folder or file that the user names, and the model it should be.

    Attributes:
        path: an existing folder or file.
        config: a configuration file that is stored apart from a bare weights file.
    """

    path: Path
    description: ModelDescription
    config: Path | None = None

    @property
    def published(self) -> SourceForm | None:
        """The form that the description names, if any."""
        published = self.description.published
        return published.form if published is not None else None

    @property
    def own_weights(self) -> str | None:
        """The name of the weights file that the description names, if any."""
        published = self.description.published
        return published.weights if published is not None else None

    def find(self, name: str) -> Path | None:
        """Returns the file of this name in the folder, if there is one."""
        path = self.path / name
        return path if path.is_file() else None

    def find_config(self, name: str) -> Path | None:
        """Returns the configuration that is stored apart, or else the file of this name."""
        return self.config or self.find(name)


@dataclass(frozen=True, kw_only=True)
class Converted:
    """The files that a conversion read, and notes for the user.

    Attributes:
        read: the published files, whose digests go onto the card.
        notes: sentences to show.
    """

    read: tuple[Path, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Form:
    """One published form of weights.

    Attributes:
        looks_like: describes a folder or file of this form, in words that fit into a sentence.
        architectures: the card architectures whose weights it can hold.
        recognises: whether a source has this form; reads at most its configuration.
        convert: writes the files of the model, and nothing else, into an empty folder. Raises
            FormRefused or WeightsError.
        hub_files: files to download from the Hugging Face Hub besides the weights, if present.
        hub_weights: names of the weights file there, the preferred one first.
    """

    name: SourceForm
    looks_like: str
    architectures: tuple[Architecture, ...]
    recognises: Callable[[PublishedFiles], bool]
    convert: Callable[[PublishedFiles, Path], Converted]
    hub_files: tuple[str, ...]
    hub_weights: tuple[str, ...]
