"""The run of an evaluation that a service made, fetched into a folder like that of any run."""

from pathlib import Path
from typing import get_args

from app.client import Client
from app.server.answers.evaluations import ResultsFile
from models.files.whole_file import write_whole
from worker.evaluation.run_file import RUN_FILE


def fetch_run(client: Client, evaluation_id: str, folder: Path) -> None:
    """Writes the files of a finished evaluation into a folder, which is made.

    Fetched again, they are the same. The certificates are written first.

    Raises:
        ValueError: the folder holds another run.
        app.client.ClientError: there is no such evaluation, it is not finished, or the service
            does not answer.
        OSError: a file cannot be written.
    """
    lines = client.evaluation_results(evaluation_id, RUN_FILE)
    _require_own(folder / RUN_FILE, lines)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / RUN_FILE, lines)
    for name in get_args(ResultsFile):
        if name != RUN_FILE:
            write_whole(folder / name, client.evaluation_results(evaluation_id, name))


def _require_own(path: Path, lines: bytes) -> None:
    if path.exists() and path.read_bytes() != lines:
        raise ValueError(f"{path.parent} holds another run: name another folder")
