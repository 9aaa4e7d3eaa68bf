"""Looks for witnesses of the images of a run, and keeps them in its folder."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from models.datasets.files import LabelledFile
from models.prompts.files import load_prompt
from models.prompts.prompt import Prompt
from models.vlm.vlm import VLM
from worker.attack.witness import find_witness
from worker.contract import CertifyRequest
from worker.contract.certificate.document import FinishedResult
from worker.contract.witness import FinishedWitness, WitnessSettings
from worker.counting.roll import Roll
from worker.engine.engine import Engine
from worker.engine.local import LocalCounter
from worker.engine.shelf.shelf import Shelf
from worker.evaluation.loaded.witness_file import WitnessFile
from worker.evaluation.question import EvaluationQuestion
from worker.evaluation.run_file import EvaluatedImage
from worker.prepare import prepare_image


class Attacks:
    """The witnesses of the first images of a run, kept in its folder, a line per image.

    Args:
        folder: the run's folder.
        question: the question of the run.
        secret: the secret of the run.
        vlm: the model.
        prompts: the prompts that targets name, by digest.
        tuned: the folder with the prompts that were tuned on the images.
        settings: how hard to look.
    """

    def __init__(
        self,
        folder: Path,
        question: EvaluationQuestion,
        secret: bytes,
        vlm: VLM,
        prompts: Mapping[str, Prompt],
        tuned: Path,
        settings: WitnessSettings,
    ) -> None:
        self._file, self._question, self._secret = WitnessFile(folder), question, secret
        self._vlm, self._prompts, self._tuned, self._settings = vlm, prompts, tuned, settings

    def run(
        self, images: Sequence[EvaluatedImage], files: Sequence[LabelledFile]
    ) -> list[FinishedWitness]:
        """The witnesses of these images. What an earlier sitting found is not looked for again."""
        known = dict(self._read())
        missing = [image for image in images if image.place not in known]
        if missing:
            prober = LocalCounter(Engine(Shelf.holding([self._vlm])))
            for image in missing:
                known[image.place] = self._attack(image, files[image.place], prober)
                self._file.append(image.place, known[image.place])
        return [known[image.place] for image in images]

    def _read(self) -> Iterator[tuple[int, FinishedWitness]]:
        """Those of the same settings."""
        return (pair for pair in self._file.read() if pair[1].settings == self._settings)

    def _attack(
        self, image: EvaluatedImage, file: LabelledFile, prober: LocalCounter
    ) -> FinishedWitness:
        pixels, described = prepare_image(file.path.read_bytes(), self._vlm.card)
        request: CertifyRequest = self._question.create_request(described)
        names = _name_tuned(image.result)

        def find_prompt(sha256: str) -> Prompt | None:
            if sha256 in names:
                return load_prompt(self._tuned / f"{names[sha256]}.toml")[1]
            return self._prompts.get(sha256)

        return find_witness(
            image.result,
            pixels,
            Roll(request, self._secret),
            prober=prober,
            find_prompt=find_prompt,
            settings=self._settings,
        ).witness


def _name_tuned(result: FinishedResult) -> dict[str, str]:
    """The ids of the prompts that were tuned on the image, by digest."""
    named = (entry.prompt for entry in result.certificates if entry.adaptation is not None)
    return {ref.sha256: ref.id for ref in named if ref is not None}
