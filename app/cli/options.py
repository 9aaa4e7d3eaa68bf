"""Options that several commands take."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Device(StrEnum):
    """Where a model runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Prompting(StrEnum):
    """How class names become what an image is compared with."""

    TEMPLATE = "template"
    FEW_SHOT = "few-shot"
    ZERO_SHOT = "zero-shot"
    BOTH = "few-shot+zero-shot"
    ROUTED = "routed"


class Procedure(StrEnum):
    """How samples become a certificate."""

    STAGED = "staged"
    COHEN = "cohen"


ProcedureOption = Annotated[
    Procedure, typer.Option(help="staged stops when it has seen enough; cohen does not.")
]
MostSamples = Annotated[
    int, typer.Option("--n-max", "--n", min=1, max=1_000_000, help="Most samples a noise level.")
]
SelectionSamples = Annotated[int, typer.Option(min=1, help="cohen: samples that choose the class.")]
ToleranceOption = Annotated[
    str, typer.Option(help="staged, no target: stop this near to what n-max would give.")
]
AlphaOption = Annotated[str, typer.Option(help="Error probability of a certificate.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder for Redis, key secret and attempts.  (default: ~/.local/share/promptsmooth)"
    ),
]


def get_data_dir(given: Path | None) -> Path:
    """The data folder that an option or the settings name, made where it is missing."""
    from worker.settings import WorkerSettings

    folder = (given or WorkerSettings().data_dir).expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
