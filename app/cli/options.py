"""Options that several commands take."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from redis import Redis


class Device(StrEnum):
    """Where a model runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


WITH_SERVER = "With --server"
"""The heading of the options that belong to --server."""

Text = str | None
Texts = list[str] | None
Fields = dict[str, Any]
"""The fields of a request as they were typed."""

PromptingOption = Annotated[
    Texts,
    typer.Option(
        metavar="[template|few-shot|zero-shot|few-shot+zero-shot|routed]",
        help="Repeatable; all see the same noise.  (default: few-shot where a prompt is named, "
        "else template)",
    ),
]
ProcedureOption = Annotated[
    Text,
    typer.Option(
        metavar="[staged|cohen]",
        help="staged stops when it has seen enough; cohen does not.  (default: staged)",
    ),
]
MostSamples = Annotated[
    Text, typer.Option(help="staged: the most samples per noise level.  (default: 10000)")
]
BoundSamples = Annotated[
    Text,
    typer.Option("--n", help="cohen: samples that bound the probability.  (default: 10000)"),
]
SelectionSamples = Annotated[
    Text, typer.Option(help="cohen: samples that choose the class.  (default: 100)")
]
ToleranceOption = Annotated[
    Text,
    typer.Option(
        help="staged, no target: stop this close to what n-max would give.  (default: 0.05)"
    ),
]
AlphaOption = Annotated[
    Text, typer.Option(help="Error probability of a certificate.  (default: 0.001)")
]
DeviceOption = Annotated[
    Device | None, typer.Option(help="Where to run it.  (default: PROMPTSMOOTH_DEVICE)")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
ApiKeyFile = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="File with the API key.  (default: the variable PROMPTSMOOTH_API_KEY)",
        rich_help_panel=WITH_SERVER,
    ),
]
Authorities = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="Certificates of the authorities to trust (PEM).  (default: the system's)",
        rich_help_panel=WITH_SERVER,
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder for Redis, key secret and attempts.  (default: ~/.local/share/promptsmooth)"
    ),
]


def said(**options: str | Texts) -> Fields:
    """The options that were given. Typer also passes those that were not."""
    return {name: value for name, value in options.items() if value is not None and value != []}


def get_data_dir(given: Path | None) -> Path:
    """The data folder that an option or the settings name, created if it is missing."""
    from worker.settings import WorkerSettings

    folder = (given or WorkerSettings().data_dir).expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def connect(data_dir: Path | None) -> "Redis":
    """The Redis of the service on the data folder that an option or the settings name."""
    from app.deployment.redis_server import connect_redis

    return connect_redis(get_data_dir(data_dir))


class NoFolder(ValueError):
    """No folder is configured for what a command would write."""

    def __init__(self, kind: str) -> None:
        super().__init__(
            f"PROMPTSMOOTH_{kind.upper()} is not set; set it to the folder for {kind}."
        )


def require_folder(kind: Literal["models", "prompts"]) -> Path:
    """The installation's own folder of a kind. Raises NoFolder if none is set."""
    from worker.settings import SharedSettings

    settings = SharedSettings()
    folder = settings.models if kind == "models" else settings.prompts
    if folder is None:
        raise NoFolder(kind)
    return folder
