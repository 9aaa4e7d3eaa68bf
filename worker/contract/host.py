"""What a worker host says of itself: its models, what each of them is, and what it does."""

import hashlib
from datetime import datetime
from typing import Literal

import rfc8785
from pydantic import Field

from models.catalogue.cards import Sha256
from worker.contract.quantities import Contract
from worker.contract.request import ModelRef


class Identity(Contract):
    """Which f ran: what moves logits, and therefore which votes may be added together.

    `fingerprint` is the digest of what f computed for a fixed batch and its card's texts when the
    engine loaded it. None: two runs of that batch differed, or a version before fingerprints wrote
    this. `alike` are the fingerprints between which eta was measured on this model and device
    class, its own among them, so that `tau` covers what differs between their logits.
    """

    model: ModelRef
    architecture: str
    precision: str
    device_class: str
    device: str
    threads: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    tau: float | None = Field(ge=0, description="None: not measured, and votes have no margin.")
    versions: dict[str, str]
    fingerprint: Sha256 | None = Field(default=None, exclude_if=lambda value: value is None)
    alike: tuple[Sha256, ...] = Field(default=(), exclude_if=lambda value: not value)

    def merges_with(self, other: "Identity") -> bool:
        """Whether votes of the two may be added: one f, or two whose difference tau covers.

        An f without a fingerprint merges with none: equal descriptions do not make it one f, and
        tau was measured on one host. Two fingerprints are covered only where both identities name
        both of them as `alike`, by one measurement of eta, and there is a tau.
        """
        if self == other:
            return self.fingerprint is not None
        here = self.model_copy(update={"fingerprint": other.fingerprint})
        pair = {self.fingerprint, other.fingerprint}
        return bool(here == other and self.tau and pair <= set(self.alike))


_OF_F = set(Identity.model_fields) - {"model", "architecture"}


def f_sha256(said: Contract) -> str:
    """Names the f that an identity or a document's provenance describes, within one request.

    It covers all that keeps identities from merging, tau included: of one fingerprint there may be
    several. The model is left out, because the request names it.
    """
    return hashlib.sha256(rfc8785.dumps(said.model_dump(mode="json", include=_OF_F))).hexdigest()


class ModelState(Contract):
    """A model on one worker host.

    `ready`: it votes at once. `loading`: sessions wait for it. `present`: its files are there, and
    it is loaded when a session asks for it. `missing`: files are not there. `unusable`: it was
    tried, or can be seen, that it cannot be loaded; `detail` says why.
    """

    model: ModelRef
    state: Literal["ready", "loading", "present", "missing", "unusable"]
    memory_bytes: int = Field(default=0, ge=0)
    missing_files: tuple[str, ...] = ()
    detail: str = ""

    @property
    def can_serve(self) -> bool:
        """Whether a job for the model would be served here, now or after loading it."""
        return self.state in ("ready", "loading", "present")


HostState = Literal["starting", "ready", "draining", "drained", "broken"]
"""`starting`: the engine loads. `ready`: it takes jobs. `draining`: it takes no more and hands back
what runs. `drained`: nothing runs there. `broken`: the engine keeps ending; `detail` says more."""


class EngineFigures(Contract):
    """What an engine has done since it started, and the memory of its device."""

    batches: int = Field(default=0, ge=0)
    rows: int = Field(default=0, ge=0, description="Rows that batches had room for.")
    samples: int = Field(default=0, ge=0, description="Rows that were somebody's samples.")
    batch_s: float = Field(default=0.0, ge=0, description="Seconds spent in batches.")
    device_memory_bytes: int = Field(default=0, ge=0)


class WorkerReport(Contract):
    """A worker host as it announces itself, every few seconds.

    `ready`: it takes jobs. `models` are those that vote at once; `states` has all that the host
    knows, and is None where the host does not say.
    """

    name: str
    started_at: datetime
    ready: bool
    key_commitment: str
    models: tuple[Identity, ...] = ()
    samples_per_s: dict[str, float] = Field(default_factory=dict)
    states: tuple[ModelState, ...] | None = None
    state: HostState | None = None
    detail: str = ""
    rq_workers: int = Field(default=8, ge=1, description="Jobs at a time, urgent ones beside them.")
    restarts: dict[str, int] = Field(default={}, description="Of each child process, so far.")
    figures: EngineFigures | None = None

    @property
    def shown_state(self) -> HostState:
        """The state, of a host of an earlier release too."""
        return self.state or ("ready" if self.ready else "starting")
