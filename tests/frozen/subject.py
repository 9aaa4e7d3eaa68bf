"""The service's own code, as the frozen set uses it: no other file here names any of it."""

import inspect
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastapi import FastAPI
from redis import Redis
from two_prompt_toy import TwoPromptVLM

from app.main import create_app as create_service
from app.publish import certificate_schema, openapi_document
from app.server.audit_log.check import check_files
from app.settings import AppSettings
from models.catalogue import Catalogue, load_catalogue
from models.catalogue.cards import ModelCard
from models.files.audit_log import AuditLog, list_files
from models.loading.loading import load_vlm
from models.prompts.cards import PromptCard
from models.prompts.ctx_file import write_ctx
from models.prompts.files import load_prompt, save_prompt
from models.prompts.prompt import Prompt
from models.testing import LinearModel, create_linear_model, write_linear_model
from worker.certification import audit_certificate
from worker.contract import TASKS, CertificationJob, CertifyRequest, WorkerReport
from worker.contract.certificate.document import FinishedResult
from worker.contract.certificate.signature import (
    check_signature,
    create_signing_key,
    encode_public_key,
    sign,
)
from worker.contract.host import Identity, f_sha256
from worker.contract.image import image_sha256
from worker.contract.learning import LearningJob
from worker.contract.prompt import EncodedPrompt
from worker.contract.protocol import CountRange, RangeCounted
from worker.contract.request import canonical_bytes, request_sha256
from worker.counting.certify import certify
from worker.counting.range_merge import Disagreement
from worker.counting.records.protocol import Unrecorded
from worker.counting.roll import Roll
from worker.engine.engine import Engine
from worker.engine.local import LocalCounter
from worker.engine.server import EngineServer
from worker.engine.shelf.identity import create_identity
from worker.engine.shelf.shelf import Shelf
from worker.evaluation.question import EvaluationQuestion
from worker.evaluation.run_file import EvaluatedImage, RunFile
from worker.jobs.certify import JobTooSlow, run_certification
from worker.jobs.publish_prompts import publish_prompts
from worker.jobs.queue import accept_jobs, ask_for_help, create_queue, fetch_job
from worker.jobs.sharing.disagreements import Disagreements
from worker.jobs.sharing.ranges import RangeBoard, SharedSession
from worker.key_secret import commitment
from worker.learning.process import run_order
from worker.learning.protocol import LearningOrder
from worker.learning.queue import submit_learning
from worker.learning.store import find_checkpoint, put_epoch
from worker.learning.store import find_job as find_learning
from worker.settings import WorkerSettings
from worker.store import hosts as fleet
from worker.store import keyspace
from worker.store.jobs.progress import note_lost_engine
from worker.store.jobs.records import find_job
from worker.store.prompts import put_prompt

from . import asked

SECRET = b"frozen secret of 32 bytes, so so"
SIZE = 16
DAY_S = 24 * 3600
COMMITMENT = commitment(SECRET)
SIGNING_KEY = encode_public_key(create_signing_key(SECRET).public_key())

__all__ = [  # asked for here by the other files
    "COMMITMENT",
    "SIGNING_KEY",
    "TASKS",
    "create_queue",
    "fetch_job",
    "publish_prompts",
    "run_certification",
]


class Host:
    """A worker host with the linear and the bundled model, and what it needs of a disk.

    Args:
        folder: an empty one.
        url: of an empty Redis.
    """

    def __init__(self, folder: Path, url: str) -> None:
        write_linear_model(folder / "models", create_linear_model(size=SIZE, seed=4))
        self.settings = WorkerSettings(
            redis_url=url, data_dir=folder, models=folder / "models", engine_wait_s=2
        )
        self.settings.secret_path.write_bytes(SECRET)
        self.redis = Redis.from_url(url)
        self.catalogue = load_catalogue(self.settings.models)
        self._vlms = [_load(self.catalogue, name) for name in ("linear", "bundled-2")]
        self.engine = Engine(Shelf.holding(self._vlms))

    @contextmanager
    def serving(self) -> Iterator[None]:
        """While this lasts, an engine answers at its socket."""
        server = EngineServer(Engine(Shelf.holding(self._vlms)), self.settings.socket_path)
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            yield
        finally:
            server.stop()
            thread.join()

    def refer(self, name: str) -> dict[str, str]:
        """A model by its id and digest."""
        return {"id": name, "sha256": self.catalogue.get(name).sha256}

    def get_size(self, name: str) -> int:
        """How many pixels high and wide a model's images are."""
        return self.catalogue.get(name).preprocessing.size

    def identify(self, name: str) -> Any:
        """Which f runs here."""
        return json.loads(self._identify(name).model_dump_json())

    def name_f(self, name: str) -> str:
        """Its digest."""
        return f_sha256(self._identify(name))

    def _identify(self, name: str) -> Identity:
        return create_identity(next(vlm for vlm in self._vlms if vlm.card.id == name))

    def bind(self) -> None:
        """Empties Redis and binds it to the key secret, as a host does that starts."""
        self.redis.flushdb()
        fleet.publish_keys(self.redis, COMMITMENT, SIGNING_KEY)

    @property
    def environment(self) -> dict[str, str]:
        """The settings for what reads its own."""
        return {
            "REDIS_URL": self.settings.redis_url.get_secret_value(),
            "PROMPTSMOOTH_DATA_DIR": str(self.settings.data_dir),
            "PROMPTSMOOTH_MODELS": str(self.settings.models),
        }


def _load(catalogue: Catalogue, name: str) -> Any:
    return load_vlm(catalogue.get(name), catalogue.folder(name), torch.device("cpu"))


def create_app(host: Host, **changes: Any) -> FastAPI:
    """The app on a host's Redis and models."""
    url = host.settings.redis_url.get_secret_value()
    settings = AppSettings(redis_url=url, models=host.settings.models, **changes)
    return create_service(settings)


# --- Requests and certificates ---


def create_request(host: Host, changes: dict[str, Any], model: str = "linear") -> CertifyRequest:
    """A request on the frozen image; what is said of the image is added to what it is."""
    size = host.get_size(model)
    digest = image_sha256(asked.create_image(size))
    wanted = asked.create_request(host.refer(model), digest, size)
    given = {"input": wanted["input"] | changes.get("input", {})}
    return CertifyRequest.model_validate(wanted | changes | given)


def name_request(request: CertifyRequest) -> dict[str, Any]:
    """The canonical bytes of a request and all that is derived from them."""
    keys = Roll(request, SECRET).keys | {"adaptation": Roll(request, SECRET).tuning_key}
    return {
        "canonical": canonical_bytes(request.identity()).decode(),
        "request_sha256": request_sha256(request, COMMITMENT),
        "noise_keys": {purpose: key.text for purpose, key in sorted(keys.items())},
        "samples_total": request.samples_total,
        "alpha_each": request.alpha_each,
    }


def certify_text(
    engine: Engine, request: CertifyRequest, image: np.ndarray, prompt: Prompt | None = None
) -> str:
    """The signed certificates of an image, as the service keeps them."""
    prompts = {} if prompt is None else {prompt.sha256: EncodedPrompt.of(prompt)}
    result = certify(
        Roll(request, SECRET),
        image,
        counter=LocalCounter(engine),
        records=Unrecorded(prompts=prompts, attempts=2),
    )
    return sign(result, SECRET).model_dump_json()


def sign_again(text: str) -> str:
    """A finished certification read, signed by the same secret and written again."""
    return sign(FinishedResult.model_validate_json(text), SECRET).model_dump_json()


def find_faults(text: str) -> list[str]:
    """What an audit of a finished certification says against it."""
    document = json.loads(text)
    findings = (*audit_certificate(document).findings, check_signature(document, (SIGNING_KEY,)))
    return [finding.sentence for finding in findings if not finding.holds]


def certify_two_prompts() -> str:
    """A routed certificate of the toy of two prompts, whose votes are exact on every machine."""
    image, card = asked.create_image(8), _create_toy_card()
    planes = [_create_plane(step, image, beyond) for step, beyond in ((5, 400), (7, 500), (11, 9))]
    classes = {"A": planes[1], "B": planes[2]}
    device = torch.device("cpu")
    vlm = TwoPromptVLM(card=card, choice=planes[0], classes=classes, device=device)
    model = {"id": card.id, "sha256": card.sha256}
    wanted = asked.create_request(model, image_sha256(image), 8) | asked.ROUTED
    request = CertifyRequest.model_validate(wanted)
    return certify_text(Engine(Shelf.holding([vlm])), request, image)


def _create_toy_card() -> ModelCard:
    return ModelCard.model_validate(
        {
            "id": "two-prompts",
            "name": "Toy",
            "description": "Planes.",
            "intended_use": "Tests.",
            "licence": "Apache-2.0",
            "source": "models.two_prompt_vlm",
            "architecture": "linear",
            "files": [{"name": "none", "sha256": "0" * 64, "size_bytes": 1}],
            "context_length": 77,
            "preprocessing": {"size": 8, "mean": [0, 0, 0], "std": [1, 1, 1]},
            "class_names": asked.ROUTED["targets"][0]["class_names"],
            "template": "A {}",
        }
    )


def _create_plane(step: int, image: np.ndarray, beyond: int) -> LinearModel:
    """A plane with weights from -3 to 3, and the image so far before it."""
    weight = (np.arange(image.size) * step % 7 - 3).reshape(image.shape)
    return LinearModel(weight=weight, threshold=int((weight * image).sum()) + beyond * 10 + 0.5)


# --- What lies in Redis ---


def submit_job(host: Host, changes: dict[str, Any], *, model: str = "linear") -> str:
    """Accepts a job for the frozen image, as the app does; its id."""
    request = json.loads(create_request(host, changes, model).model_dump_json())
    job = CertificationJob.model_validate(asked.create_job(request))
    pair = (job, asked.create_image(host.get_size(model)))
    accept_jobs(host.redis, [pair], image_ttl_s=DAY_S, job_ttl_s=90 * DAY_S)
    return job.id


def run_once(host: Host, job_id: str) -> None:
    """Counts one more range of a job, which is then cut off."""
    try:
        run_certification(host.redis, host.settings, job_id, allowance_s=0)
    except JobTooSlow:
        return
    raise AssertionError("the job ended with its first range")


def ask_others(host: Host, job_id: str) -> None:
    """Asks another worker to help with a job."""
    job = find_job(host.redis, job_id)
    assert job is not None
    assert ask_for_help(host.redis, job, asked.RUN, at_most=1) == 1


def note_troubles(host: Host, job_id: str, request_digest: str) -> None:
    """An engine that was lost, and a vote that two hosts counted differently."""
    job = find_job(host.redis, job_id)
    assert job is not None
    note_lost_engine(host.redis, job_id)
    disagreement = Disagreement(0, "estimation", 0, 5)
    ttl_s = host.settings.certificate_ttl_s
    Disagreements(host.redis, job, request_digest, ttl_s=ttl_s).keep(frozenset({disagreement}))


def open_board(redis: Redis, name: str) -> RangeBoard:
    """The ranges of the frozen run, as a host sees them."""
    return RangeBoard(redis, asked.JOB_ID, asked.RUN, host=name)


def put_up_ranges(host: Host) -> None:
    """Three ranges: one handed in, one leased, one open."""
    posting = SharedSession.model_validate(
        asked.create_posting(host.refer("linear"), host.identify("linear"))
    )
    board = open_board(host.redis, "host-a")
    board.put_up(posting, [_create_range(start) for start in (0, 2, 4)])
    other = open_board(host.redis, "host-b")
    assert other.join()
    assert other.lease() is not None
    other.hand_in(RangeCounted.model_validate(COUNTED))
    assert other.lease() is not None


COUNTED = {
    "kind": "counted",
    "sigma_index": 0,
    "phase": "estimation",
    "start": 0,
    "stop": 2,
    "counts": [[1, 1]],
    "ambiguous": [0],
    "votes": ["AAAAAQ=="],
}


def _create_range(start: int) -> CountRange:
    place = {"sigma_index": 0, "phase": "estimation", "start": start, "stop": start + 2}
    return CountRange.model_validate(place)


def read_board(redis: Redis) -> list[Any]:
    """What a host finds of the frozen ranges: posting, what may be leased, what was handed in."""
    board = open_board(redis, "host-c")
    posting, leased, taken = board.find_session(), board.lease(), tuple(board.take())
    assert posting is not None
    assert leased is not None
    return [json.loads(each.model_dump_json()) for each in (posting, leased, *taken)]


def announce_host(host: Host) -> None:
    """A host that says what it does."""
    report = asked.create_report(host.identify("linear"))
    fleet.announce(host.redis, WorkerReport.model_validate(report))


def list_hosts(redis: Redis) -> list[Any]:
    """The hosts that are alive."""
    return [json.loads(report.model_dump_json()) for report in fleet.list_workers(redis)]


# --- Prompts and learning ---


def create_prompt(host: Host) -> tuple[PromptCard, Prompt]:
    """The frozen prompt."""
    prompt = Prompt(ctx=asked.create_ctx(), suffix=" image.")
    card = asked.create_card(host.refer("bundled-2"), prompt.sha256)
    return PromptCard.model_validate(card), prompt


def write_prompt(host: Host, folder: Path) -> dict[str, bytes]:
    """The frozen prompt in each of its forms, by the names of their files."""
    card, prompt = create_prompt(host)
    save_prompt(folder, card, prompt)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return files | {
        "with-suffix.safetensors": write_ctx(prompt.ctx, prompt.suffix),
        "encoded.json": EncodedPrompt.of(prompt).model_dump_json().encode(),
        "digests.txt": f"{prompt.sha256}\n{prompt.ctx_sha256}\n".encode(),
    }


def read_prompt(path: Path, encoded: str) -> set[str]:
    """The digests of a prompt's values as they are found in a card's files and in a record."""
    card, prompt = load_prompt(path)
    return {card.sha256, prompt.sha256, EncodedPrompt.model_validate_json(encoded).decode().sha256}


def store_prompt(host: Host) -> None:
    """Stores the frozen prompt for everyone."""
    put_prompt(host.redis, *create_prompt(host), owner="0a1b2c3d")


def submit_frozen_learning(host: Host) -> LearningJob:
    """Accepts a learning, as the app does."""
    size = host.get_size("bundled-2")
    images = _create_training_images(size)
    digests = [image_sha256(image) for image in images]
    learning = asked.create_learning(host.refer("bundled-2"), digests, size)
    job = LearningJob.model_validate(learning)
    submit_learning(host.redis, job, images, image_ttl_s=DAY_S, job_ttl_s=90 * DAY_S)
    return job


def _create_training_images(size: int) -> list[np.ndarray]:
    image = asked.create_image(size)
    return [image // 2, image // 2 + 120]


def learn_one_epoch(host: Host, job: LearningJob) -> None:
    """Learns the first epoch of a job, which is then cut off."""
    order = _create_order(job, resume=None)

    def keep(report: Any) -> None:
        checkpoint = report.decode_checkpoint()
        put_epoch(host.redis, job.id, report.epoch, checkpoint, ttl_s=90 * DAY_S)
        raise InterruptedError

    try:
        run_order(order, host.settings, keep)
    except InterruptedError:
        return
    raise AssertionError("the learning ended with its first epoch")


def learn_on(host: Host) -> list[Any]:
    """What is reported of a stored learning that goes on from its checkpoint."""
    job = find_learning(host.redis, asked.LEARNING_ID)
    assert job is not None
    reports: list[Any] = []
    resume = find_checkpoint(host.redis, job.id)
    run_order(_create_order(job, resume=resume), host.settings, reports.append)
    return reports


def _create_order(job: LearningJob, *, resume: bytes | None) -> LearningOrder:
    pixels = np.stack(_create_training_images(job.request.size))
    return LearningOrder(request=job.request, pixels=pixels, resume=resume)


# --- Files that go on: an evaluation, an audit log ---


def write_run(host: Host, path: Path, certified: str) -> None:
    """The file of an evaluation of two images, of which one is finished."""
    question = asked.create_question(host.identify("linear"), COMMITMENT)
    image = asked.EVALUATED | {"result": json.loads(certified)}
    with RunFile(path, EvaluationQuestion.model_validate(question)) as run:
        run.append(EvaluatedImage.model_validate_json(json.dumps(image)))


def go_on_with_run(path: Path) -> tuple[int, list[str]]:
    """The number of this sitting, and the finished certifications of those before."""
    question = EvaluationQuestion.model_validate_json(path.read_bytes().splitlines()[0])
    with RunFile(path, question) as run:
        return run.sitting, [image.result.model_dump_json() for image in run.images.values()]


def write_audit_log(folder: Path) -> Path:
    """An audit log with two entries; its file."""
    log = AuditLog(folder, max_bytes=10**6)
    log.record("certify.accepted", certification_id=asked.JOB_ID)
    log.record("certify.ended", certification_id=asked.JOB_ID, radius=0.25)
    (path,) = list_files(folder)
    return path


def go_on_with_audit_log(folder: Path) -> tuple[int, Any]:
    """The number of a further entry, and what is found of the whole log."""
    head = AuditLog(folder, max_bytes=10**6).record("frozen")
    return head.seq, check_files(list_files(folder))


# --- Names and descriptions ---


def list_keys() -> list[str]:
    """Every key's name, with `<1>`, `<2>` for its arguments."""
    ours = [value for name, value in vars(keyspace).items() if not name.startswith("_")]
    return sorted(name for value in ours if (name := _name_key(value)) is not None)


def _name_key(value: Any) -> str | None:
    if isinstance(value, str) and value.startswith("promptsmooth:"):
        return value
    if not inspect.isfunction(value):
        return None
    parameters = inspect.signature(value).parameters.values()
    places = (
        date(2026, 11, 29) if parameter.annotation is date else f"<{place}>"
        for place, parameter in enumerate(parameters, start=1)
    )
    return str(value(*places))


def describe_interface() -> dict[str, str]:
    """The published description of the interface, and the schema of certificates."""
    return {
        "certificate.schema.json": certificate_schema(),
        "openapi.json": openapi_document(),
    }


def list_models(host: Host) -> dict[str, str]:
    """The digest of every model's card."""
    return {card.id: card.sha256 for card in host.catalogue.list()}


def find_machine() -> str:
    """What a float's last bits may depend on beside what an identity says."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return "; ".join(sorted({line for line in lines if line.startswith(("model name", "flags"))}))
