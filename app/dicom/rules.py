"""The rules of a node: which images are certified, what is asked, and who gets the results."""

import hashlib
import json
import tomllib
from collections.abc import Sequence
from decimal import ROUND_DOWN, Context, Decimal
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import ConfigDict, Field, ValidationError, model_validator

from app.dicom.instance import Instance
from app.dicom.settings import AeTitle
from app.dicom.web import WebAddress
from app.request.certify import CertifyFields, parse_fields
from models.files.untrusted_text import explain_invalid
from worker.contract import Contract

Texts = tuple[str, ...]
_Name = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")]
_OF_THE_NODE = frozenset({"frame", "targets", "callback_url"})
_DEFAULT_ALPHA = CertifyFields.model_fields["alpha"].default
MOST_FRAMES = 1000
"""Of one object under one rule: each is a certification of its own."""


_File = TypeVar("_File", bound=Contract)


class RulesInvalid(ValueError):
    """The file of rules cannot be used; the sentence says why."""


class Stow(WebAddress):
    """A destination by DICOMweb: results are POSTed to `url`/studies."""

    kind: Literal["stow"]


class CStore(Contract):
    """A destination by C-STORE; with `ca` the connection is encrypted."""

    kind: Literal["cstore"]
    host: str
    port: int = Field(ge=1, le=65535)
    ae_title: AeTitle
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


class WebSource(WebAddress):
    """A source by DICOMweb. For rules, what comes from it was sent by `ae_title`."""

    kind: Literal["dicomweb"]
    ae_title: str = ""


class CMove(Contract):
    """A source by C-MOVE: a PACS that knows the node's AE title, and sends to it."""

    kind: Literal["cmove"]
    host: str
    port: int = Field(ge=1, le=65535)
    ae_title: AeTitle


Source = Annotated[WebSource | CMove, Field(discriminator="kind")]
Destination = Annotated[Stow | CStore, Field(discriminator="kind")]


class Code(Contract):
    """A coded concept, such as one of SNOMED CT (scheme `SCT`)."""

    scheme: str = Field(min_length=1, max_length=16)
    value: str = Field(min_length=1, max_length=16)
    meaning: str = Field(min_length=1, max_length=64)


class Match(Contract):
    """What an image must be. An empty list takes any; series descriptions are globs."""

    modality: Texts = ()
    body_part: Texts = ()
    sop_class: Texts = ()
    series_description: Texts = ()
    calling_ae: Texts = ()


class Frames(Contract):
    """Several frames of an object: each k-th from the first, and of these so many at most."""

    every: int = Field(default=1, ge=1)
    at_most: int | None = Field(default=None, ge=1, le=MOST_FRAMES)

    def choose(self, frames: int) -> Sequence[int]:
        """The frames of an object that has so many."""
        return _spread(range(0, frames, self.every), self.at_most)


class Rule(Contract):
    """One rule. `request` has fields of POST /certify.

    `every` takes each k-th image by its number, counted from 1. `middle` and `at_most` wait for the
    series to be complete; `at_most` spreads its choice over it. `frame` is for objects of several:
    one of them, or several, each of which is certified as an image of its own. `joint` divides
    alpha among the images of a series, which has one answer more then. With a
    `source` an object is not kept while it is certified: its header is read from there again.
    """

    name: _Name
    match: Match = Match()
    request: dict[str, str | int | float | bool | list[str]]
    every: int = Field(default=1, ge=1)
    at_most: int | None = Field(default=None, ge=1)
    middle: bool = False
    frame: Annotated[int, Field(ge=0, strict=True)] | Literal["middle", "all"] | Frames | None = (
        None
    )
    joint: bool = False
    source: _Name | None = None
    capture: bool = False
    pseudonymise: bool = False
    send_to: Annotated[tuple[_Name, ...], Field(min_length=1)]
    codes: dict[str, Code] = Field(default={})

    @model_validator(mode="after")
    def _check_request(self) -> Self:
        allowed = CertifyFields.model_fields.keys() - _OF_THE_NODE
        if others := self.request.keys() - allowed:
            raise ValueError(f"{min(others)} is not for a rule's request")
        parse_fields(self.fields)
        if self.middle and self.at_most is not None:
            raise ValueError("middle is one image: leave at_most out")
        if self.middle and self.joint and self._frames is None:
            raise ValueError("middle is one image: leave joint out")
        return self

    @property
    def fields(self) -> dict[str, object]:
        """The request as a form has it: texts, and lists of texts."""
        return {name: _as_form(value) for name, value in self.request.items()}

    @cached_property
    def digest(self) -> str:
        """Names the rule by what it says."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def needs_series(self) -> bool:
        """Whether its choice waits for the whole series."""
        return self.chooses_once or self.joint

    @property
    def chooses_once(self) -> bool:
        """Whether an image that comes after the choice is left out."""
        return self.middle or self.at_most is not None

    def divide_alpha(self, parts: int) -> str:
        """A share of alpha; all shares of a series sum up to it at most."""
        asked = Decimal(str(self.request.get("alpha", _DEFAULT_ALPHA)))
        return f"{Context(prec=6, rounding=ROUND_DOWN).divide(asked, Decimal(parts)):f}"

    def find_objection(self, instance: Instance, calling_ae: str) -> str | None:
        """Why the rule does not take an object, or None if it does."""
        if not instance.is_image:
            return "it is no image"
        if instance.is_result:
            return "it is a result of a node"
        wanted = self.match
        for what, came, allowed in (
            ("modality", instance.modality, wanted.modality),
            ("body part", instance.body_part, wanted.body_part),
            ("SOP class", instance.sop_class_uid, wanted.sop_class),
            ("calling AE", calling_ae, wanted.calling_ae),
        ):
            if allowed and came.upper() not in {one.upper() for one in allowed}:
                return f"its {what} is {came or 'absent'}, not {' or '.join(allowed)}"
        globs = wanted.series_description
        described = instance.series_description.lower()
        if globs and not any(fnmatchcase(described, glob.lower()) for glob in globs):
            return f"its series description does not match {' or '.join(globs)}"
        if not self.needs_series and (instance.number - 1) % self.every:
            return f"its number {instance.number} is not one of every {self.every}"
        return None

    def choose(self, numbers: Sequence[int]) -> frozenset[int]:
        """The places of the images to certify, in a complete series, by their numbers."""
        places = sorted(range(len(numbers)), key=lambda place: numbers[place])[:: self.every]
        if self.middle:
            return frozenset({places[len(places) // 2]}) if places else frozenset()
        return frozenset(_spread(places, self.at_most))

    @property
    def _frames(self) -> Frames | None:
        """How it chooses several frames, if it does."""
        if self.frame == "all":
            return Frames()
        return self.frame if isinstance(self.frame, Frames) else None

    def choose_frame(self, frames: int) -> int | None:
        """The frame of an object of several; None where there is one, or the rule names no one."""
        if frames == 1:
            return None
        if self.frame == "middle":
            return frames // 2
        return self.frame if isinstance(self.frame, int) else None

    def choose_frames(self, frames: int) -> Sequence[int | None]:
        """The frames that are certified each as an image; a single None if the object is one."""
        if frames == 1 or self._frames is None or self.find_frame_objection(frames) is not None:
            return (None,)
        return self._frames.choose(frames)

    def find_frame_objection(self, frames: int) -> str | None:
        """Why an object of so many frames cannot be certified, or None if it can."""
        if frames == 1:
            return None
        if self.frame is None:
            return "it has several frames, and the rule names none"
        if isinstance(self.frame, int) and self.frame >= frames:
            return f"it has no frame {self.frame}, counted from 0"
        if self._frames is not None and len(self._frames.choose(frames)) > MOST_FRAMES:
            return f"the rule takes more than {MOST_FRAMES} of its frames: say at_most in frame"
        return None


def _spread(places: Sequence[int], at_most: int | None) -> Sequence[int]:
    """At most so many of them, spread over all."""
    if at_most is None or at_most >= len(places):
        return places
    return [places[i * len(places) // at_most] for i in range(at_most)]


def _as_form(value: object) -> object:
    if isinstance(value, list):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


class Rules(Contract):
    """A file of rules. `unmatched` says what becomes of an image that no rule takes."""

    unmatched: Literal["drop", "refuse"] = "drop"
    destinations: dict[_Name, Destination]
    sources: dict[_Name, Source] = Field(default={})
    rules: Annotated[tuple[Rule, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = [rule.name for rule in self.rules]
        if len(set(names)) != len(names):
            raise ValueError("two rules have one name")
        for rule in self.rules:
            if rule.source is not None and not isinstance(self.sources.get(rule.source), WebSource):
                raise ValueError(f"rule {rule.name}: {rule.source} is no source by DICOMweb")
            if unknown := set(rule.send_to) - self.destinations.keys():
                raise ValueError(f"rule {rule.name} sends to {min(unknown)}, which is not there")
        return self

    def find(self, instance: Instance, calling_ae: str) -> tuple[Rule, ...]:
        """All rules that take an image."""
        return tuple(r for r in self.rules if r.find_objection(instance, calling_ae) is None)


class _Sources(Contract):
    """The sources of a file of rules; what else it says is for a node."""

    model_config = ConfigDict(extra="ignore")

    sources: dict[_Name, Source] = Field(default={})


def load_rules(path: Path) -> Rules:
    """Reads a file of rules.

    Raises:
        RulesInvalid: it is not there, is no TOML, or a rule cannot be used.
    """
    return _load(path, Rules)


def load_sources(path: Path) -> dict[str, WebSource | CMove]:
    """Reads the sources of a file of rules, which need not have any rule.

    Raises:
        RulesInvalid: it is not there, is no TOML, or a source cannot be used.
    """
    return _load(path, _Sources).sources


def _load(path: Path, kind: type[_File]) -> _File:
    try:
        return kind.model_validate_json(json.dumps(tomllib.loads(path.read_text("utf-8"))))
    except OSError as error:
        raise RulesInvalid(f"{path} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        raise RulesInvalid(f"{path}: {explain_invalid(error, 'the file')}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, TypeError) as error:
        raise RulesInvalid(f"{path} is no TOML of rules: {error}") from None
