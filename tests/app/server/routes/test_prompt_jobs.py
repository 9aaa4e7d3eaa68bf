"""POST /prompts/learn: what is accepted is in the queue as it was asked for; nothing else is."""

import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO

import numpy as np
import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from over_http import SECRET, require_problem
from redis import Redis

from app.main import create_app
from app.server.answers.problems import TrainingImagesInvalid
from app.server.forms.labelled_files import open_zip
from app.server.routes.prompt_jobs import LOST
from app.settings import AppSettings
from models.catalogue import load_catalogue
from models.imaging import Decoder
from models.prompts.catalogue import load_prompt_catalogue
from worker.contract import LEARNING_QUEUE_NAME, TASK_LEARN, Failure
from worker.contract.image import image_sha256
from worker.contract.learning import FailedLearning, FinishedLearning, LearnedEpoch
from worker.jobs.queue import CertificationRqJob, create_queue
from worker.learning import store as learning_store
from worker.prepare import prepare_image
from worker.store import keyspace, prompts

Encode = Callable[..., bytes]
Learn = Callable[..., Response]
Files = dict[str, bytes]


@pytest.fixture
def client(settings: AppSettings, redis: Redis, decoder: Decoder) -> Iterator[TestClient]:
    roomy = settings.model_copy(update={"max_learning_images": 12})
    with TestClient(create_app(roomy, decoder=decoder), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="session")
def files(encode: Encode) -> Files:
    """Three images of each of two classes, by their paths."""
    rng = np.random.default_rng(3)
    return {
        f"{folder}/{number}.png": encode(rng.integers(0, 256, (70, 64, 3), dtype=np.uint8))
        for folder in ("normal_lungs", "pneumonia")
        for number in range(3)
    }


def _pack(files: Files, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return packed.getvalue()


@pytest.fixture
def learn(client: TestClient, files: Files) -> Learn:
    """Sends a good request with a zip, apart from what is said."""

    def send(packed: bytes | None = None, **fields: object) -> Response:
        content = _pack(files) if packed is None else packed
        data = {"id": "lungs", "model": "bundled-2", "shots": "2"} | fields
        return client.post("/prompts/learn", files={"zip": ("x.zip", content)}, data=data)

    return send


def test_an_accepted_learning_is_one_job_in_its_queue(
    learn: Learn, client: TestClient, redis: Redis, files: Files
) -> None:
    answer = learn(epochs="7", seed="5", noise_level=["0", "0.25"], learning_rate="1e-2")
    assert answer.status_code == 202
    shown = answer.json()
    assert answer.headers["location"] == shown["links"]["self"] == f"/prompt-jobs/{shown['id']}"
    assert client.get(answer.headers["location"]).json() == shown
    assert (shown["status"], shown["curve"], shown["images"]) == ("queued", [], 4)
    assert create_queue(redis, LEARNING_QUEUE_NAME).job_ids == [shown["id"]]
    assert create_queue(redis).job_ids == []
    rq_job = CertificationRqJob.fetch(shown["id"], connection=redis, serializer="json")
    assert (rq_job.func_name, rq_job.args) == (TASK_LEARN, [shown["id"]])
    job = learning_store.find_job(redis, shown["id"])
    assert job is not None
    asked = job.request.settings
    assert (asked.shots, asked.epochs, asked.seed, asked.learning_rate) == (2, 7, 5, 0.01)
    assert asked.noise_levels == (0.0, 0.25)
    assert job.request.class_names == ("normal lungs", "pneumonia")
    assert [image.class_index for image in job.request.images] == [0, 0, 1, 1]


def test_images_are_prepared_as_certified_ones_are_and_expire(
    learn: Learn, redis: Redis, files: Files
) -> None:
    card = load_catalogue().get("bundled-2")
    prepared = [image_sha256(prepare_image(f, card)[0]) for f in files.values()]
    job = learning_store.find_job(redis, learn().json()["id"])
    assert job is not None
    for place, image in enumerate(job.request.images):
        assert image.sha256 in prepared[3 * (place // 2) :][:3]
        assert redis.ttl(keyspace.image(image.sha256)) > 0  # as long as the job, until it has ended
    assert redis.ttl(keyspace.learning_job(job.id)) > 0


def test_zip_and_parts_in_any_order_are_the_same_request(
    learn: Learn, client: TestClient, redis: Redis, files: Files
) -> None:
    def get_request(answer: Response) -> object:
        assert answer.status_code == 202
        job = learning_store.find_job(redis, answer.json()["id"])
        assert job is not None
        return job.request

    first = get_request(learn())
    turned = dict(reversed(files.items())) | {".DS_Store": b"x", "__MACOSX/normal_lungs/._0": b"x"}
    for prefix, slash in (("../train/", "/"), ("train\\", "\\")):
        deep = {prefix + path.replace("/", slash): data for path, data in turned.items()}
        assert get_request(learn(_pack(deep, zipfile.ZIP_STORED))) == first
    parts = [("image", (SECRET, content)) for content in files.values()]
    classes = [path.partition("/")[0] for path in files]
    data = {"id": "lungs", "model": "bundled-2", "shots": "2", "image_class": classes}
    assert get_request(client.post("/prompts/learn", files=parts, data=data)) == first


def test_files_that_desktops_leave_are_left_out_with_a_count(
    learn: Learn, client: TestClient, files: Files
) -> None:
    junk = {f"pneumonia/{name}": b"x" for name in ("Thumbs.db", "desktop.ini", "README.txt")}
    packed = learn(_pack(files | junk)).json()
    assert (packed["status"], packed["left_out"]) == ("queued", 3)
    sent = files | junk
    parts = [("image", (path.rpartition("/")[2], content)) for path, content in sent.items()]
    data = {"id": "lungs-2", "shots": "3", "image_class": [path.split("/")[0] for path in sent]}
    answer = client.post("/prompts/learn", files=parts, data=data).json()
    assert (answer["images"], answer["left_out"]) == (6, 3)
    assert client.get(answer["links"]["self"]).json()["left_out"] == 3


def test_class_folders_of_numbers_are_ordered_as_numbers_and_named_by_the_request(
    learn: Learn, redis: Redis, files: Files
) -> None:
    contents = list(files.values())
    packed = _pack({f"{name}/x.png": contents[i] for i, name in enumerate(("10", "9", "1"))})
    require_problem(learn(packed, shots="1"), 422, "request_invalid")
    answer = learn(packed, shots="1", class_name=["one", "nine", "ten"])
    job = learning_store.find_job(redis, answer.json()["id"])
    assert job is not None
    card = load_catalogue().get("bundled-2")
    prepared = [image_sha256(prepare_image(contents[i], card)[0]) for i in (2, 1, 0)]
    assert [image.sha256 for image in job.request.images] == prepared


def test_a_learning_shows_its_curve_and_its_end(
    learn: Learn, client: TestClient, redis: Redis
) -> None:
    shown = learn().json()
    epoch = LearnedEpoch(number=1, loss=0.5, accuracy=0.75, seconds=1.5)
    learning_store.put_epoch(redis, shown["id"], epoch, b"", ttl_s=60)
    found = client.get(shown["links"]["self"]).json()
    assert (found["epochs_done"], found["curve"]) == (1, [epoch.model_dump()])
    result = FinishedLearning(prompt_sha256="a" * 64)
    learning_store.put_result(redis, shown["id"], result, ttl_s=60)
    found = client.get(shown["links"]["self"]).json()
    assert (found["status"], found["prompt_sha256"]) == ("finished", "a" * 64)
    assert client.delete(shown["links"]["self"]).json() == found  # it stays as it is


def test_a_failed_learning_says_why(learn: Learn, client: TestClient, redis: Redis) -> None:
    first, second = learn().json(), learn(id="others").json()
    failure = Failure(code="learning_impossible", detail="Because.")
    learning_store.put_result(redis, first["id"], FailedLearning(failure=failure), ttl_s=60)
    assert client.get(first["links"]["self"]).json()["failure"] == failure.model_dump()
    redis.delete(f"rq:job:{second['id']}")
    assert client.get(second["links"]["self"]).json()["status"] == "queued"  # it is found again
    redis.hset(f"rq:job:{second['id']}", "status", "failed")
    redis.zrem(keyspace.accepted("learn"), second["id"])
    found = client.get(second["links"]["self"]).json()
    assert (found["status"], found["failure"]["code"]) == ("failed", LOST.code)


def test_a_learning_that_waits_can_be_cancelled(
    learn: Learn, client: TestClient, redis: Redis
) -> None:
    shown = learn().json()
    answer = client.delete(shown["links"]["self"])
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert client.get(shown["links"]["self"]).json()["status"] == "cancelled"


def test_a_job_that_is_not_there_is_a_problem(client: TestClient) -> None:
    for job_id in ("0" * 32, "x"):
        require_problem(client.get(f"/prompt-jobs/{job_id}"), 404, "prompt_job_unknown")
        require_problem(client.delete(f"/prompt-jobs/{job_id}"), 404, "prompt_job_unknown")


@pytest.mark.parametrize(
    ("fields", "field", "rule"),
    [
        ({"id": "A"}, "id", "a name of at most 64"),
        ({"id": "zero-shot-x"}, "id", "neither begins with zero-shot-"),
        ({"shots": "0"}, "shots", "from 1 to 1024"),
        ({"shots": "1_0"}, "shots", "from 1 to 1024"),
        ({"epochs": "501"}, "epochs", "from 1 to 500"),
        ({"seed": "-1"}, "seed", "from 0 to 2^53"),
        ({"noise_level": ["0.1", "0.10"]}, "noise_level", "each named once"),
        ({"noise_level": ["11"]}, "noise_level", "from 0 to 10"),
        ({"noise_level": ["nan"]}, "noise_level", "from 0 to 10"),
        ({"learning_rate": "0"}, "learning_rate", "greater than 0"),
        ({"preset": "mine"}, "preset", '"paper"'),
        ({"template": "{} of a lung."}, "template", "words before {}"),
        ({"template": SECRET}, "template", "exactly once"),
        ({"class_name": ["a", "b", "c"]}, "class_name", "each of 2 classes"),
        ({"image_class": ["a", "b"]}, "image_class", "the folders of the zip"),
        ({"model": "linear"}, "model", "takes context vectors"),
    ],
)
def test_a_field_out_of_range_is_named_and_nothing_is_queued(
    learn: Learn, redis: Redis, fields: dict[str, object], field: str, rule: str
) -> None:
    document = require_problem(learn(**fields), 422, "request_invalid")
    (error,) = document["errors"]
    assert error["field"] == field
    assert rule in error["detail"]
    assert redis.dbsize() == 0


def _spoil(packed: bytes) -> bytes:
    """A zip whose content was changed under way: its checksums do not hold."""
    at = packed.index(b"IDAT") + 40
    return packed[:at] + bytes([packed[at] ^ 1]) + packed[at + 1 :]


def _encrypt(packed: bytes) -> bytes:
    at = packed.index(b"PK\x01\x02") + 8
    return packed[:at] + b"\x01" + packed[at + 1 :]


def test_a_zip_that_cannot_be_learned_from_is_a_sentence(
    learn: Learn, redis: Redis, files: Files
) -> None:
    one = {path: content for path, content in files.items() if path.startswith("n")}
    many = {f"{path}{copy}.png": content for path, content in files.items() for copy in range(3)}
    huge = {"a/x": bytes(2**20)} | {f"b/{i}": bytes(2**20) for i in range(8)}
    stored = _pack(files, zipfile.ZIP_STORED)
    for packed, said in (
        (b"", "damaged or none"),
        (b"no zip " * 9, "damaged or none"),
        (stored[:-30], "damaged or none"),
        (stored[200:], "damaged or none"),
        (_spoil(stored), "damaged or none"),
        (_encrypt(stored), "neither encrypted"),
        (_pack(files, zipfile.ZIP_LZMA), "neither encrypted"),
        (_pack({"x.png": b"x"}), "in a folder"),
        (_pack({f"{'x' * 201}/x.png": b"x"}), "in a folder"),
        (_pack({}), "2 to 100 classes, got 0"),
        (_pack(one), "2 to 100 classes, got 1"),
        (_pack(many), "at most 12 images, got 18"),
    ):
        document = require_problem(learn(packed), 422, "training_images_invalid")
        assert said in str(document["detail"])
    document = require_problem(learn(shots="4"), 422, "training_images_invalid")
    assert "needs 4 images" in str(document["detail"])
    require_problem(learn(_pack(huge), shots="1"), 415, "image_format_unsupported")
    assert redis.dbsize() == 0


def _claim_sizes(packed: bytes, size: int) -> bytes:
    """A zip whose list of files claims that each has this many bytes."""
    at = packed.find(b"PK\x01\x02")
    while at >= 0:
        packed = packed[: at + 24] + size.to_bytes(4, "little") + packed[at + 28 :]
        at = packed.find(b"PK\x01\x02", at + 4)
    return packed


def test_a_zip_bomb_is_refused_before_it_opens(learn: Learn, redis: Redis, files: Files) -> None:
    document = require_problem(
        learn(_claim_sizes(_pack(files), 2**31)), 422, "training_images_invalid"
    )
    assert "bytes of images" in str(document["detail"])
    packed = _pack(files)
    at = packed.rfind(b"PK\x05\x06") + 12
    long_list = packed[:at] + (5 * 2**20).to_bytes(4, "little") + packed[at + 4 :]
    document = require_problem(learn(long_list), 422, "training_images_invalid")
    assert "fewer files" in str(document["detail"])
    zip64 = packed[: at - 12] + b"PK\x06\x07" + bytes(16) + packed[at - 12 :]
    document = require_problem(learn(zip64), 422, "training_images_invalid")
    assert "fewer files" in str(document["detail"])
    assert redis.dbsize() == 0


def test_a_zip_of_a_hundred_thousand_files_is_said_to_have_too_many() -> None:
    """Its end is that of a ZIP64, which is not read."""
    many = BytesIO()
    with zipfile.ZipFile(many, "w") as archive:
        for number in range(100_000):
            archive.writestr(zipfile.ZipInfo(f"a/{number}"), b"")
    with pytest.raises(TrainingImagesInvalid) as caught:
        open_zip(many, most=4096)
    assert "fewer files" in caught.value.detail
    assert "damaged" not in caught.value.detail


def test_an_image_that_is_none_is_said_by_its_place(
    learn: Learn, client: TestClient, files: Files
) -> None:
    broken = files | {"pneumonia/1.png": SECRET.encode() * 9}
    document = require_problem(learn(_pack(broken), shots="3"), 415, "image_format_unsupported")
    assert document["image_index"] == 4
    turned = dict(reversed(broken.items()))
    parts = [("image", ("x", content)) for content in turned.values()]
    data = {"id": "lungs", "shots": "3", "image_class": [path.partition("/")[0] for path in turned]}
    answer = client.post("/prompts/learn", files=parts, data=data)
    document = require_problem(answer, 415, "image_format_unsupported")
    assert document["image_index"] == 1


def test_an_image_that_is_none_is_replaced_and_said(
    learn: Learn, client: TestClient, redis: Redis, files: Files
) -> None:
    whole = learn().json()
    job = learning_store.find_job(redis, whole["id"])
    assert job is not None
    prepared = {
        image_sha256(prepare_image(content, load_catalogue().get("bundled-2"))[0]): path
        for path, content in files.items()
    }
    lost = prepared[job.request.images[-1].sha256]
    answer = learn(_pack(files | {lost: SECRET.encode() * 9})).json()
    replaced = learning_store.find_job(redis, answer["id"])
    assert replaced is not None
    used = [prepared[image.sha256] for image in replaced.request.images]
    assert len(used) == 4
    assert lost not in used
    (refused,) = answer["refused"]
    assert (refused["image_index"], refused["status"]) == (sorted(files).index(lost), 415)
    assert refused["code"] == "image_format_unsupported"
    assert client.get(answer["links"]["self"]).json()["refused"] == [refused]
    assert "refused" not in whole
    assert SECRET not in client.get(answer["links"]["self"]).text


def test_parts_and_classes_belong_together(client: TestClient, files: Files) -> None:
    parts = [("image", ("x", content)) for content in files.values()]
    both = [*parts, ("zip", ("x", _pack(files)))]
    data = {"id": "lungs", "model": "bundled-2"}
    for sent, classes, field in (
        (parts, ["a"] * 5, "image_class"),
        (parts, [], "image_class"),
        (both, ["a"] * 6, "zip"),
    ):
        asked = data | {"image_class": classes}
        answer = client.post("/prompts/learn", files=sent, data=asked)
        document = require_problem(answer, 422, "request_invalid")
        assert document["errors"][0]["field"] == field
    answer = client.post("/prompts/learn", files=[("other", ("x", b"x"))], data=data)
    require_problem(answer, 422, "field_unknown")


def test_the_same_request_is_the_same_learning_as_long_as_it_can_give_its_prompt(
    learn: Learn, client: TestClient, redis: Redis
) -> None:
    first = learn().json()
    assert learn().json() == first
    assert create_queue(redis, LEARNING_QUEUE_NAME).job_ids == [first["id"]]
    others = {learn(seed="9").json()["id"], learn(id="other").json()["id"]}
    assert len(others | {first["id"]}) == 3
    client.delete(first["links"]["self"])
    second = learn().json()
    assert (second["status"], second["id"] != first["id"]) == ("queued", True)
    assert learn().json() == second


def test_a_learning_that_gave_its_prompt_is_answered_with_it_until_it_is_removed(
    learn: Learn, client: TestClient, redis: Redis
) -> None:
    first = learn().json()
    shipped, prompt = load_prompt_catalogue().get("bundled-2-kermany-cxr").load()
    card = shipped.model_copy(update={"id": "lungs"})
    prompts.put_prompt(redis, card, prompt)
    result = FinishedLearning(prompt_sha256=card.sha256)
    learning_store.put_result(redis, first["id"], result, ttl_s=60)
    again = learn()
    assert (again.status_code, again.json()["id"]) == (202, first["id"])
    assert (again.json()["status"], again.json()["prompt_sha256"]) == ("finished", card.sha256)
    assert client.delete("/prompts/lungs").status_code == 204
    require_problem(learn(), 409, "prompt_id_taken")


def test_an_id_that_was_ever_given_is_not_learned_anew(learn: Learn, redis: Redis) -> None:
    redis.hset(keyspace.PROMPT_IDS, "lungs", "a" * 64)
    document = require_problem(learn(), 409, "prompt_id_taken")
    assert "another prompt" not in str(document["detail"]), "it may be this request's own"


def test_more_images_than_a_certification_has_are_taken(client: TestClient, files: Files) -> None:
    """The form of a learning has limits of its own: here a certification takes three images."""
    parts = [("image", ("x", content)) for content in [*files.values()] * 2]
    classes = [path.partition("/")[0] for path in files] * 2
    data = {"id": "lungs", "model": "bundled-2", "shots": "2", "image_class": classes}
    assert client.post("/prompts/learn", files=parts, data=data).status_code == 202
