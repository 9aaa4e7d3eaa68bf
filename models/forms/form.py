"""What a published form of weights is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from models.catalogue.cards import Architecture, ModelDescription, SourceForm


class FormRefused(ValueError):
    """What came is of no form that can be read, or not whole."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What the user points at: a folder or a file, perhaps its configuration, and what it is of.

    Attributes:
        path: exists.
        config: a configuration file that lies apart from a bare file of weights.
    """

    path: Path
    description: ModelDescription
    config: Path | None = None

    @property
    def published(self) -> SourceForm | None:
        """The form that the description names."""
        published = self.description.published
        return published.form if published is not None else None


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What a conversion read, and what its user should know.

    Attributes:
        read: the published files; their digests go onto the card.
        notes: sentences to show.
    """

    read: tuple[Path, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Form:
    """One form.

    Attributes:
        looks_like: what a folder or file of this form is, in words for a sentence.
        architectures: of which cards it holds the weights.
        recognises: whether a source is of this form; reads configuration at most.
        convert: writes the files of the model, and nothing else, into an empty folder. Raises
            FormRefused or WeightsError.
        hub_files: what to fetch from the Hugging Face Hub besides weights, where it is there.
        hub_weights: names of the file of weights there, the best first.
    """

    name: SourceForm
    looks_like: str
    architectures: tuple[Architecture, ...]
    recognises: Callable[[Source], bool]
    convert: Callable[[Source, Path], Converted]
    hub_files: tuple[str, ...]
    hub_weights: tuple[str, ...]
