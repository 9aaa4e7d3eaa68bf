"""Settings of the HTTP side, read from the environment once and then frozen."""

from pydantic import Field

from worker.contract import MAX_SAMPLES, MAX_SIGMAS
from worker.learning_contract import MAX_LEARNING_IMAGES
from worker.settings import SharedSettings


class AppSettings(SharedSettings):
    """Settings of one app process. Names in the environment: PROMPTSMOOTH_<FIELD>."""

    default_model: str = Field(
        default="bundled", description="Model of a request that names none; /readyz asks for it."
    )
    max_body_bytes: int = Field(
        default=64 * 2**20, ge=1024, description="Largest request body, all images together."
    )
    max_images: int = Field(default=16, ge=1, le=256, description="Images of one request.")
    max_learning_images: int = Field(
        default=512,
        ge=2,
        le=MAX_LEARNING_IMAGES,
        description="Images of one request to learn a prompt, all classes together.",
    )
    max_sigmas: int = Field(
        default=MAX_SIGMAS, ge=1, le=MAX_SIGMAS, description="Noise levels of one request."
    )
    max_n: int = Field(
        default=100_000,
        ge=1,
        le=MAX_SAMPLES,
        description="Most samples per noise level (n_max or n).",
    )
    max_n0: int = Field(
        default=10_000,
        ge=1,
        le=MAX_SAMPLES,
        description="Most samples that choose the class (n0).",
    )
    max_queued_jobs: int = Field(
        default=1000,
        ge=1,
        description="Certifications that may wait; while as many do, POST /certify is 503.",
    )
    max_queued_device_s: int = Field(
        default=12 * 3600,
        ge=1,
        description="Seconds of work that may wait, at the speed that worker hosts measured and as "
        "if every job took all its samples. Keep it below the time that prepared images are kept.",
    )
    assumed_samples_per_s: float = Field(
        default=50.0,
        gt=0,
        allow_inf_nan=False,
        description="For that bound, speed of all hosts together with a model that none measured.",
    )
    idempotency_ttl_s: int = Field(
        default=24 * 3600,
        ge=60,
        le=90 * 24 * 3600,
        description="Seconds for which an Idempotency-Key leads to what it was first used for.",
    )
    wait_cap_s: int = Field(
        default=30, ge=0, le=300, description="Longest wait that `Prefer: wait=N` is granted."
    )
    decode_concurrency: int = Field(
        default=2, ge=1, le=64, description="Images decoded and resized at a time."
    )
    behind_proxy: bool = Field(
        default=False,
        description="A proxy that writes `X-Request-ID` stands before the app, and nobody reaches "
        "the app past it: its ids are taken.",
    )
