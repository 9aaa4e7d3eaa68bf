"""What is asked of a certification, over HTTP and at the command line: one parser for both."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
    TypeAdapter,
    ValidationError,
)

from app.request.limits import Limits
from app.request.numbers import (
    DECIMAL_TEXT,
    PLAIN_DECIMAL,
    PLAIN_WHOLE,
    WINDOW,
    check_different,
    read_window,
)
from app.request.refusal import FieldInvalid, check_not_empty
from app.request.targets import (
    AskedClassNames,
    AskedTemplate,
    PromptName,
    TargetField,
    spread,
)
from models.files.bounded_json import JsonBounds, check_bounds
from models.files.untrusted_text import parse_strict
from models.imaging import RequestedWindow
from worker.contract import (
    MAX_BANK,
    MAX_CLASS_NAMES,
    MAX_SIGMAS,
    MAX_TARGETS,
    Alpha,
    CohenParameters,
    Contract,
    Radius,
    Sigma,
    StagedParameters,
    Tolerance,
)
from worker.contract.certificate.document import Prompting

_PlainDecimal, _AsText = PLAIN_DECIMAL, DECIMAL_TEXT
_Whole = Annotated[int, PLAIN_WHOLE]
_Sigmas = Annotated[
    list[Annotated[Sigma, _PlainDecimal, _AsText]],
    Field(min_length=1, max_length=4 * MAX_SIGMAS, fail_fast=True),
    AfterValidator(check_different),
]


PARAMETERS: dict[str, tuple[str, ...]] = {
    "staged": ("n_max", "target_radius", "tolerance", "minimum_radius"),
    "cohen": ("n", "n0"),
}


_TARGETS: TypeAdapter[tuple[TargetField, ...]] = TypeAdapter(
    Annotated[tuple[TargetField, ...], Field(max_length=MAX_TARGETS, fail_fast=True)]
)


def _check_targets(text: str) -> str:
    check_bounds(text.encode(), JsonBounds())
    parse_strict(text)
    targets = _TARGETS.validate_json(text)
    if not 1 <= len(targets) <= MAX_TARGETS or len(set(targets)) != len(targets):
        raise ValueError("too few, too many or equal targets")
    return text


RULES = {
    "sigma": "one or more decimal numbers from 0.001 to 10, each named once",
    "model": "the id of a model, at most 64 characters",
    "prompting": 'one or more of "template", "few-shot", "zero-shot", "few-shot+zero-shot" and '
    '"routed"',
    "prompt": "ids or digests of stored prompts (GET /prompts) for few-shot, few-shot+zero-shot "
    "or routed",
    "class_name": f"2 to {MAX_CLASS_NAMES} class names, all different, on one line and none blank",
    "template": "a sentence with {} exactly once, at most 1000 characters",
    "targets": f"a JSON list of 1 to {MAX_TARGETS} different objects with prompting, prompt, bank "
    "(a list of objects with prompt or template), class_names and template (each may be left "
    "out, none named twice), instead of prompting, prompt, class_name and template",
    "procedure": '"staged" or "cohen"',
    "n_max": "an integer from 1 to the service's limit (100000 unless its operator set another), "
    "for staged only",
    "target_radius": "a decimal number greater than 0 and at most 1000, for staged only",
    "tolerance": "a decimal number of at least 0 and less than 1, for staged only",
    "minimum_radius": "a decimal number greater than 0 and at most 1000, for staged only",
    "n": "an integer from 1 to the service's limit (100000 unless its operator set another), for "
    "cohen only",
    "n0": "an integer from 1 to the service's limit (10000 unless its operator set another), for "
    "cohen only",
    "joint": "true or false",
    "alpha": "a decimal number of at least 1e-12 and less than 0.5",
    "attempt": "an integer from 0 to 10000",
    "frame": "an integer from 0 to the file's last frame",
    "window": '"auto", or centre and width separated by a comma, like 40,400',
}


class CertifyFields(Contract):
    """What is asked of a certification, apart from the image itself."""

    sigma: _Sigmas = Field(
        description=f"{RULES['sigma']}. Standard deviation of the noise on pixels in [0, 1]; one "
        "certificate each.",
        examples=[["0.25", "0.5"]],
    )
    model: str | None = Field(
        default=None,
        max_length=64,
        description=f"{RULES['model']}. Default: the service's default model; GET /models lists "
        "all.",
    )
    prompting: list[Prompting] = Field(
        default=[],
        max_length=MAX_TARGETS,
        fail_fast=True,
        description=f"{RULES['prompting']}. template is a sentence; few-shot a stored prompt; "
        "zero-shot tunes the words before the class name on this image, few-shot+zero-shot a "
        "stored prompt; routed chooses among stored prompts by a certified selector. All share one "
        "pass of the image tower. Default: few-shot where a prompt is named, else template.",
        examples=[["template", "few-shot"]],
    )
    prompt: list[PromptName] = Field(
        default=[],
        max_length=MAX_BANK,
        fail_fast=True,
        description=f"{RULES['prompt']}. With several, each gets its own certificates; routed "
        "takes all as its bank.",
        examples=[["bundled-2-mednist"]],
    )
    class_name: AskedClassNames | None = Field(
        default=None,
        description=f"{RULES['class_name']}. Default: those of the first prompt named, else the "
        "model card's.",
    )
    template: AskedTemplate | None = Field(
        default=None,
        description=f"{RULES['template']}. {{}} is the place of the class name. Default: the words "
        "that the first prompt named was learned from, else the model card's.",
    )
    targets: Annotated[str, AfterValidator(_check_targets)] | None = Field(
        default=None,
        description=f"{RULES['targets']}. All label sets share one pass of the image tower; each "
        "gets its own certificates.",
        examples=[
            '[{"class_names": ["normal lungs", "pneumonia"]}, '
            '{"prompting": "few-shot", "prompt": "bundled-2-kermany-cxr"}]'
        ],
    )
    procedure: Literal["staged", "cohen"] = Field(
        default="staged",
        description=f"{RULES['procedure']}. staged looks at growing samples and stops when it has "
        "seen enough; cohen takes n0 samples to choose the class and n to bound it.",
    )
    n_max: _Whole | None = Field(
        default=None,
        ge=1,
        description=f"{RULES['n_max']}. The most samples per noise level. Default: 10000.",
    )
    target_radius: Annotated[Radius, _PlainDecimal, _AsText] | None = Field(
        default=None,
        description=f"{RULES['target_radius']}. Stop as soon as the radius is at least this, or "
        "cannot become it.",
    )
    tolerance: Annotated[Tolerance, _PlainDecimal, _AsText] | None = Field(
        default=None,
        description=f"{RULES['tolerance']}. Without a target, stop within this share of the radius "
        "that n_max would give. Default: 0.05.",
    )
    minimum_radius: Annotated[Radius, _PlainDecimal, _AsText] | None = Field(
        default=None,
        description=f"{RULES['minimum_radius']}. Without a target, stop when not even this is in "
        "reach. Default: 0.05 sigma.",
    )
    n: _Whole | None = Field(
        default=None,
        ge=1,
        description=f"{RULES['n']}. Samples that bound the probability. Default: 10000.",
    )
    n0: _Whole | None = Field(
        default=None,
        ge=1,
        description=f"{RULES['n0']}. Samples that choose the class. Default: 100.",
    )
    joint: bool = Field(
        default=False,
        description=f"{RULES['joint']}. true makes all certificates of this request (images, noise "
        "levels, promptings) hold together with probability 1 - alpha, by dividing alpha among "
        "them.",
    )
    alpha: Annotated[Alpha, _PlainDecimal, _AsText] = Field(
        default=Decimal("0.001"),
        description=f"{RULES['alpha']}. Probability, per certificate asked for, that its claim is "
        "false.",
    )
    attempt: _Whole = Field(
        default=0,
        ge=0,
        le=10_000,
        description=f"{RULES['attempt']}. Another number asks for other noise; how often an image "
        "was tried is said in its certificates.",
    )
    frame: _Whole | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description=f"{RULES['frame']}. Needed where there are several; ignored where there is "
        "one.",
    )
    window: str | None = Field(
        default=None,
        pattern=WINDOW,
        description=f"{RULES['window']}. Default: what the file says, else chosen from its grey "
        "values; the result tells.",
    )

    @property
    def requested_targets(self) -> tuple[TargetField, ...]:
        """The requested label sets: those of `targets`, or those of the plain fields.

        Raises:
            FieldInvalid: the plain fields do not add up to any.
        """
        if self.targets is not None:
            return _TARGETS.validate_json(self.targets)
        return spread(
            tuple(dict.fromkeys(self.prompting)),
            tuple(dict.fromkeys(self.prompt)),
            template=self.template,
            class_names=self.class_name,
        )

    @property
    def foreign_parameters(self) -> tuple[str, ...]:
        """The given parameters that belong to the other procedure."""
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


def parse_fields(given: Mapping[str, object]) -> CertifyFields:
    """Parses values that were given as text, by field name; repeatable fields are lists.

    Raises:
        FieldInvalid: names the first field whose value is empty or breaks its rule.
    """
    check_not_empty(given.items(), RULES)
    try:
        return CertifyFields.model_validate(given)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        raise FieldInvalid(name, RULES[name]) from None


def check_fields(fields: CertifyFields, limits: Limits, *, images: int = 1) -> None:
    """Refuses fields that contradict one another, and values above the operator's limits.

    Raises:
        FieldInvalid: names the first field that is refused.
    """
    plain = (fields.class_name, fields.template, fields.prompting, fields.prompt)
    if fields.targets and any(plain):
        raise FieldInvalid(
            "targets", "either targets, or prompting, prompt, class_name and template, not both"
        )
    if foreign := fields.foreign_parameters:
        takes = ", ".join(PARAMETERS[fields.procedure])
        raise FieldInvalid(
            foreign[0], f"no value: the procedure is {fields.procedure}, it takes {takes}"
        )
    checks = (
        ("image", images, limits.images, "at most {} images"),
        ("sigma", len(fields.sigma), limits.sigmas, "at most {} noise levels"),
        ("n_max", fields.n_max or 1, limits.n, "an integer from 1 to {}"),
        ("n", fields.n or 1, limits.n, "an integer from 1 to {}"),
        ("n0", fields.n0 or 1, limits.n0, "an integer from 1 to {}"),
    )
    for field, value, limit, expected in checks:
        if value > limit:
            raise FieldInvalid(field, expected.format(limit))
