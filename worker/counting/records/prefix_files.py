"""Where requests go on outside the service: the votes at the end of a part, one file each."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter

from models.files.whole_file import write_whole
from worker.contract.votes import Checkpoint
from worker.counting.roll import Roll

PREFIX_FOLDER = "prefixes"
_CHECKPOINTS: TypeAdapter[dict[str, Checkpoint]] = TypeAdapter(dict[str, Checkpoint])


def save_prefix(folder: Path, roll: Roll, prefix: Mapping[str, Checkpoint]) -> None:
    """Writes the votes at the end of a roll's part. The folder is created with the first file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = _path(folder, roll, roll.request.continuations)
    write_whole(path, _CHECKPOINTS.dump_json(dict(prefix)))


def load_prefix(folder: Path, roll: Roll) -> dict[str, Checkpoint]:
    """The votes that a roll goes on from; empty for a first part, and where none are readable.

    Without them the roll is counted from its first sample, with the same outcome.
    """
    for part in reversed(range(roll.request.continuations)):
        try:
            return _CHECKPOINTS.validate_json(_path(folder, roll, part).read_bytes())
        except (FileNotFoundError, ValueError):
            continue
    return {}


def _path(folder: Path, roll: Roll, part: int) -> Path:
    return folder / f"{roll.sha256}-{part}.json"
