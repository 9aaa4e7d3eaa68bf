"""Model cards: what a model is, where its weights come from and how an image is prepared for it.

A card is a TOML file. Reading one needs no torch.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
)

from models.files.untrusted_text import parse_toml

DeviceClass = Literal["cpu", "cuda"]
Precision = Literal["fp32", "bf16"]
Architecture = Literal["open_clip", "medclip", "linear"]
Activation = Literal["gelu", "quick_gelu"]
SourceForm = Literal["hf-clip", "open-clip", "open-clip-bert", "medclip"]

SLOT = "{}"
_ID = "[a-z0-9][a-z0-9._-]{0,63}"
_MAX_CARD_BYTES = 2**20
_FIXED = {
    "architecture",
    "files",
    "context_length",
    "preprocessing",
    "batch_size",
    "tau",
    "precision",
}


class InvalidCard(ValueError):
    """A card that cannot be read or breaks a rule of `ModelCard`."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"The model card {path} is not valid: {reason}")
        self.path = path


def check_template(template: str) -> str:
    """Returns the template, which contains `{}` exactly once.

    Raises:
        ValueError: the place for the class name is missing or there is more than one.
    """
    found = template.count(SLOT)
    if found != 1:
        raise ValueError(
            f"A template names the place of the class name with {SLOT} exactly once; "
            f"{template!r} has it {found} times."
        )
    return template


def check_class_names(class_names: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the class names: at least two, all different, printable and none blank.

    They stand in sentences that are quoted, so they have no line breaks and no control characters.

    Raises:
        ValueError: one of these does not hold.
    """
    if len(class_names) < 2:
        raise ValueError(f"At least two class names are needed; {len(class_names)} came.")
    if blank := [name for name in class_names if not (name.strip() and name.isprintable())]:
        raise ValueError(f"A class name is not blank and on one line; {blank[0]!r} came.")
    repeated = sorted({name for name in class_names if class_names.count(name) > 1})
    if repeated:
        raise ValueError(f"Class names differ from one another; {repeated[0]!r} came twice.")
    return class_names


def check_model_id(model_id: str) -> str:
    """Returns the id of a model, which is also the name of its folder.

    Raises:
        ValueError: it is none.
    """
    if not re.fullmatch(_ID, model_id):
        raise ValueError(
            "A model's id has 1 to 64 small letters, digits, dots, dashes and underscores, and "
            f"begins with a letter or a digit; {model_id!r:.80} came."
        )
    return model_id


def create_text(template: str, class_name: str) -> str:
    """The sentence that stands for a class: the template with the class name in its place."""
    return check_template(template).replace(SLOT, class_name)


Template = Annotated[str, AfterValidator(check_template)]
ClassNames = Annotated[tuple[str, ...], AfterValidator(check_class_names)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _or(**defaults: Any) -> BeforeValidator:
    """A device class that a card does not name keeps its default."""
    return BeforeValidator(
        lambda value: {**defaults, **value} if isinstance(value, Mapping) else value
    )


class _Card(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Preprocessing(_Card):
    """How a decoded image becomes the model's input, always 8 bit, (3, size, size).

    `shortest` resizes the shorter side to `size` and crops the centre; `squash` resizes both sides
    to `size`; `pad` puts the image into the middle of a black square, of the longer side or of
    `size` if that is more, and resizes it. `grey` makes it a grey image first, three times the same
    channel. `mean` and `std` are the classifier's own first layer, over pixels in [0, 1]; whoever
    prepares the image ignores them.
    """

    size: int = Field(ge=1, le=2048)
    resize: Literal["shortest", "squash", "pad"] = "shortest"
    grey: bool = False
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    mean: tuple[Finite, Finite, Finite]
    std: tuple[Positive, Positive, Positive]


class WeightFile(_Card):
    """One file of a model: a plain name, its SHA-256 in hexadecimal and its length."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    sha256: Sha256
    size_bytes: int = Field(ge=1)

    @property
    def holds_tensors(self) -> bool:
        """Whether it is no configuration and no vocabulary."""
        return not self.name.endswith((".json", ".txt"))


class TrainingSet(_Card):
    """Data that the weights were trained on, with what its licence asks to be said."""

    name: str
    licence: str
    citation: str
    source: str = ""


class Evaluation(_Card):
    """Zero-shot accuracy of the base classifier, before any smoothing or certificate.

    `copies` noisy copies of each of `images` images at noise strength `sigma` (pixels in [0, 1]).
    """

    data: str
    images: int = Field(ge=1)
    sigma: float = Field(ge=0, allow_inf_nan=False)
    copies: int = Field(ge=1)
    accuracy: float = Field(ge=0, le=1)


class Published(_Card):
    """How the weights of a model are published, and what they must turn out to be.

    `form` is the layout of files that `models.forms` reads. `repository` is their place on the
    Hugging Face Hub, empty where they are not there. `model_cfg` is the architecture in the words
    of open_clip's configuration: what a published configuration says must agree with it, and what
    it leaves out is taken from here.
    """

    form: SourceForm
    repository: str = ""
    model_cfg: Mapping[str, JsonValue] = Field(default_factory=dict)


class Origin(_Card):
    """What the weight files of an installation were made from: the published files, untouched.

    `revision` is the Hub's commit where they were fetched from there.
    """

    form: SourceForm
    files: tuple[WeightFile, ...] = Field(min_length=1)
    repository: str = ""
    revision: str = ""


class ModelDescription(_Card):
    """A model (VLM) as far as it can be described without its weight files.

    `batch_size` is the one padded batch shape of each device class. It, the precision and the
    ambiguity threshold `tau` (on logits) are part of what the base classifier is: another
    shape or precision moves logits. `activation` pins that of both transformers: tensors do not
    tell GELU from quick GELU, so weights loaded into the wrong one would load without a word.
    """

    id: str = Field(pattern=f"^{_ID}$")
    name: str
    description: str
    intended_use: str
    licence: str
    source: str
    citations: tuple[str, ...] = ()
    training_data: tuple[TrainingSet, ...] = ()
    architecture: Architecture
    activation: Activation | None = None
    published: Published | None = None
    context_length: int = Field(ge=1)
    preprocessing: Preprocessing
    batch_size: Annotated[
        Mapping[DeviceClass, Annotated[int, Field(ge=1)]], _or(cpu=64, cuda=256)
    ] = Field(default_factory=dict)
    tau: Annotated[
        Mapping[DeviceClass, Annotated[float, Field(ge=0, allow_inf_nan=False)]],
        _or(cpu=0.0, cuda=0.0),
    ] = Field(default_factory=dict)
    precision: Annotated[Mapping[DeviceClass, Precision], _or(cpu="fp32", cuda="bf16")] = Field(
        default_factory=dict
    )
    class_names: ClassNames
    template: Template
    evaluation: tuple[Evaluation, ...] = ()


class ModelCard(ModelDescription):
    """A model that can be loaded: its description, and the digests of its weight files."""

    files: tuple[WeightFile, ...] = Field(min_length=1)
    origin: Origin | None = None

    @property
    def weights_sha256(self) -> str:
        """Identifies the weights alone, which is what a learned prompt is learned for.

        Another batch shape, tau or precision of the same weights takes the same prompts.
        """
        digests = sorted(file.sha256 for file in self.files)
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()

    @property
    def sha256(self) -> str:
        """Identifies all of the base classifier that a card fixes, prompt and device apart.

        SHA-256 over the digests of the weights and everything else that moves a logit or a vote:
        architecture, context length, preprocessing, batch shape, tau and precision. Names, licences
        and measured accuracies are left out.
        """
        fixed = self.model_dump(mode="json", include=_FIXED)
        if not self.preprocessing.grey:
            del fixed["preprocessing"]["grey"]  # certificates name digests from before it existed
        fixed["files"] = sorted(fixed["files"], key=lambda file: str(file["name"]))
        canonical = json.dumps(fixed, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


_Kind = TypeVar("_Kind", bound=ModelDescription)


def parse_card(text: str) -> ModelCard:
    """The card that a TOML text holds.

    Raises:
        ValueError: not TOML, a field unknown, missing or out of range.
    """
    return ModelCard.model_validate(parse_toml(text))


def parse_description(text: str) -> ModelDescription:
    """The card that a TOML text holds: a `ModelCard` where it names files.

    Raises:
        ValueError: not TOML, a field unknown, missing or out of range.
    """
    fields = parse_toml(text)
    kind = ModelCard if "files" in fields else ModelDescription
    return kind.model_validate(fields)


def load_card(path: Path) -> ModelCard:
    """The card in a TOML file.

    Raises:
        InvalidCard: the file is unreadable, is not TOML or breaks a rule; it names the file.
    """
    return _load(path, parse_card)


def load_description(path: Path) -> ModelDescription:
    """The card in a TOML file, a `ModelCard` where it names files.

    Raises:
        InvalidCard: the file is unreadable, is not TOML or breaks a rule; it names the file.
    """
    return _load(path, parse_description)


def read_card(path: Path) -> str:
    """The text of a card's file, which is no pipe and no more than a card needs.

    Raises:
        OSError, ValueError: it cannot be read.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is no file")
    with path.open("rb") as stream:
        content = stream.read(_MAX_CARD_BYTES + 1)
    if len(content) > _MAX_CARD_BYTES:
        raise ValueError(f"a card has at most {_MAX_CARD_BYTES} bytes")
    return content.decode()


def _load(path: Path, parse: Callable[[str], _Kind]) -> _Kind:
    try:
        return parse(read_card(path))
    except (OSError, ValidationError, ValueError) as error:
        raise InvalidCard(path, re.sub(r"\s+", " ", str(error))) from error
