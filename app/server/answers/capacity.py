"""What the service could take now, and how long it would wait."""

from pydantic import Field

from app.server.answers.schemas import Schema
from worker.contract import Priority


class WaitingJobs(Schema):
    """Certifications that wait, by priority."""

    urgent: int
    normal: int
    batch: int


class Room(Schema):
    """What could be taken now of one model and priority."""

    priority: Priority
    jobs: int = Field(description="Images that would be accepted; 0: none now.")
    samples: int = Field(
        description="Samples that would be accepted, at the speed that worker hosts measured or, "
        "where none did, at the speed that the operator assumes."
    )
    expected_wait_s: float | None = Field(
        description="Seconds until what waits before it is done, if all of that takes all its "
        "samples; most stop earlier. Running certifications are left out. null: not known."
    )


class ModelCapacity(Schema):
    """What could be taken now of one model."""

    model: str
    hosts: int = Field(description="Ready worker hosts that can certify with it.")
    at_a_time: int = Field(
        description="Certifications that these hosts run at a time, urgent ones beside them."
    )
    samples_per_s: float | None = Field(description="Of all hosts together; null: not measured.")
    room: tuple[Room, ...] = Field(
        description="By priority, those that the caller's key may use. The bounds of the key "
        "itself are not in it."
    )


class Capacity(Schema):
    """What could be taken now. It may have changed when the next request comes."""

    running: int
    waiting: WaitingJobs
    memory_free_bytes: int | None = Field(
        description="Memory that the queue may still take; null: it does not say."
    )
    memory_reserved_bytes: int = Field(
        description="Of that, what evaluations that have not ended still take at most."
    )
    models: tuple[ModelCapacity, ...]
