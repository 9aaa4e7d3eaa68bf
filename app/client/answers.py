"""What the service answered: as its bytes, and as what a program wants of them.

Unknown members are kept and ignored: a newer service may say more.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

_ENDED = frozenset({"finished", "failed", "cancelled"})


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """One noise level under one prompting: a class with its radius, or an abstention.

    Attributes:
        outcome: "certified" or "abstained". An abstention is neither a class nor an error.
        prediction: the class that is certified; None for an abstention.
        radius: l2, pixels in [0, 1], rounded down; None for an abstention.
        document: all that the service says of it.
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
        samples_done, samples_total: progress while it runs, 0 before.
        failure: why it has failed, else "".
        content: the answer's very bytes: what is signed, stored and audited.
        document: the same, parsed; decimal numbers as `Decimal`.
    """

    id: str
    status: str
    samples_done: int
    samples_total: int
    failure: str
    content: bytes
    document: Mapping[str, Any]

    @classmethod
    def parse(cls, content: bytes) -> "Certification":
        """ValueError where the bytes are no certification."""
        document = json.loads(content, parse_float=Decimal)
        try:
            progress = document.get("progress") or {}
            return cls(
                id=document["id"],
                status=document["status"],
                samples_done=progress.get("samples_done", 0),
                samples_total=progress.get("samples_total", 0),
                failure=(document.get("failure") or {}).get("detail", ""),
                content=content,
                document=document,
            )
        except (KeyError, AttributeError, TypeError):
            raise ValueError("the answer is no certification") from None

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in _ENDED

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """One per noise level and prompting, from the smallest noise; empty unless finished."""
        return tuple(map(Certificate.of, self.document.get("certificates", ())))
