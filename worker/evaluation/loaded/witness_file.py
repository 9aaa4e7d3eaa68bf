"""The file of the witnesses of a run, a line per image. It needs no model."""

import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import TypeAdapter

from worker.contract import Contract
from worker.contract.witness import FinishedWitness
from worker.evaluation.run_file import read_lines

WITNESS_FILE = "witnesses.jsonl"


class _Attacked(Contract):
    place: int
    witness: FinishedWitness


_LINE: TypeAdapter[_Attacked] = TypeAdapter(_Attacked)


class WitnessFile:
    """The witnesses in the folder of a run, which one process holds."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / WITNESS_FILE

    def read(self) -> Iterator[tuple[int, FinishedWitness]]:
        """The witnesses with the places of their images. A last line that a kill cut is removed."""
        if not self._path.exists():
            return
        with self._path.open("r+b") as file:
            for _, line in read_lines(file):
                found = _LINE.validate_json(line)
                yield found.place, found.witness

    def append(self, place: int, witness: FinishedWitness) -> None:
        """Adds the witness of an image; it is on disk at the end."""
        line = _Attacked(place=place, witness=witness)
        with self._path.open("ab") as file:
            file.write(line.model_dump_json().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
