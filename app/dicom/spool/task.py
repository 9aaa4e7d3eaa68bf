"""Tasks: what the node has still to do for an image or for a series, under one rule."""

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Literal

from app.dicom.instance import Instance
from app.dicom.rules import Rule

State = Literal[
    "gathering",
    "waiting",
    "going-on",
    "certifying",
    "joining",
    "owed",
    "done",
    "dead",
    "left",
]
"""Waits for its series; for the service; to be continued there; for its certificates; a series for
those of its images; results owed; the ends: delivered, given up, not among those that its rule
chose."""


@dataclass(frozen=True)
class Uids:
    """An image by its UIDs: of its SOP class, itself, its series and its study."""

    sop_class: str
    instance: str
    series: str
    study: str

    @classmethod
    def of(cls, instance: Instance) -> "Uids":
        return cls(
            instance.sop_class_uid,
            instance.sop_instance_uid,
            instance.series_uid,
            instance.study_uid,
        )


@dataclass(frozen=True)
class Document:
    """One of our own results: its SOP class, its series, itself."""

    sop_class: str
    series: str
    instance: str


Results = Mapping[Document, bytes]
"""What a study gets for one task, as Part 10 files. The structured report is the first."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One image under one rule, or the joint answer of a series.

    Attributes:
        frame: of an object of several, the one that it is about, from 0.
        further: how often another attempt was asked for.
        alpha_parts: among so many images alpha is divided; 1: not divided.
        uids: of the image, or of one of the series; None where they are not kept.
        documents: how many results it has.
        predecessor: the report of an earlier attempt or of an earlier state of the series.
    """

    key: str
    kind: Literal["image", "series"]
    object: str
    series: str
    rule: Rule
    frames: int
    frame: int | None
    state: State
    since: float
    tries: int
    submission: int
    further: int
    certification: str | None
    owed: tuple[str, ...]
    alpha_parts: int
    uids: Uids | None
    documents: int
    predecessor: Document | None


@dataclass(frozen=True)
class Member:
    """One image of a series: its UIDs, its frame, and the service's answer, if there is one."""

    uids: Uids
    frame: int | None
    answer: bytes | None


def digest(*parts: str) -> str:
    """A name for a file or a row that tells nothing."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def read_task(row: sqlite3.Row, rule: Rule) -> Task:
    """A row as a task."""
    return Task(
        key=row["key"],
        kind=row["kind"],
        object=row["object"],
        series=row["series"],
        rule=rule,
        frames=row["frames"],
        frame=read_frame(row, rule),
        state=row["state"],
        since=row["since"],
        tries=row["tries"],
        submission=row["submission"],
        further=row["further"],
        certification=row["certification"],
        owed=tuple(json.loads(row["owed"])),
        alpha_parts=row["alpha_parts"],
        uids=read_uids(row["uids"]),
        documents=len(json.loads(row["documents"])),
        predecessor=_read_document(row["predecessor"]),
    )


def read_frame(row: sqlite3.Row, rule: Rule) -> int | None:
    """The frame that a row is about: its own, else the one that its rule names for all objects."""
    own: int | None = row["frame"]
    return rule.choose_frame(row["frames"]) if own is None else own


def read_uids(text: str | None) -> Uids | None:
    """UIDs as `write` wrote them."""
    return None if text is None else Uids(*json.loads(text))


def _read_document(text: str | None) -> Document | None:
    return None if text is None else Document(*json.loads(text))


def write(value: Uids | Document) -> str:
    """UIDs as a row keeps them."""
    return json.dumps(astuple(value))
