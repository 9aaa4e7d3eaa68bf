"""The service's answers: their bytes, and the parts that programs use.

Unknown members are kept and ignored, because a newer service may send more.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

ENDED = frozenset({"finished", "failed", "cancelled"})
"""Statuses that are final."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """One noise level under one prompting: a class with its radius, or an abstention.

    Attributes:
        outcome: "certified" or "abstained". An abstention is neither a class nor an error.
        prediction: the certified class; None for an abstention.
        radius: l2, pixels in [0, 1], rounded down; None for an abstention.
        document: the whole certificate as the service sent it.
    """

    sigma: Decimal
    prompting: str
    outcome: str
    prediction: str | None
    radius: Decimal | None
    statement: str
    document: Mapping[str, Any]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Certificate":
        certified = document["outcome"] == "certified"
        return cls(
            sigma=document["sigma"],
            prompting=document["prompting"],
            outcome=document["outcome"],
            prediction=document["prediction"] if certified else None,
            radius=document["radius"] if certified else None,
            statement=document["statement"],
            document=document,
        )


@dataclass(frozen=True, kw_only=True)
class Certification:
    """A job as it stood when the service answered.

    Attributes:
        status: "queued", "running", "finished", "failed" or "cancelled".
        samples_done, samples_total: progress while the job runs; 0 before.
        failure: why the job failed, else "".
        note: says the largest radius that can be proved, where that is less than asked, else "".
        content: the exact bytes of the answer, which are signed, stored and audited.
        document: the same, parsed; decimal numbers are `Decimal`.
    """

    id: str
    status: str
    samples_done: int
    samples_total: int
    failure: str
    note: str
    content: bytes
    document: Mapping[str, Any]

    @classmethod
    def parse(cls, content: bytes) -> "Certification":
        """Parses an answer.

        Raises:
            ValueError: the bytes are not a certification.
        """
        document = json.loads(content, parse_float=Decimal)
        try:
            progress = document.get("progress") or {}
            return cls(
                id=document["id"],
                status=document["status"],
                samples_done=progress.get("samples_done", 0),
                samples_total=progress.get("samples_total", 0),
                failure=(document.get("failure") or {}).get("detail", ""),
                note=document.get("note") or "",
                content=content,
                document=document,
            )
        except (KeyError, AttributeError, TypeError):
            raise ValueError("the answer is not a certification") from None

    @property
    def ended(self) -> bool:
        """Whether the status is final."""
        return self.status in ENDED

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """One per noise level and prompting, smallest noise first; empty unless finished."""
        return tuple(map(Certificate.of, self.document.get("certificates", ())))
