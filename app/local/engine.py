"""One image certified in this process: what the command line does without a server."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from app.local.go_on import require_same_roll
from app.local.prompts import LocalPrompts
from app.request.certify import CertifyFields
from app.request.certify_request import create_request, resolve_targets
from models.catalogue import load_catalogue
from models.catalogue.cards import ModelCard
from models.prompts.files import TUNED_FOLDER
from worker.attack.watched import create_limit
from worker.attack.witness import find_witness, read_settings
from worker.certification import Finding
from worker.contract import (
    CertifyRequest,
    Identity,
    InputImage,
)
from worker.contract.certificate.document import FinishedResult, parse_document
from worker.contract.certificate.signature import sign
from worker.contract.image import Image
from worker.contract.votes import VoteList, VoteWithPath
from worker.contract.witness import FinishedWitness
from worker.counting.certify import certify
from worker.counting.prefixes import Board
from worker.counting.recorded import NotReproducible
from worker.counting.records.files import FileRecords
from worker.counting.records.prefix_files import PREFIX_FOLDER, save_prefix
from worker.counting.reproduce import reproduce
from worker.counting.roll import Roll
from worker.counting.vote_check import check_votes
from worker.engine.engine import Engine
from worker.engine.local import LocalCounter
from worker.engine.measure.first_load import MEASURED_TAU_FOLDER, find_or_measure_tau
from worker.engine.runner.machine import choose_device, set_threads
from worker.engine.runner.selftest import check_noise
from worker.engine.shelf.identity import MeasureTau
from worker.engine.shelf.runtime import CpuRuntime, find_runtime, load_served, read_runtime
from worker.engine.shelf.shelf import Shelf
from worker.key_secret import create_secret, load_secret
from worker.prepare import Window, prepare_image
from worker.settings import WorkerSettings


def find_model(model_id: str) -> tuple[ModelCard, Path]:
    """The card of a model and the folder of its weights.

    Raises:
        models.catalogue.UnknownModel: no model has this id.
    """
    catalogue = load_catalogue(WorkerSettings().models)
    return catalogue.get(model_id), catalogue.folder(model_id)


def find_prompts(data_dir: Path, files: Sequence[Path] = ()) -> LocalPrompts:
    """The prompts on this machine, and those in the files given."""
    tuned = data_dir / TUNED_FOLDER
    return LocalPrompts(folder=WorkerSettings().prompts, tuned=tuned, files=files)


def prepare_request(
    data: bytes, card: ModelCard, fields: CertifyFields, prompts: LocalPrompts
) -> tuple[CertifyRequest, Image]:
    """The request, which fixes everything before the noise key is derived, and the prepared image.

    Raises:
        ValueError: a target that makes no sense, or no image.
    """
    targets = resolve_targets(fields, card, prompts.find_card)
    prepared, described = prepare_image(
        data, card, frame=fields.frame, window=fields.requested_window
    )
    return create_request(fields, card, targets, described), prepared


def _create_engine(
    card: ModelCard,
    folder: Path,
    settings: WorkerSettings,
    runtime: CpuRuntime,
    *,
    measure_tau: MeasureTau | None = None,
) -> Engine:
    set_threads(settings.threads)
    check_noise()
    vlm = load_served(card, folder, choose_device(settings.device), runtime)
    return Engine(Shelf.holding([vlm], measure_tau=measure_tau))


def reproduce_in_process(
    document: Mapping[str, Any], data: bytes, prompts: LocalPrompts
) -> tuple[Finding, ...]:
    """Counts the votes of a certificate again, from the image file that was certified.

    Raises:
        ValueError: the document is not of this version, or names another image or other weights.
        models.catalogue.UnknownModel: the model is not known here.
        models.catalogue.weights.WeightsError: the model's files are not those of its card.
    """
    result = parse_document(document)
    image, engine = _prepare_again(result, data)
    return reproduce(result, image, LocalCounter(engine), prompts.find_prompt)


def check_votes_in_process(
    document: Mapping[str, Any], data: bytes, votes: Mapping[str, Any], prompts: LocalPrompts
) -> tuple[Finding, ...]:
    """Checks and evaluates again the votes that `GET /certifications/{id}/votes` showed.

    Errors as `reproduce_in_process`.
    """
    result = parse_document(document)
    try:
        listed = VoteList.model_validate_json(json.dumps(votes))
        shown = [
            VoteWithPath(sample=v.sample, vote=v.vote, path=tuple(map(bytes.fromhex, v.path)))
            for v in listed.votes
        ]
    except ValueError:
        raise ValueError("the votes are not as GET /certifications/{id}/votes gives them") from None
    image, engine = _prepare_again(result, data)
    return check_votes(
        result,
        image,
        LocalCounter(engine),
        prompts.find_prompt,
        certificate=listed.certificate,
        phase=listed.phase,
        ballot=listed.ballot,
        shown=shown,
    )


def _prepare_again(result: FinishedResult, data: bytes) -> tuple[Image, Engine]:
    card, folder = find_model(result.model.id)
    if card.sha256 != result.model.sha256:
        raise NotReproducible("the model here is not the one the document names by its digest")
    image = _prepare_certified(result.input, card, data)
    runtime = find_runtime(result.provenance.precision, result.provenance.versions)
    return image, _create_engine(card, folder, WorkerSettings(), runtime)


def _prepare_certified(described: InputImage, card: ModelCard, data: bytes) -> Image:
    """The certified image: input.png unchanged, or the file read as it was read then."""
    with suppress(ValueError):
        image, found = prepare_image(data, card)
        if found.sha256 == described.sha256:
            return image
    asked: Window = {
        "request": described.window,
        "percentile": "auto",
    }.get(described.window_origin)
    return prepare_image(data, card, frame=described.frame, window=asked)[0]


def certify_in_process(
    request: CertifyRequest,
    prepared: Image,
    card: ModelCard,
    folder: Path,
    *,
    data_dir: Path,
    prompts: LocalPrompts,
    on_samples: Callable[[int], None],
    before: FinishedResult | None = None,
    on_signed: Callable[[FinishedResult], None] = lambda _: None,
    on_witness: Callable[[FinishedWitness], None] | None = None,
) -> FinishedResult:
    """Loads the model, draws the noise, counts and certifies, with the same bytes as a worker.

    The signed certificate goes to `on_signed`. A witness is looked for after that, if there is an
    `on_witness` to take it.

    Raises:
        ValueError: the certificate to go on from, `before`, is of another roll.
        models.catalogue.weights.WeightsError: the model's files are not those of its card.
        worker.key_secret.SecretUnusable: the key secret cannot be read.
    """
    settings = WorkerSettings(data_dir=data_dir)
    own = data_dir / "command-line-secret"  # rolls made here say nothing about those of a service
    create_secret(own)
    roll = Roll(request, load_secret(own))
    if before is not None:
        require_same_roll(roll, before)
    measure = partial(find_or_measure_tau, folder=data_dir / MEASURED_TAU_FOLDER)
    runtime = read_runtime(settings)
    engine = _create_engine(card, folder, settings, runtime, measure_tau=measure)
    records = FileRecords(
        roll=roll,
        ledger=data_dir / "attempts",
        tuned=prompts.tuned,
        find=prompts.find_prompt,
        find_images=prompts.find_images,
        prefixes=data_dir / PREFIX_FOLDER,
    )

    def on_votes(board: Board, identity: Identity) -> None:
        on_samples(board.samples_done)
        if board.complete and request.find_continued() is not None:
            save_prefix(data_dir / PREFIX_FOLDER, roll, board.checkpoints(identity))

    prober = LocalCounter(engine)
    result = certify(roll, prepared, counter=prober, records=records, on_votes=on_votes)
    signed = sign(result, roll.secret)
    on_signed(signed)
    if on_witness is not None:
        found = find_witness(
            result,
            prepared,
            roll,
            prober=prober,
            find_prompt=prompts.find_prompt,
            settings=read_settings(settings),
            on_step=create_limit(settings.witness_time_s),
        )
        on_witness(found.witness)
    return signed
