"""Settings of the DICOM node, read from the environment once and then frozen."""

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

AeTitle = Annotated[str, StringConstraints(pattern=r"^[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?$")]
"""1 to 16 printable ASCII characters without a backslash, not blank at an end."""


def _check_network(text: str) -> str:
    ip_network(text)
    return text


class DicomSettings(BaseSettings):
    """Settings of `promptsmooth dicom`. Names in the environment: PROMPTSMOOTH_DICOM_<FIELD>."""

    model_config = SettingsConfigDict(
        env_prefix="PROMPTSMOOTH_DICOM_", frozen=True, extra="ignore", validate_default=True
    )

    rules: Path = Field(
        default=Path("rules.toml"), description="The rules: what is certified, and who gets it."
    )
    spool: Path = Field(
        default=Path("spool"),
        description="Folder for what was accepted and is still owed; on a volume of its own.",
    )
    server: str = Field(
        default="http://127.0.0.1:8000", description="Address of the service that certifies."
    )
    api_key_file: Path | None = Field(default=None, description="File with the node's API key.")
    allow_plain_http: bool = Field(
        default=False,
        description="Send the key over http to another machine or container: only where something "
        "else protects the way, as a network within one host does.",
    )
    ca: Path | None = Field(
        default=None,
        description="Authorities (PEM) to trust for the service. Default: the system's.",
    )
    ae_title: AeTitle = Field(default="PROMPTSMOOTH", description="AE title of the node.")
    bind: str = Field(default="127.0.0.1", description="Address that the node listens on.")
    port: int = Field(default=11112, ge=0, le=65535, description="Its port; 0: any free one.")
    calling_ae: tuple[AeTitle, ...] = Field(
        default=(), description="AE titles that may send, a JSON list. Default: nobody."
    )
    calling_networks: tuple[Annotated[str, AfterValidator(_check_network)], ...] = Field(
        default=("127.0.0.0/8", "::1/128"),
        description='Networks that may connect, a JSON list like `["10.1.0.0/16"]`.',
    )
    tls_certificate: Path | None = Field(
        default=None, description="The node's certificate chain (PEM). Default: no TLS."
    )
    tls_key: Path | None = Field(default=None, description="Its private key (PEM).")
    tls_client_ca: Path | None = Field(
        default=None,
        description="Authorities (PEM) that sign callers' certificates; a caller must have one.",
    )
    max_associations: int = Field(default=10, ge=1, le=256, description="Associations at a time.")
    max_pdu_bytes: int = Field(
        default=65_536, ge=4096, le=2**20, description="Largest PDU that is received."
    )
    max_object_bytes: int = Field(
        default=60_000_000,
        ge=1024,
        description="Largest object; a longer one ends its association. Keep it below the "
        "service's `PROMPTSMOOTH_MAX_BODY_BYTES`.",
    )
    metrics_bind: str = Field(
        default="127.0.0.1", description="Address at which Prometheus reads `/metrics`."
    )
    metrics_port: int | None = Field(
        default=None, ge=0, le=65535, description="Its port; 0: any free one. Default: no metrics."
    )
    audit_log: Path | None = Field(
        default=None,
        description="Folder of the node's audit log: who sent, what was refused, delivered and "
        "erased. Default: none is kept.",
    )
    idle_s: float = Field(
        default=60.0, gt=0, description="Seconds of silence after which an association ends."
    )
    spool_bytes: int = Field(
        default=20 * 10**9,
        ge=1024,
        description="Most bytes of objects in the spool; beyond, senders are told to come later.",
    )
    settle_s: float = Field(
        default=30.0,
        ge=0,
        description="Seconds without a new image after which a series is complete, for rules that "
        "choose among its images or join them.",
    )
    pseudonym_salt_file: Path | None = Field(
        default=None,
        description="File with at least 16 secret bytes, for rules that ask for pseudonyms.",
    )
    first_retry_s: float = Field(default=5.0, gt=0, description="Pause before a first repetition.")
    longest_retry_s: float = Field(
        default=1800.0, gt=0, description="Longest pause; pauses double up to it."
    )
    give_up_s: float = Field(
        default=7 * 24 * 3600.0,
        gt=0,
        description="Seconds after which a step that keeps failing becomes a dead letter.",
    )

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("tls_client_ca needs tls_certificate and tls_key")
        return self
