"""Settings that docker-compose.yml reads, checked when the deployment starts."""

from typing import Annotated

from pydantic import Field, StringConstraints
from pydantic_settings import BaseSettings, SettingsConfigDict

ServerName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:-]{1,253}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
_MEMORY = r"^[1-9][0-9]*[kmg]b?$"


class DeploymentSettings(BaseSettings):
    """Where the deployment listens, its names, and how much memory its parts get.

    Compose reads them from `.env`. A test keeps the defaults here and there equal.
    """

    model_config = SettingsConfigDict(
        env_prefix="PROMPTSMOOTH_", frozen=True, extra="ignore", validate_default=True
    )

    bind: str = Field(
        default="127.0.0.1",
        description="Address of this machine that the proxy listens on; 0.0.0.0: all of them. "
        "Make an API key first.",
    )
    port: Port = Field(default=8443, description="Port of HTTPS.")
    http_port: Port = Field(
        default=8080, description="Port of plain HTTP, which only sends browsers to HTTPS."
    )
    server_names: tuple[ServerName, ...] = Field(
        default=("localhost", "127.0.0.1", "::1"),
        min_length=1,
        description="Names and addresses of this machine in a self-signed certificate, a JSON "
        "list.",
    )
    tls_dir: str = Field(
        default="own-tls",
        description="Absolute path of a folder with your own `server.crt` (the chain, PEM) and "
        "`server.key`, readable by uid 10001. The default is an empty volume: a self-signed "
        "certificate is made.",
    )
    hsts_s: int = Field(
        default=0,
        ge=0,
        description="Seconds for which browsers refuse plain HTTP to this host, on every port "
        "of it (Strict-Transport-Security); 0: not said. Only with a certificate they trust.",
    )
    proxy_connections: int = Field(
        default=256, ge=1, le=2048, description="Requests under way from one address."
    )
    models_dir: str = Field(
        default="models",
        description="Absolute path of the folder with your own model cards and weights, readable "
        "by uid 10001; mounted read-only. The default is an empty volume.",
    )
    prompts_dir: str = Field(
        default="prompts",
        description="Absolute path of the folder with your own learned prompts, readable by uid "
        "10001; mounted read-only. The default is an empty volume.",
    )
    datasets_dir: str = Field(
        default="datasets",
        description="Absolute path of the folder with datasets for evaluations, readable by uid "
        "10001; mounted read-only. The default is an empty volume.",
    )
    sign_on_dir: str = Field(
        default="sign-on",
        description="Absolute path of the folder with `sign-on.toml`, readable by uid 10001; "
        "mounted read-only (compose.sign-on.yml). The default is an empty volume.",
    )
    redis_maxmemory: str = Field(
        default="1gb",
        pattern=_MEMORY,
        description="Memory of Redis for data; what does not fit is refused (`storage_full`). Of "
        "`promptsmooth up` too.",
    )
    redis_memory: str = Field(
        default="2560m",
        pattern=_MEMORY,
        description="Memory of the container redis: twice its data and more, for it copies what "
        "changes while it rewrites its log.",
    )
    app_memory: str = Field(
        default="3g", pattern=_MEMORY, description="Memory of the container app, /tmp included."
    )
    worker_memory: str = Field(
        default="8g",
        pattern=_MEMORY,
        description="Memory of one container worker, /tmp included. Learning a prompt starts a "
        "second process with torch beside the engine.",
    )
    proxy_memory: str = Field(
        default="1536m",
        pattern=_MEMORY,
        description="Memory of the container proxy, /tmp included, where requests wait until "
        "they are whole.",
    )
    gpu: str = Field(
        default="0",
        pattern=r"^[A-Za-z0-9-]+$",
        description="The worker's GPU, its index or its UUID (compose.gpu.yml).",
    )
    gpu_worker_memory: str = Field(
        default="16g",
        pattern=_MEMORY,
        description="Memory of one container worker on a GPU, /tmp included (compose.gpu.yml).",
    )
    node_publish: str = Field(
        default="127.0.0.1",
        description="Address of this machine that the DICOM node listens on (profile `pacs`).",
    )
    node_port: Port = Field(default=11112, description="Its port.")
    node_dir: str = Field(
        default="./docker/pacs",
        description="Folder with the node's `rules.toml`, its API key `node.key` and what the "
        "rules name, readable by uid 10001; mounted read-only at /etc/promptsmooth-node. The "
        "default is the example.",
    )
    node_memory: str = Field(
        default="2g", pattern=_MEMORY, description="Memory of the container node, /tmp included."
    )
    queue_bind: str = Field(
        default="127.0.0.1",
        description="Address that Redis listens on for worker hosts, with TLS "
        "(compose.queue-host.yml).",
    )
    queue_port: Port = Field(
        default=6380, description="Port of Redis with TLS (compose.queue-host.yml)."
    )
    queue_host: str | None = Field(
        default=None,
        description="The host with Redis, as its certificate names it: one of its "
        "`PROMPTSMOOTH_SERVER_NAMES` (compose.worker-host.yml).",
    )
    worker_host_dir: str = Field(
        default="./worker-host",
        description="Folder that docker/operate/worker-host.sh made (compose.worker-host.yml).",
    )
    python_image: str = Field(
        default="python:3.11-slim-bookworm",
        validation_alias="PYTHON_IMAGE",
        description="Base of both images, at build.",
    )
    torch_index_url: str = Field(
        default="https://download.pytorch.org/whl/cpu",
        validation_alias="TORCH_INDEX_URL",
        description="Where the CPU image takes torch from, at build.",
    )
    revision: str = Field(
        default="unknown", description="Revision of the code, for the images' labels, at build."
    )
