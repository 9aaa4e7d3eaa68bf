"""The witnesses of an evaluation's images: looked for by the service, kept in the run's folder."""

from pathlib import Path

from app.cli.witness import parse_witness
from app.client import AsyncClient, ServiceRefused
from worker.contract.witness import FinishedWitness
from worker.evaluation.loaded.witness_file import WitnessFile

_LOST = frozenset({"certification_unknown", "input_image_expired"})


class RemoteWitnesses:
    """The witnesses of a run whose images a service certifies.

    Args:
        client: of the service.
        folder: of the run, which this process holds.

    Attributes:
        found: the witnesses by the places of their images, those of earlier sittings included.
    """

    def __init__(self, client: AsyncClient, folder: Path) -> None:
        self._client, self._file = client, WitnessFile(folder)
        self.found: dict[int, FinishedWitness] = dict(self._file.read())

    async def look_for(self, place: int, certification: str | None) -> None:
        """Has the witness of an image's certification looked for, and keeps it.

        Raises:
            ValueError: the service could not look for it, has the image no more, or did not certify
                it.
            app.client.ClientError: the service refuses otherwise.
        """
        if place in self.found:
            return
        if certification is None:
            raise ValueError(f"image {place} was not certified by a service")
        self.found[place] = await self._ask(place, certification)
        self._file.append(place, self.found[place])

    async def _ask(self, place: int, certification: str) -> FinishedWitness:
        try:
            return parse_witness(await self._client.witness(certification))
        except ServiceRefused as refused:
            if refused.code not in _LOST:
                raise
            raise ValueError(
                f"the service does not keep image {place} any more, so no witness of it can be "
                "looked for: lower --witness, or begin another run with --out"
            ) from refused
