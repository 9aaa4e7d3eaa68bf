"""The settings of the compute side, read from the environment once and then frozen."""

import re
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

SETTINGS_ERRORS = (ValidationError, SettingsError)
"""What making settings raises where the environment does not allow them."""


def _default_data_dir() -> Path:
    return Path.home() / ".local" / "share" / "promptsmooth"


class SharedSettings(BaseSettings):
    """Settings that app and worker must agree on, named PROMPTSMOOTH_<FIELD> in the environment."""

    model_config = SettingsConfigDict(
        env_prefix="PROMPTSMOOTH_",
        frozen=True,
        extra="ignore",
        validate_default=True,
        populate_by_name=True,  # otherwise redis_url=... would be ignored silently
    )

    redis_password_file: Path | None = Field(
        default=None,
        description="File with the password of the user that `REDIS_URL` names, so that it stands "
        "in no environment.",
    )
    redis_url: SecretStr = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"),
        validation_alias="REDIS_URL",
        description="Redis or Valkey that holds queue, images, counts and certificates; "
        "`rediss://user:password@host:6380/0` with TLS. See docs/operations.md.",
    )
    redis_ca: Path | None = Field(
        default=None,
        description="File with the authority (PEM) that signed the certificate of a `rediss://` "
        "server. Default: the authorities of the system.",
    )
    models: Path | None = Field(
        default=None, description="Folder with the lab's own model cards and weights."
    )
    prompts: Path | None = Field(
        default=None,
        description="Folder with the lab's own learned prompts, two files each; worker hosts put "
        "them into Redis when they start.",
    )
    image_ttl_s: int = Field(
        default=24 * 3600,
        ge=60,
        description="Seconds a prepared image is kept once its job has ended.",
    )
    certificate_ttl_s: int = Field(
        default=90 * 24 * 3600, ge=60, description="Seconds a certification is kept."
    )
    decode_timeout_s: float = Field(
        default=5.0,
        gt=0,
        le=600,
        description="Seconds of processor time after which the decoding of one image is ended "
        "(app, command line). On the clock it is twelve times as long.",
    )
    decode_memory_mb: int = Field(
        default=1000,
        ge=300,
        description="Megabytes (millions of bytes) of address space for the process that decodes "
        "one image, its decoders' own 170 among them (app, command line).",
    )
    burned_in_text: Literal["note", "refuse"] = Field(
        default="note",
        description="A DICOM file that says that text is burned into its picture: note (taken, and "
        "said in the result) or refuse (app, command line).",
    )

    @field_validator("redis_url")
    @classmethod
    def _add_password(cls, url: SecretStr, info: ValidationInfo) -> SecretStr:
        file: Path | None = info.data.get("redis_password_file")
        return url if file is None else SecretStr(_with_password(url.get_secret_value(), file))


def _with_password(url: str, file: Path) -> str:
    """`url` with the password from `file`.

    Raises:
        ValueError: the file cannot be read, or the URL already has a password.
    """
    parts = urlsplit(url)
    if parts.password is not None:
        raise ValueError(
            "expected a REDIS_URL without a password, because PROMPTSMOOTH_REDIS_PASSWORD_FILE "
            "is set; remove one of the two"
        )
    try:
        password = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error.strerror})") from error
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}"))


class WorkerSettings(SharedSettings):
    """Settings of one worker host: supervisor, engine and RQ workers."""

    data_dir: Path = Field(
        default_factory=_default_data_dir,
        description="Folder for the key secret and the engine's socket.",
    )
    secret_file: Path | None = Field(
        default=None,
        description="The key secret, one for all hosts; made at first start. "
        "Default: key-secret in the data folder.",
    )
    engine_socket: Path | None = Field(
        default=None,
        description="The engine's unix socket. Default: engine.sock in the data folder.",
    )
    serve_models: tuple[str, ...] = Field(
        default=("bundled-2",),
        description="Models the engine loads at start and prefers to keep, a JSON list of ids. "
        "Others that it knows are loaded when a request names them.",
    )
    model_memory_mb: int = Field(
        default=0,
        ge=0,
        description="Megabytes (millions of bytes) of the device for the weights of all models "
        "together; the one used longest ago goes when another needs its room. 0: no bound, and "
        "every model that was asked for stays.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto, cpu or cuda.")
    noise: Literal["auto", "host", "device"] = Field(
        default="auto",
        description="Where certification noise is made; it is the same noise, bit for bit. auto: "
        "on the GPU where Triton can run its kernel (outside our CUDA image it needs a C compiler "
        "for that), else on the CPU, which the engine logs. device: on the GPU, or the engine does "
        "not start.",
    )
    cpu_runtime: Literal["auto", "openvino", "torch"] = Field(
        default="auto",
        description="What computes image towers on a CPU; it is part of the classifier. auto: "
        "OpenVINO where it passes the engine's test, else torch, which the engine logs. openvino: "
        "OpenVINO, and a model that it cannot serve is unusable. See docs/models.md.",
    )
    cpu_precision: Literal["card", "fp32", "bf16"] = Field(
        default="card",
        description="Precision of image towers that OpenVINO computes; it is part of the "
        "classifier. card: the one in the model's card. Quantized models stay in int8.",
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=256,
        description="CPU threads of the engine; 0: one per core, within its container's quota.",
    )
    rq_workers: int = Field(
        default=8, ge=1, le=64, description="Jobs of this host at a time, urgent ones beside them."
    )
    urgent_workers: int = Field(
        default=1,
        ge=0,
        le=8,
        description="Further jobs of this host, urgent ones alone, so that they begin at once. "
        "0: an urgent job waits until a running one has ended.",
    )
    aging_s: int = Field(
        default=600,
        ge=0,
        description="Seconds for which jobs of a higher priority may go before a job. After that, "
        "every fourth turn is for those that have waited longest.",
    )
    learning_workers: int = Field(
        default=1, ge=0, le=8, description="Prompts that this host learns at a time; 0: none."
    )
    checkpoint_interval_s: float = Field(
        default=0.5, gt=0, le=60, description="Seconds between stored vote counts and progress."
    )
    shard_samples: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="Samples in each range of a certification that several hosts count together; "
        "0: a certification stays on one host. See docs/scaling.md.",
    )
    engine_wait_s: float = Field(
        default=60.0, gt=0, description="Seconds a job waits for an engine that starts again."
    )

    witness_steps: int = Field(
        default=40,
        ge=1,
        le=1000,
        description="Steps of each search for a witness. More find smaller changes.",
    )
    witness_copies: int = Field(
        default=16,
        ge=1,
        le=1024,
        description="Noisy copies over which each of these steps takes its gradient.",
    )
    witness_votes: int = Field(
        default=1000,
        ge=64,
        le=100_000,
        description="Fresh samples that show a changed smoothed answer.",
    )
    witness_time_s: float = Field(
        default=600.0,
        gt=0,
        le=3600,
        description="Seconds that the search for one certification's witness may take. What was "
        "found by then stands.",
    )

    @property
    def secret_path(self) -> Path:
        """Path of the key secret."""
        return self.secret_file or self.data_dir / "key-secret"

    @property
    def socket_path(self) -> Path:
        """Path of the engine's Unix socket."""
        return self.engine_socket or self.data_dir / "engine.sock"


def explain_settings(error: ValidationError | SettingsError) -> str:
    """Names every unusable setting, as in the environment, and what was expected.

    The value is not repeated, because a `REDIS_URL` may hold a password.
    """
    if isinstance(error, ValidationError):
        return "; ".join(_explain(each["loc"], each["msg"]) for each in error.errors())
    found = re.search(r'field "(\w+)"', str(error))
    # The one way in which a source itself fails: a list that is no JSON.
    expected = 'expected a list in JSON, for example ["one", "two"]'
    return _explain((found[1],) if found else (), expected)


def _explain(place: tuple[int | str, ...], sentence: str) -> str:
    sentence = sentence.removeprefix("Value error, ")
    if not place:
        return sentence
    name = str(place[0])
    name = name if name.isupper() else f"PROMPTSMOOTH_{name.upper()}"
    return f"{name}: {sentence}"
