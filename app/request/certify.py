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

from app.request.callback import MAX_CHARACTERS, check_callback
from app.request.callback import RULE as CALLBACK_RULE
from app.request.limits import Limits
from app.request.numbers import (
    DECIMAL_TEXT,
    PLAIN_DECIMAL,
    PLAIN_WHOLE,
    WINDOW,
    check_different,
    read_window,
)
from app.request.reference import RULE as REFERENCE_RULE
from app.request.reference import Reference
from app.request.refusal import FieldInvalid, check_not_empty
from app.request.targets import (
    AskedClassNames,
    AskedTemplate,
    PromptName,
    TargetField,
    check_name_lengths,
    spread,
)
from models.files.bounded_json import JsonBounds, check_bounds
from models.files.untrusted_text import parse_strict
from models.imaging import RequestedWindow
from worker.certification.schedule import LEAST_GROWTH
from worker.contract import (
    MAX_BANK,
    MAX_CLASS_NAMES,
    MAX_SIGMAS,
    MAX_TARGETS,
    Alpha,
    CohenParameters,
    Contract,
    Priority,
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
    "staged": ("n_max", "n_cap", "target_radius", "tolerance", "minimum_radius"),
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
    "class_name": f"2 to {MAX_CLASS_NAMES} class names that people can tell apart, each on one "
    "line and not blank, of at most as many characters as the service allows (200 unless its "
    "operator set another limit)",
    "template": "a sentence with {} exactly once, at most 1000 characters, all of them visible",
    "targets": f"a JSON list of 1 to {MAX_TARGETS} different objects with prompting, prompt, bank "
    "(a list of objects with prompt or template), class_names and template (each may be left "
    "out, none named twice), instead of prompting, prompt, class_name and template",
    "procedure": '"staged" or "cohen"',
    "n_max": "an integer from 1 to the service's limit (100000 unless its operator set another), "
    "for staged only",
    "n_cap": "an integer of at least twice n_max, up to the service's limit (100000 unless its "
    "operator set another), for staged only",
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
    "priority": '"urgent", "normal" or "batch"; urgent needs a key with the scope urgent',
    "callback_url": CALLBACK_RULE,
    "reference": f"{REFERENCE_RULE}; one for all images, or one for each in their order",
    "witness": "true or false",
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
    n_cap: _Whole | None = Field(
        default=None,
        ge=1,
        description=f"{RULES['n_cap']}. Lets the certification go on later, without a new attempt "
        "(POST /certifications/{certification_id}/continue), up to so many samples per noise "
        "level. Alpha is divided over all of them, so each certificate proves a little less.",
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
        description=f"{RULES['frame']}. Needed where there are several.",
    )
    window: str | None = Field(
        default=None,
        pattern=WINDOW,
        description=f"{RULES['window']}. Default: what the file says, else chosen from its grey "
        "values; the result tells.",
    )

    priority: Priority | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description=f"{RULES['priority']}. urgent is taken before all others, batch when nothing "
        "else waits; no certificate depends on it. Default: normal.",
    )
    callback_url: Annotated[str, AfterValidator(check_callback)] | None = Field(
        default=None,
        max_length=MAX_CHARACTERS,
        exclude_if=lambda value: value is None,
        description=f"{RULES['callback_url']}. A signed message with id and status goes there when "
        "a certification has ended (Standard Webhooks). Default: that of the key, if it has one.",
    )

    reference: list[Reference] = Field(
        default=[],
        max_length=256,  # as many as images of one request, at most
        fail_fast=True,
        exclude_if=lambda value: not value,
        description=f"{RULES['reference']}. What you call the image, like the number of an order. "
        "It is kept with the job and shown to who may see it; it is no part of what is certified, "
        "and is never logged.",
    )
    witness: bool = Field(
        default=False,
        exclude_if=lambda value: not value,
        description=f"{RULES['witness']}. true looks for the smallest change that changes the "
        "answer, once the certification has finished (GET "
        "/certifications/{certification_id}/witness). No certificate depends on it.",
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

    def find_reference(self, index: int) -> str | None:
        """The reference of one of the images sent together, from 0, or None."""
        if len(self.reference) < 2:
            return self.reference[0] if self.reference else None
        return self.reference[index]

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
        ("n_cap", fields.n_cap or 1, limits.n, "an integer of at least twice n_max, up to {}"),
        ("n", fields.n or 1, limits.n, "an integer from 1 to {}"),
        ("n0", fields.n0 or 1, limits.n0, "an integer from 1 to {}"),
    )
    for field, value, limit, expected in checks:
        if value > limit:
            raise FieldInvalid(field, expected.format(limit))
    if fields.n_cap is not None and fields.n_cap < LEAST_GROWTH * _find_n_max(fields):
        raise FieldInvalid("n_cap", f"an integer of at least twice n_max, up to {limits.n}")
    if len(fields.reference) not in (0, 1, images):
        raise FieldInvalid("reference", "one for all images, or one for each in their order")
    check_name_lengths(fields.class_name or (), most=limits.class_name)
    for target in fields.requested_targets if fields.targets else ():
        check_name_lengths(target.class_names or (), most=limits.class_name, field="targets")


def _find_n_max(fields: CertifyFields) -> int:
    return fields.n_max or StagedParameters().n_max
