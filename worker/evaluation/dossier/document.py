"""The dossier as a document. Its figures follow from the run; nothing in it judges the model."""

from datetime import date
from typing import Literal

from pydantic import Field

from models.catalogue.cards import Sha256, TrainingSet
from models.prompts.cards import Method, PromptId
from worker.contract import Contract
from worker.contract.certificate.document import GuaranteeScope
from worker.evaluation.accuracy import Share
from worker.evaluation.results import EvaluationResults, Length


class ModelFacts(Contract):
    """What the card of the evaluated model says, where the writing machine has it."""

    name: str
    licence: str
    source: str
    intended_use: str
    training_data: tuple[TrainingSet, ...]


class PromptFacts(Contract):
    """What the card of a stored prompt says, where the writing machine has it."""

    id: PromptId
    sha256: Sha256
    method: Method
    licence: str
    training_data: tuple[TrainingSet, ...]
    shots: int | None = Field(description="Images per class; null: not recorded.")
    evaluated_images: int | None = Field(
        ge=0,
        description="Of the evaluated images, those it was learned on; null: nothing is known.",
    )


class DataFacts(Contract):
    """The images.

    `compared` says that the dossier's writer had the images, found each one as the run names it,
    and could not decode those that the run skipped. Without them name, source and licence are
    empty, and no label was checked. `skipped` counts the skipped files by reason; no file is named.
    """

    compared: bool
    name: str = ""
    source: str = ""
    licence: str = ""
    images_by_class: dict[str, int]
    skipped: dict[str, int]


class ClassFigures(Contract):
    """One class in one row: of its images, the number that ended in each way.

    `accuracy` is the share that is certified in the right class, at any radius.
    """

    class_name: str
    accuracy: Share
    abstained: int = Field(ge=0)
    wrong: int = Field(ge=0)
    mean_radius: Length


class YardstickCover(Contract):
    """An everyday change of all images beside the radii of one row.

    `covered` counts the images that are certified in the right class with a radius larger than the
    change is long. A longer change may change the answer or not: nothing is known.
    """

    id: str
    title: str
    mean_length: Length
    covered: Share


class RowFigures(Contract):
    """What the results leave out of a row, in the order of their rows.

    `scopes` is what its certificates cover, and `learned` counts those that say that a prompt was
    learned on their image. `quantiles` are the smallest radius, the quartiles and
    the largest radius of the images certified in the right class, rounded down; empty without any.
    """

    scopes: tuple[GuaranteeScope, ...]
    learned: int = Field(ge=0)
    quantiles: tuple[Length, ...]
    classes: tuple[ClassFigures, ...]
    yardsticks: tuple[YardstickCover, ...] = ()


class Multiplicity(Contract):
    """How many certificates there are, and how many of them may be false.

    Attributes:
        certificates: all of the run.
        alpha: the error probability of each.
        expected_false: the largest expected number of false ones, certificates times alpha.
        any_false: the largest probability that one or more is false, by the union bound.
        in_a_row: any given row has more false certificates than this with a probability of at most
            alpha, because different images have independent noise.
        repeated: certificates of images that were certified before under the same secret.
    """

    certificates: int = Field(ge=1)
    alpha: Length
    expected_false: Length
    any_false: Length
    in_a_row: int = Field(ge=0)
    repeated: int = Field(ge=0)


class Reproduction(Contract):
    """How to run it again, and the digests of the files that the dossier was made from.

    The same dossier is printed as the same bytes by the programs in `printed_with`.
    """

    command: str | None = Field(
        description="Asks the same question; null: promptsmooth evaluate cannot ask it."
    )
    printed_with: str = Field(description="The programs that printed the PDF, with versions.")
    run_sha256: Sha256 = Field(description="SHA-256 of images.jsonl.")
    results_sha256: Sha256 = Field(description="SHA-256 of results.json.")
    signer: str = Field(description="The public key that signed the run's certificates.")


class Dossier(Contract):
    """Everything that a dossier says. What is printed and what is signed are made from it."""

    kind: Literal["robustness dossier"] = "robustness dossier"
    schema_version: Literal[1] = 1
    written: date
    model: ModelFacts | None
    prompts: tuple[PromptFacts, ...]
    data: DataFacts
    results: EvaluationResults
    rows: tuple[RowFigures, ...]
    attacked: int = Field(ge=0, description="Images for which a witness was looked for.")
    multiplicity: Multiplicity
    limits: tuple[str, ...]
    reproduction: Reproduction
    research_use_only: Literal[True] = True
