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
