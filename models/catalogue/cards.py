"""Model cards: what a model is, where its weights come from and how its images are prepared.

A card is a TOML file. Reading one does not need torch.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from models.catalogue.texts import SLOT, ClassNames, Template
from models.files.untrusted_text import one_line, parse_toml

DeviceClass = Literal["cpu", "cuda"]
Precision = Literal["fp32", "bf16", "int8"]
Architecture = Literal["open_clip", "medclip", "siglip", "conch", "keep", "linear", "onnx"]
Activation = Literal["gelu", "quick_gelu"]
SourceForm = Literal[
    "hf-clip", "open-clip", "open-clip-bert", "medclip", "hf-siglip", "conch", "keep", "onnx"
]

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
    "denoiser",
    "quantization",
}
DENOISER_FILE = "denoiser.safetensors"
QUANTIZED_NETWORK, QUANTIZED_WEIGHTS = "image_tower.xml", "image_tower.bin"


class InvalidCard(ValueError):
    """A card cannot be read or breaks a rule of `ModelCard`."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"The model card {path} is not valid: {reason}")


def check_model_id(model_id: str) -> str:
    """Returns the model id, which is also the name of the model's folder.

    Raises:
        ValueError: the id is not valid.
    """
    if not re.fullmatch(_ID, model_id):
        raise ValueError(
            "A model id has 1 to 64 lowercase letters, digits, dots, hyphens and underscores, and "
            f"starts with a letter or a digit; got {model_id!r:.80}."
        )
    return model_id


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PlainName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _or(**defaults: Any) -> BeforeValidator:
    """Fills in the default of each device class that a card leaves out."""
    return BeforeValidator(
        lambda value: {**defaults, **value} if isinstance(value, Mapping) else value
    )


def _list_stated(values: Mapping[DeviceClass, float | None]) -> dict[DeviceClass, float]:
    """The values that a card states: TOML has no null."""
    return {device: value for device, value in values.items() if value is not None}


class Card(BaseModel):
    """Base of what a file describes."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Preprocessing(Card):
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


class WeightFile(Card):
    """One file of a model: its plain name, its SHA-256 in hexadecimal and its length."""

    name: PlainName
    sha256: Sha256
    size_bytes: int = Field(ge=1)

    @property
    def holds_tensors(self) -> bool:
        """Whether the file is neither a configuration nor a vocabulary."""
        return not self.name.endswith((".json", ".txt", ".model", ".xml"))


class TrainingSet(Card):
    """Data that the weights were trained on, with what its licence asks to be said."""

    name: str
    licence: str
    citation: str
    source: str = ""


class Evaluation(Card):
    """Zero-shot accuracy of the base classifier, before any smoothing or certificate.

    `copies` noisy copies of each of `images` images at noise strength `sigma` (pixels in [0, 1]).
    """

    data: str
    images: int = Field(ge=1)
    sigma: float = Field(ge=0, allow_inf_nan=False)
    copies: int = Field(ge=1)
    accuracy: float = Field(ge=0, le=1)


class Published(Card):
    """How a model's weights are published, and the architecture they must have.

    `form` is the file layout, one of those that `models.forms` reads. `repository` is the
    repository on the Hugging Face Hub, or empty if the weights are not there; `weights` names the
    weights file there where it has a name of its own, and `tokenizer` the repository of the
    tokenizer where that is another one. `model_cfg` is the architecture under open_clip's names:
    the published configuration must agree with it, and values that the published configuration
    leaves out are taken from here.
    """

    form: SourceForm
    repository: str = ""
    weights: PlainName | None = None
    tokenizer: str = ""
    model_cfg: Mapping[str, JsonValue] = Field(default_factory=dict)


class Origin(Card):
    """The published files, unmodified, from which an installation's weight files were made.

    `revision` is the Hub commit, if the files were downloaded from the Hub.
    """

    form: SourceForm
    files: tuple[WeightFile, ...] = Field(min_length=1)
    repository: str = ""
    revision: str = ""


class DenoiserShape(Card):
    """The denoiser between the noisy image and the image tower, trained for one noise level.

    Its weights are the model's file `denoiser.safetensors`. `sigma` is the standard deviation of
    the noise, on pixels in [0, 1]; `width` and `layers` are those of `models.vlm.denoised`.
    """

    sigma: Positive
    width: int = Field(ge=1, le=1024)
    layers: int = Field(ge=2, le=64)


class Quantization(Card):
    """How `made_by` made an image tower in int8 from that of another model, its parent.

    The ranges of its numbers were measured on `copies` noisy copies, at the noise levels `sigmas`,
    of images whose digest is `images_sha256`.
    """

    parent: str = Field(pattern=f"^{_ID}$")
    parent_sha256: Sha256
    copies: int = Field(ge=1)
    sigmas: tuple[Positive, ...] = Field(min_length=1)
    images_sha256: Sha256
    made_by: str


class TrainingCost(Card):
    """What training cost: wall seconds on a device."""

    seconds: float = Field(ge=0, allow_inf_nan=False)
    device: str
    threads: int = Field(ge=1)


def reads_texts(architecture: str) -> bool:
    """Whether models of an architecture have a text tower; an image classifier has none."""
    return architecture != "onnx"


class ModelDescription(Card):
    """Everything about a model (VLM) that can be stated without its weight files.

    `batch_size` is the single padded batch shape for each device class. Batch shape, precision and
    the ambiguity threshold `tau` (on logits) are part of the base classifier's identity: another
    shape or precision changes the logits. A tau of None was not measured. `alike` names the
    fingerprints between which eta was measured for that tau, so that hosts of either may share a
    certification. `activation` fixes the activation of both transformers. Tensors do not show
    whether a model uses GELU or quick GELU, so weights loaded with the wrong one would load without
    an error.
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
    denoiser: DenoiserShape | None = None
    quantization: Quantization | None = None
    batch_size: Annotated[
        Mapping[DeviceClass, Annotated[int, Field(ge=1)]], _or(cpu=64, cuda=256)
    ] = Field(default_factory=dict)
    tau: Annotated[
        Mapping[DeviceClass, Annotated[float, Field(ge=0, allow_inf_nan=False)] | None],
        _or(cpu=None, cuda=None),
        PlainSerializer(_list_stated),
    ] = Field(default_factory=dict, exclude_if=lambda found: not _list_stated(found))
    alike: Mapping[DeviceClass, tuple[Sha256, ...]] = Field(
        default_factory=dict, exclude_if=lambda found: not found
    )
    precision: Annotated[Mapping[DeviceClass, Precision], _or(cpu="fp32", cuda="bf16")] = Field(
        default_factory=dict
    )
    class_names: ClassNames
    template: Template
    evaluation: tuple[Evaluation, ...] = ()
    training_cost: TrainingCost | None = None

    @property
    def has_texts(self) -> bool:
        """Whether a text tower reads the class names; an image classifier has its own classes."""
        return reads_texts(self.architecture)

    @model_validator(mode="before")
    @classmethod
    def _complete_classifier(cls, fields: Any) -> Any:
        """The card of an image classifier need not speak of texts."""
        if isinstance(fields, Mapping) and fields.get("architecture") == "onnx":
            return {"template": SLOT, "context_length": 1, **fields}
        return fields

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if (self.precision["cpu"] == "int8") != (self.quantization is not None):
            raise ValueError("int8 on a CPU and [quantization] belong together")
        if self.precision["cuda"] == "int8":
            raise ValueError("int8 is for CPUs only")
        if not self.has_texts and self.template != SLOT:
            raise ValueError("an image classifier reads no text; leave out its template")
        return self


class ModelCard(ModelDescription):
    """A model that can be loaded: its description plus the digests of its weight files."""

    files: tuple[WeightFile, ...] = Field(min_length=1)
    origin: Origin | None = None

    @property
    def weights_sha256(self) -> str:
        """Identifies the weights alone, which is what a learned prompt is tied to.

        The same weights with another batch shape, tau or precision accept the same prompts.
        """
        made = () if self.quantization is None else (QUANTIZED_NETWORK, QUANTIZED_WEIGHTS)
        digests = sorted(file.sha256 for file in self.files if file.name not in made)
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()

    @property
    def sha256(self) -> str:
        """Identifies everything about the base classifier that a card fixes.

        It is the SHA-256 of the files' digests and of all else that affects a logit or a vote. It
        does not cover the prompt, the device, names, licences or measured accuracies. The class
        names of an image classifier say which logit is whose, so they are covered; those of other
        models are read as texts, and a request states them.
        """
        fixed = self.model_dump(mode="json", include=_FIXED)
        if not self.preprocessing.grey:
            del fixed["preprocessing"]["grey"]  # keeps digests in certificates older than the field
        if self.denoiser is None:
            del fixed["denoiser"]
        if self.quantization is None:
            del fixed["quantization"]
        if not self.has_texts:
            fixed["class_names"] = list(self.class_names)  # which logit is whose
        # Keeps digests in certificates older than None, which stood as 0 before.
        fixed["tau"] = {device: tau or 0.0 for device, tau in self.tau.items()}
        fixed["files"] = sorted(fixed["files"], key=lambda file: str(file["name"]))
        canonical = json.dumps(fixed, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


_Kind = TypeVar("_Kind", bound=ModelDescription)


def parse_card(text: str) -> ModelCard:
    """Returns the card in a TOML text.

    Raises:
        ValueError: the text is not TOML, or a field is unknown, missing or out of range.
    """
    return ModelCard.model_validate(parse_toml(text))


def parse_description(text: str) -> ModelDescription:
    """Returns the card in a TOML text: a `ModelCard` if it lists files.

    Raises:
        ValueError: the text is not TOML, or a field is unknown, missing or out of range.
    """
    fields = parse_toml(text)
    kind = ModelCard if "files" in fields else ModelDescription
    return kind.model_validate(fields)


def load_card(path: Path) -> ModelCard:
    """Returns the card in a TOML file.

    Raises:
        InvalidCard: the file is unreadable, is not TOML or breaks a rule. The error names the file.
    """
    return _load(path, parse_card)


def load_description(path: Path) -> ModelDescription:
    """Returns the card in a TOML file: a `ModelCard` if it lists files.

    Raises:
        InvalidCard: the file is unreadable, is not TOML or breaks a rule. The error names the file.
    """
    return _load(path, parse_description)


def read_card(path: Path) -> str:
    """Returns the text of a card's file, which must be a regular file of at most 1 MiB.

    Raises:
        OSError, ValueError: the file cannot be read.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is not a regular file")
    with path.open("rb") as stream:
        content = stream.read(_MAX_CARD_BYTES + 1)
    if len(content) > _MAX_CARD_BYTES:
        raise ValueError(f"a card may have at most {_MAX_CARD_BYTES} bytes")
    return content.decode()


def _load(path: Path, parse: Callable[[str], _Kind]) -> _Kind:
    try:
        return parse(read_card(path))
    except (OSError, ValidationError, ValueError) as error:
        raise InvalidCard(path, one_line(error)) from error
