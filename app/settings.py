"""Settings of the HTTP side, read from the environment once and then frozen."""

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from app.request.callback import check_pattern
from app.request.limits import Limits
from app.request.targets import MAX_NAME
from worker.contract import MAX_SAMPLES, MAX_SIGMAS, Contract
from worker.contract.learning import MAX_LEARNING_IMAGES
from worker.settings import SharedSettings

Bound = Annotated[int, Field(ge=1, le=10**15)]


class Quotas(Contract):
    """What a key may use. A field that is None sets no limit.

    `jobs` limits the jobs that are queued or running. `samples_per_day` limits the samples that the
    requests of one UTC day could need at most.
    """

    requests_per_minute: Bound | None = None
    jobs: Bound | None = None
    samples_per_day: Bound | None = None


NO_BOUNDS = Quotas()


def _check_network(text: str) -> str:
    ip_network(text)
    return text


def _unset_if_empty(value: object) -> object:
    return None if value == "" else value


OptionalPath = Annotated[Path | None, BeforeValidator(_unset_if_empty)]
"""A path that the environment can also unset with an empty value."""


class AppSettings(SharedSettings):
    """Settings of one app process. Names in the environment: PROMPTSMOOTH_<FIELD>."""

    default_model: str = Field(
        default="bundled-2", description="Model of a request that names none; /readyz asks for it."
    )
    max_body_bytes: int = Field(
        default=64 * 2**20, ge=1024, description="Largest request body, all images together."
    )
    max_held_bytes: int = Field(
        default=512 * 2**20,
        ge=1024,
        description="Most bytes of request bodies held at a time, of one key half as many; never "
        "less than two of the largest bodies.",
    )
    max_bodies_at_work: int = Field(
        default=16,
        ge=1,
        le=100_000,
        description="Requests with a body that an app process works on at a time, once the body is "
        "whole; others are 503 with Retry-After. More are accepted no sooner: they wait for one "
        "another.",
    )
    max_images: int = Field(
        default=Limits.images, ge=1, le=256, description="Images of one request."
    )
    max_learning_images: int = Field(
        default=512,
        ge=2,
        le=MAX_LEARNING_IMAGES,
        description="Images of one request to learn a prompt, all classes together.",
    )
    max_sigmas: int = Field(
        default=Limits.sigmas, ge=1, le=MAX_SIGMAS, description="Noise levels of one request."
    )
    max_n: int = Field(
        default=Limits.n,
        ge=1,
        le=MAX_SAMPLES,
        description="Most samples per noise level (n_max or n).",
    )
    max_n0: int = Field(
        default=Limits.n0,
        ge=1,
        le=MAX_SAMPLES,
        description="Most samples that choose the class (n0).",
    )
    max_class_name_chars: int = Field(
        default=Limits.class_name,
        ge=8,
        le=MAX_NAME,
        description="Most characters of a class name that is asked for.",
    )
    max_queued_jobs: int = Field(
        default=1000,
        ge=1,
        description="Certifications that may wait before a new one, by its priority; while as many "
        "do, POST /certify is 503.",
    )
    max_queued_device_s: int = Field(
        default=12 * 3600,
        ge=1,
        description="Seconds of work that may wait, at the speed that worker hosts measured and as "
        "if every job took all its samples.",
    )
    assumed_samples_per_s: float = Field(
        default=50.0,
        gt=0,
        allow_inf_nan=False,
        description="For that bound, speed of all hosts together with a model that none measured.",
    )
    datasets: OptionalPath = Field(
        default=None,
        description="Folder of datasets that POST /evaluations chooses from by name: "
        "`<name>/<train|test>/<class folder>/<image>`. Empty: there are none.",
    )
    evaluations: OptionalPath = Field(
        default=None,
        description="Folder where evaluations are kept; `promptsmooth up` makes one in the data "
        "folder. All app processes of one service share it. Empty: none can be started.",
    )
    max_evaluation_images: int = Field(
        default=10_000, ge=1, le=1_000_000, description="Images of one evaluation."
    )
    evaluations_at_a_time: int = Field(
        default=2, ge=1, le=64, description="Evaluations that an app process runs at a time."
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
    keys_file: OptionalPath = Field(
        default=None,
        description="File of API keys, written by `promptsmooth keys`; read again when it changes. "
        "Without one everyone may do everything, on this machine alone. See docs/security.md.",
    )
    sign_on_file: OptionalPath = Field(
        default=None,
        description="File that says at whose OpenID Connect issuer people sign in, and what their "
        "groups may do; takes the extra `oidc`. Without one nobody does. See docs/sign-on.md.",
    )
    open: bool = Field(
        default=False,
        description="true: answer without keys on every address. Say it only where something else "
        "decides who reaches the service.",
    )
    published_on: str | None = Field(
        default=None,
        description="Address at which something before the app takes its requests, such as a proxy "
        "or a container's published port: it decides whether others can reach the service.",
    )
    trusted_hosts: tuple[str, ...] = Field(
        default=(),
        description="Names that the service answers under (Host header), a JSON list; `*.example` "
        "is all below one. Empty: any name; without keys: this machine's.",
    )
    allowed_origins: tuple[str, ...] = Field(
        default=(),
        description="Origins of pages elsewhere that may use this interface from a browser (CORS), "
        "a JSON list; also the service's own, where a proxy rewrites the Host header. Empty: none.",
    )
    anonymous_requests_per_minute: int = Field(
        default=0, ge=0, description="Most requests a minute of all callers without keys; 0: any."
    )
    anonymous_jobs: int = Field(
        default=0, ge=0, description="Most jobs of theirs that wait or run at a time; 0: any."
    )
    anonymous_samples_per_day: int = Field(
        default=0, ge=0, description="Most samples that they ask for in a day (UTC); 0: any."
    )
    webhooks_file: OptionalPath = Field(
        default=None,
        description="File of the keys' webhooks and their secrets, written by `promptsmooth "
        "webhooks`; read again when it changes. Default: webhooks.toml beside the keys file.",
    )
    webhook_receivers: tuple[Annotated[str, AfterValidator(check_pattern)], ...] = Field(
        default=(),
        description="Origins that webhooks may go to, a JSON list such as "
        '["https://ris.hospital.example", "https://*.lab.example:8443"]. Empty: webhooks are off.',
    )
    webhook_networks: tuple[Annotated[str, AfterValidator(_check_network)], ...] = Field(
        default=(),
        description="Private networks that receivers may be in, a JSON list such as "
        '["10.1.0.0/16"]. Other addresses that are not public are never called.',
    )
    webhook_ca: OptionalPath = Field(
        default=None,
        description="File with authorities (PEM) that signed the certificates of receivers, to be "
        "trusted besides those of the system.",
    )
    audit_log: OptionalPath = Field(
        default=None,
        description="Folder for the audit log, of its own; `promptsmooth up` makes one in the data "
        "folder. Empty: none is kept. See docs/security.md.",
    )
    audit_log_on_failure: Literal["refuse", "continue"] = Field(
        default="refuse",
        description="When the audit log cannot be written (a full disk): refuse with 503 before "
        "anything is done, or continue and say so in the log.",
    )
    audit_log_reads: bool = Field(
        default=False, description="true: every look at something is an entry too."
    )
    audit_log_max_mb: int = Field(
        default=64, ge=1, le=10_000, description="Megabytes of one file of it; the next goes on."
    )
    max_concurrent_requests: int = Field(
        default=512,
        ge=1,
        le=100_000,
        description="Requests answered at a time, those that wait or stream among them.",
    )
    header_timeout_s: float = Field(
        default=10, gt=0, le=600, description="Seconds a client may take for a request's headers."
    )
    body_idle_timeout_s: float = Field(
        default=15, gt=0, le=600, description="Longest pause within a request's body, in seconds."
    )
    body_timeout_s: float = Field(
        default=300, gt=0, le=3600, description="Seconds a client may take for a request's body."
    )
    keep_alive_s: int = Field(
        default=15,
        ge=1,
        le=600,
        description="Seconds an unused connection is kept open: longer than clients keep it, or "
        "they send on one that is being closed.",
    )
    behind_proxy: bool = Field(
        default=False,
        description="A proxy that writes `X-Request-ID` stands before the app, and nobody reaches "
        "the app past it: its ids are taken.",
    )

    @property
    def limits(self) -> Limits:
        """The most that one request to certify may ask for."""
        return Limits(
            images=self.max_images,
            sigmas=self.max_sigmas,
            n=self.max_n,
            n0=self.max_n0,
            class_name=self.max_class_name_chars,
        )

    @property
    def anonymous_quotas(self) -> Quotas:
        """What callers without keys may use, counted together."""
        return Quotas(
            requests_per_minute=self.anonymous_requests_per_minute or None,
            jobs=self.anonymous_jobs or None,
            samples_per_day=self.anonymous_samples_per_day or None,
        )
