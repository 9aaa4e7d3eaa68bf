"""What POST /certify is asked, and its multipart form. A description begins with its rule."""

from decimal import Decimal
from typing import Annotated, Literal

from fastapi import UploadFile
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, WithJsonSchema

from app.server.forms.numbers import DECIMAL_TEXT, PLAIN_DECIMAL, PLAIN_WHOLE, WINDOW, read_window
from app.targets import AskedClassNames, AskedFields, AskedTemplate, PromptName, TargetField
from models.files.untrusted_text import parse_strict
from models.imaging import RequestedWindow
from worker.contract import (
    MAX_CLASS_NAMES,
    MAX_TARGETS,
    Alpha,
    CohenParameters,
    Radius,
    Sigma,
    StagedParameters,
    Tolerance,
)
from worker.contract.certificate.document import Prompting


def _check_different(values: list[Decimal]) -> list[Decimal]:
    if len(set(values)) != len(values):
        raise ValueError("a value is named twice")
    return values


_PlainDecimal, _AsText = PLAIN_DECIMAL, DECIMAL_TEXT
_Whole = Annotated[int, PLAIN_WHOLE]
_File = Annotated[UploadFile, WithJsonSchema({"type": "string", "format": "binary"})]
_Sigmas = Annotated[
    list[Annotated[Sigma, _PlainDecimal, _AsText]],
    Field(min_length=1),
    AfterValidator(_check_different),
]


PARAMETERS: dict[str, tuple[str, ...]] = {
    "staged": ("n_max", "target_radius", "tolerance", "minimum_radius"),
    "cohen": ("n", "n0"),
}


_TARGETS: TypeAdapter[tuple[TargetField, ...]] = TypeAdapter(tuple[TargetField, ...])


def _check_targets(text: str) -> str:
    parse_strict(text)
    targets = _TARGETS.validate_json(text)
    if not 1 <= len(targets) <= MAX_TARGETS or len(set(targets)) != len(targets):
        raise ValueError("too few, too many or equal targets")
    return text


class CertifyFields(BaseModel):
    """What is asked of a certification, apart from the image itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sigma: _Sigmas = Field(
        description="one or more decimal numbers from 0.001 to 10, each named once. Standard "
        "deviation of the noise on pixels in [0, 1]; one certificate each.",
        examples=[["0.25", "0.5"]],
    )
    model: str | None = Field(
        default=None,
        max_length=64,
        description="the id of a model, at most 64 characters. Default: the service's default "
        "model; GET /models lists all.",
    )
    prompting: list[Prompting] = Field(
        default=[],
        description='one or more of "template", "few-shot", "zero-shot", "few-shot+zero-shot" and '
        '"routed". template is a sentence; few-shot a stored prompt; zero-shot tunes the words '
        "before the class name on this image, few-shot+zero-shot a stored prompt; routed chooses "
        "among stored prompts by a certified selector. All share one pass of the image tower. "
        "Default: few-shot where a prompt is named, else template.",
        examples=[["template", "few-shot"]],
    )
    prompt: list[PromptName] = Field(
        default=[],
        description="ids or digests of stored prompts (GET /prompts) for few-shot, "
        "few-shot+zero-shot or routed. With several, each gets its own certificates; routed takes "
        "all as its bank.",
        examples=[["bundled-mednist"]],
    )
    class_name: AskedClassNames | None = Field(
        default=None,
        description=f"2 to {MAX_CLASS_NAMES} class names, all different, on one line and none "
        "blank. Default: "
        "those of the first prompt named, else the model card's.",
    )
    template: AskedTemplate | None = Field(
        default=None,
        description="a sentence with {} exactly once, at most 1000 characters. {} is the place "
        "of the class name. Default: the words that the first prompt named was learned from, else "
        "the model card's.",
    )
    targets: Annotated[str, AfterValidator(_check_targets)] | None = Field(
        default=None,
        description=f"a JSON list of 1 to {MAX_TARGETS} different objects with prompting, prompt, "
        "bank (a list of objects with prompt or template), class_names and template (each may be "
        "left out, none named twice), instead of prompting, prompt, class_name and template. All "
        "label sets share one pass of the image tower; each gets its own certificates.",
        examples=[
            '[{"class_names": ["normal lungs", "pneumonia"]}, '
            '{"prompting": "few-shot", "prompt": "bundled-kermany-cxr"}]'
        ],
    )
    procedure: Literal["staged", "cohen"] = Field(
        default="staged",
        description='"staged" or "cohen". staged looks at growing samples and stops when it has '
        "seen enough; cohen takes n0 samples to choose the class and n to bound it.",
    )
    n_max: _Whole | None = Field(
        default=None,
        ge=1,
        description="an integer from 1 to the service's limit (100000 unless its operator set "
        "another), for staged only. The most samples per noise level. Default: 10000.",
    )
    target_radius: Annotated[Radius, _PlainDecimal] | None = Field(
        default=None,
        description="a decimal number greater than 0 and at most 1000, for staged only. Stop as "
        "soon as the radius is at least this, or cannot become it.",
    )
    tolerance: Annotated[Tolerance, _PlainDecimal] | None = Field(
        default=None,
        description="a decimal number of at least 0 and less than 1, for staged only. Without a "
        "target, stop within this share of the radius that n_max would give. Default: 0.05.",
    )
    minimum_radius: Annotated[Radius, _PlainDecimal] | None = Field(
        default=None,
        description="a decimal number greater than 0 and at most 1000, for staged only. Without "
        "a target, stop when not even this is in reach. Default: 0.05 sigma.",
    )
    n: _Whole | None = Field(
        default=None,
        ge=1,
        description="an integer from 1 to the service's limit (100000 unless its operator set "
        "another), for cohen only. Samples that bound the probability. Default: 10000.",
    )
    n0: _Whole | None = Field(
        default=None,
        ge=1,
        description="an integer from 1 to the service's limit (10000 unless its operator set "
        "another), for cohen only. Samples that choose the class. Default: 100.",
    )
    joint: bool = Field(
        default=False,
        description="true or false. true makes all certificates of this request (images, noise "
        "levels, promptings) hold together with probability 1 - alpha, by dividing alpha among "
        "them.",
    )
    alpha: Annotated[Alpha, _PlainDecimal, _AsText] = Field(
        default=Decimal("0.001"),
        description="a decimal number of at least 1e-12 and less than 0.5. Probability, per "
        "certificate asked for, that its claim is false.",
    )
    attempt: _Whole = Field(
        default=0,
        ge=0,
        le=10_000,
        description="an integer from 0 to 10000. Another number asks for other noise; how often "
        "an image was tried is said in its certificates.",
    )
    frame: _Whole | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description="an integer from 0 to the file's last frame. Needed where there are several; "
        "ignored where there is one.",
    )
    window: str | None = Field(
        default=None,
        pattern=WINDOW,
        description='"auto", or centre and width separated by a comma, like 40,400. Default: '
        "what the file says, else chosen from its grey values; the result tells.",
    )

    @property
    def requested_targets(self) -> tuple[TargetField, ...]:
        """The label sets asked for: those of `targets`, else those of the plain fields.

        Raises:
            TargetInvalid: the plain fields do not add up to any.
        """
        if self.targets is not None:
            return _TARGETS.validate_json(self.targets)
        asked = AskedFields(
            promptings=tuple(dict.fromkeys(self.prompting)),
            prompts=tuple(dict.fromkeys(self.prompt)),
            template=self.template,
            class_names=self.class_name,
        )
        return asked.spread()

    @property
    def foreign_parameters(self) -> tuple[str, ...]:
        """Parameters given that belong to the other procedure."""
        names = PARAMETERS["cohen" if self.procedure == "staged" else "staged"]
        return tuple(name for name in names if getattr(self, name) is not None)

    @property
    def requested_procedure(self) -> StagedParameters | CohenParameters:
        """The procedure with its parameters, defaults where none was given."""
        given = {
            name: value
            for name in PARAMETERS[self.procedure]
            if (value := getattr(self, name)) is not None
        }
        kind = StagedParameters if self.procedure == "staged" else CohenParameters
        return kind(**given)

    @property
    def requested_window(self) -> RequestedWindow:
        """The window as imaging takes it."""
        return read_window(self.window)


class CertifyForm(CertifyFields):
    """What is asked of a certification. Fields that are not listed here are refused."""

    image: list[_File] = Field(
        min_length=1,
        description="one or more image files: PNG, JPEG, JPEG 2000, TIFF, WebP or DICOM. The "
        "content decides, not the name. Several images become a batch; one that cannot be used "
        "does not keep the others out.",
    )


RULES = {
    name: (field.description or "").split(". ")[0].removesuffix(".")
    for name, field in CertifyForm.model_fields.items()
}
REPEATABLE = frozenset({"image", "sigma", "class_name", "prompting", "prompt"})
NUMBERS = frozenset(
    {"sigma", "alpha", "attempt", "frame"} | {n for names in PARAMETERS.values() for n in names}
)
