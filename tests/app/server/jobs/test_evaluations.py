"""POST /evaluations: the dataset is certified in the end, whatever ended on the way."""

import csv
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from redis import Redis
from waiting import wait_until

from app.main import create_app
from app.server.access.api_keys import ApiKey, change_keys
from app.server.jobs.evaluations.record import EndedEvaluation, EvaluationFolder
from app.settings import AppSettings, Quotas
from models.imaging import Decoder
from worker.contract import Failure
from worker.contract.certificate.document import FailedResult, FinishedResult
from worker.jobs.priority import list_waiting
from worker.jobs.state import get_states
from worker.store import keyspace
from worker.store.jobs import records, results

CLASSES = ("hand", "skull")
ASKED = {"dataset": "bones", "sigma": ["0.25"], "n_max": 64, "images": 6, "radius": [0, 0.1]}
BIG = {**ASKED, "n_max": 100_000}
MakeKey = Callable[..., tuple[ApiKey, dict[str, str]]]


@pytest.fixture
def settings(settings: AppSettings, tmp_path: Path) -> AppSettings:
    """Those of an app with one dataset: six pictures in two classes, one of them no picture."""
    rng = np.random.default_rng(3)
    for name in CLASSES:
        folder = tmp_path / "datasets" / "bones" / "test" / name
        folder.mkdir(parents=True)
        for place in range(3):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{place}.png")
    (folder / "0.png").write_bytes(b"no picture")
    folders = {"datasets": tmp_path / "datasets", "evaluations": tmp_path / "evaluations"}
    return settings.model_copy(update=folders)


@pytest.fixture
def open_app(settings: AppSettings, decoder: Decoder) -> Callable[[], TestClient]:
    """Makes an app process on the folders, as often as a test wants one."""
    return lambda: TestClient(create_app(settings, decoder=decoder))


@contextmanager
def worker(redis: Redis, end: Callable[[Any], Any], *, most: int | None = None) -> Iterator[list]:
    """Ends queued jobs as a worker would, so many; the list names those that it ended."""
    ended: list[str] = []
    stop = Event()

    def work() -> None:
        while not stop.wait(0.02):
            waiting = [one for ids in list_waiting(redis).values() for one in ids]
            for name in waiting:
                if name in ended or (most is not None and len(ended) >= most):
                    continue
                job = records.find_job(redis, name)
                if job is not None and results.put_result(redis, name, end(job), ttl_s=1000):
                    ended.append(name)

    thread = Thread(target=work)
    thread.start()
    try:
        yield ended
    finally:
        stop.set()
        thread.join()


def start(client: TestClient, **changes: object) -> str:
    answer = client.post("/evaluations", json={**ASKED, **changes})
    assert answer.status_code == 202, answer.text
    return answer.headers["Location"]


def follow(client: TestClient, path: str, *, done: int | None = None) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        shown = client.get(path).json()
        over = shown["status"] in ("finished", "failed", "cancelled")
        return shown if over or (done is not None and shown["done"] >= done) else None

    return wait_until(look, pause_s=0.05)


def count_waiting(redis: Redis) -> int:
    return sum(map(len, list_waiting(redis).values()))


def find_folder(settings: AppSettings, path: str) -> EvaluationFolder:
    assert settings.evaluations is not None
    return EvaluationFolder(settings.evaluations / path.rpartition("/")[2])


def test_an_evaluation_goes_on_in_another_process_and_certifies_no_image_twice(
    open_app: Callable[[], TestClient], redis: Redis, finish: Callable[..., FinishedResult]
):
    with open_app() as client, worker(redis, finish, most=2):
        path = start(client)
        shown = follow(client, path, done=2)
        assert shown["status"] == "running"
        assert shown["table"][0]["images"] >= 1
    with open_app() as client, worker(redis, finish) as ended:
        shown = follow(client, path)
        assert (shown["status"], shown["done"], shown["skipped"]) == ("finished", 6, 1)
        assert len(ended) <= 3
        names = [one["certification"] for one in client.get(f"{path}/images").json()["images"]]
        assert len({name for name in names if name}) == 5
        (row,) = shown["table"]
        assert (row["images"], len(row["right_radii"]) + row["wrong"]) == (5, 5)
        assert [at["radius"] for at in row["at_radius"]] == [0, 0.1]


def test_results_are_those_of_the_command_in_all_forms(
    open_app: Callable[[], TestClient], redis: Redis, finish: Callable[..., FinishedResult]
):
    with open_app() as client, worker(redis, finish):
        path = start(client)
        assert client.get(f"{path}/results.csv").json()["code"] == "evaluation_not_finished"
        links = follow(client, path)["links"]["results"]
        files = {name: client.get(link) for name, link in links.items()}
    assert json.loads(files["results.json"].text)["question"]["dataset"] == "bones"
    rows = list(csv.DictReader(StringIO(files["results.csv"].text)))
    assert {row["images"] for row in rows} == {"5"}
    assert files["results.md"].text.startswith("# bones test")
    assert "tabular" in files["results.tex"].text
    assert files["plot.png"].content.startswith(b"\x89PNG")
    assert "<svg" in files["plot.svg"].text
    header, *lines = map(json.loads, files["images.jsonl"].text.splitlines())
    assert header["dataset"] == "bones"
    assert sorted(line["place"] for line in lines) == list(range(6))
    assert sum("result" in line for line in lines) == 5


def test_a_certification_that_fails_is_tried_three_times(
    open_app: Callable[[], TestClient], redis: Redis, finish: Callable[..., FinishedResult]
):
    failed = FailedResult(failure=Failure(code="internal", detail="The engine ended."))
    seen: set[str] = set()

    def fail_first(job: Any) -> Any:
        known = job.request.input.sha256 in seen
        seen.add(job.request.input.sha256)
        return finish(job) if known else failed

    with open_app() as client, worker(redis, fail_first):
        assert follow(client, start(client))["status"] == "finished"
    with open_app() as client, worker(redis, lambda _: failed):
        shown = follow(client, start(client))
        assert shown["failure"]["code"] == "certification_failed"
        assert "The engine ended." in shown["failure"]["detail"]


def test_cancelled_it_ends_what_it_queued_and_purged_it_is_gone(
    open_app: Callable[[], TestClient], redis: Redis, settings: AppSettings
):
    with open_app() as client:
        path = start(client)
        wait_until(lambda: count_waiting(redis) == 5)
        assert client.delete(path).json()["status"] == "cancelled"
        wait_until(lambda: not any(list_waiting(redis).values()))
        assert client.delete(path, params={"only": "cancel"}).json()["status"] == "cancelled"
        assert client.delete(path).status_code == 204
        assert client.get(path).json()["code"] == "evaluation_unknown"
        assert not list(redis.scan_iter(keyspace.job("*")))
        assert not list(redis.scan_iter("*image:*"))
    assert settings.evaluations is not None
    assert not list(settings.evaluations.iterdir())


def test_purged_nothing_is_left_of_one_that_a_kill_left_queued(
    open_app: Callable[[], TestClient], redis: Redis, settings: AppSettings
):
    with open_app() as client:
        path = start(client)
        wait_until(lambda: count_waiting(redis) == 5)
    find_folder(settings, path).end(EndedEvaluation(status="failed", ended_at=datetime.now(UTC)))
    with open_app() as client:
        assert client.delete(path).status_code == 204
    assert not list(redis.scan_iter(keyspace.job("*")))
    assert not list(redis.scan_iter("*image:*"))


def test_one_that_fails_cancels_what_it_queued(open_app: Callable[[], TestClient], redis: Redis):
    failed = FailedResult(failure=Failure(code="internal", detail="The engine ended."))
    with open_app() as client:
        path = start(client)
        wait_until(lambda: count_waiting(redis) == 5)
        first = min(one for ids in list_waiting(redis).values() for one in ids)
        unlucky = records.find_job(redis, first)
        assert unlucky is not None

        def end_first() -> bool:
            for one in (each for ids in list_waiting(redis).values() for each in ids):
                job = records.find_job(redis, one)
                if job is not None and job.request.input == unlucky.request.input:
                    results.put_result(redis, one, failed, ttl_s=1000)
            return client.get(path).json()["status"] == "failed"

        wait_until(end_first, pause_s=0.05)
    left = [one for ids in list_waiting(redis).values() for one in ids]
    assert not {"queued", "running"} & set(get_states(redis, left))


def test_a_damaged_result_is_a_try_like_another(
    open_app: Callable[[], TestClient], redis: Redis, finish: Callable[..., FinishedResult]
):
    with open_app() as client:
        path = start(client)
        wait_until(lambda: count_waiting(redis) == 5)
        damaged = min(one for ids in list_waiting(redis).values() for one in ids)
        redis.set(keyspace.result(damaged), b"{")
        with worker(redis, finish):
            assert follow(client, path)["status"] == "finished"
            names = [one["certification"] for one in client.get(f"{path}/images").json()["images"]]
            assert damaged not in names


def test_another_file_of_the_same_name_ends_it(
    open_app: Callable[[], TestClient], redis: Redis, settings: AppSettings
):
    with open_app() as client:
        path = start(client)
        wait_until(lambda: count_waiting(redis) == 5)
    redis.flushdb()
    assert settings.datasets is not None
    one, other = (settings.datasets / "bones/test/hand" / name for name in ("0.png", "1.png"))
    one.write_bytes(other.read_bytes())
    with open_app() as client:
        assert follow(client, path)["failure"]["code"] == "dataset_changed"


def test_a_dataset_that_is_not_mounted_is_waited_for(
    open_app: Callable[[], TestClient],
    redis: Redis,
    settings: AppSettings,
    finish: Callable[..., FinishedResult],
    caplog: pytest.LogCaptureFixture,
):
    with open_app() as client:
        path = start(client)
        wait_until(lambda: count_waiting(redis) == 5)
    redis.flushdb()
    caplog.set_level("INFO")
    assert settings.datasets is not None
    away = settings.datasets.rename(settings.datasets.with_name("away"))
    with open_app() as client:
        wait_until(lambda: "FileNotFoundError" in caplog.text)
        assert client.get(path).json()["status"] == "queued"
    away.rename(settings.datasets)
    with open_app() as client, worker(redis, finish):
        assert follow(client, path)["status"] == "finished"


def test_two_processes_work_on_two_evaluations(
    settings: AppSettings, decoder: Decoder, redis: Redis
):
    apps = [settings.model_copy(update={"evaluations_at_a_time": 1}) for _ in range(2)]
    first, second = (TestClient(create_app(one, decoder=decoder)) for one in apps)
    with first, second:
        for seed in (3, 4):
            start(first, seed=seed)
        wait_until(lambda: count_waiting(redis) == 10)


def test_of_two_ends_and_of_two_requests_the_first_stands(
    open_app: Callable[[], TestClient], settings: AppSettings
):
    with open_app() as client:
        path = start(client)
        client.delete(path)
    folder = find_folder(settings, path)
    stored = folder.read()
    assert stored is not None
    assert not folder.create(stored.model_copy(update={"seed": 4}))
    assert folder.read() == stored
    assert not folder.end(EndedEvaluation(status="finished", ended_at=datetime.now(UTC)))
    ended = folder.find_end()
    assert ended is not None
    assert ended.status == "cancelled"


def test_the_same_idempotency_key_is_the_same_evaluation(open_app: Callable[[], TestClient]):
    with open_app() as client:
        headers = {"Idempotency-Key": "study-1"}
        sent = [client.post("/evaluations", json=ASKED, headers=headers) for _ in range(2)]
        assert len({answer.json()["id"] for answer in sent}) == 1
        other = client.post("/evaluations", json={**ASKED, "n_max": 65}, headers=headers)
        assert other.json()["code"] == "idempotency_key_reused"


def test_what_it_takes_is_said_first_and_refused_where_memory_is_short(
    open_app: Callable[[], TestClient], redis: Redis
):
    with open_app() as client:
        needs = client.post("/evaluations/estimate", json=ASKED).json()
        assert (needs["images"], needs["samples"], needs["fits"]) == (6, 6 * 64, True)
        used = redis.info("memory")["used_memory"]
        redis.config_set("maxmemory", used + needs["redis_bytes"] // 2)
        try:
            answer = client.post("/evaluations", json=ASKED)
        finally:
            redis.config_set("maxmemory", 0)
        assert (answer.status_code, answer.json()["code"]) == (422, "evaluation_too_large")
        assert client.get("/evaluations").json()["evaluations"] == []


@contextmanager
def memory_for(client: TestClient, redis: Redis, share: float) -> Iterator[dict[str, Any]]:
    """Redis with memory for so many times what BIG takes; yields what that is."""
    needs = client.post("/evaluations/estimate", json=BIG).json()
    used = redis.info("memory")["used_memory"]
    redis.config_set("maxmemory", used + int(share * needs["redis_bytes"]))
    try:
        yield needs
    finally:
        redis.config_set("maxmemory", 0)


def test_two_that_fit_alone_are_not_both_started_where_they_do_not_fit_together(
    open_app: Callable[[], TestClient], redis: Redis
):
    with open_app() as client, memory_for(client, redis, 1.5) as needs:
        first = start(client, **BIG)
        shown = client.post("/evaluations/estimate", json=BIG).json()
        assert shown["redis_reserved_bytes"] == needs["redis_bytes"]
        assert shown["disk_reserved_bytes"] == needs["disk_bytes"]
        assert shown["redis_bytes"] < shown["redis_free_bytes"]
        assert not shown["fits"]
        assert client.get("/capacity").json()["memory_reserved_bytes"] == needs["redis_bytes"]
        answer = client.post("/evaluations", json=BIG)
        assert (answer.status_code, answer.json()["code"]) == (422, "evaluation_too_large")
        assert "evaluations that have not ended still take" in answer.json()["detail"]
        client.delete(first)
        assert client.get("/capacity").json()["memory_reserved_bytes"] == 0
        start(client, **BIG)


def test_of_requests_that_come_at_once_no_more_are_started_than_fit(
    open_app: Callable[[], TestClient], redis: Redis
):
    with (
        open_app() as client,
        memory_for(client, redis, 2.5),
        ThreadPoolExecutor(8) as pool,
    ):
        answers = list(pool.map(lambda _: client.post("/evaluations", json=BIG), range(8)))
        assert sorted(one.status_code for one in answers) == [202] * 2 + [422] * 6


def test_a_repeated_request_is_not_refused_for_what_it_takes_itself(
    open_app: Callable[[], TestClient], redis: Redis
):
    headers = {"Idempotency-Key": "study-2"}
    with (
        open_app() as client,
        memory_for(client, redis, 1.5),
        ThreadPoolExecutor(4) as pool,
    ):
        sent = lambda _: client.post("/evaluations", json=BIG, headers=headers)  # noqa: E731
        answers = list(pool.map(sent, range(4)))
        assert {one.status_code for one in answers} == {202}
        assert len({one.json()["id"] for one in answers}) == 1


def test_what_is_still_taken_shrinks_with_every_image(
    open_app: Callable[[], TestClient], redis: Redis, finish: Callable[..., FinishedResult]
):
    with open_app() as client, worker(redis, finish, most=2):
        taken = client.post("/evaluations/estimate", json=ASKED).json()["redis_bytes"]
        path = start(client)
        follow(client, path, done=3)  # one of them is no picture
        assert client.get("/capacity").json()["memory_reserved_bytes"] == taken // 2


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"dataset": "nobody"}, "dataset"),
        ({"dataset": "../bones"}, "dataset"),
        ({"split": "train"}, "split"),
        ({"images": 10_001}, "images"),
        ({"images": 0}, "images"),
        ({"radius": [-1]}, "radius"),
        ({"sigma": ["much"]}, "sigma"),
        ({"prompting": ["few-shot"]}, "prompt"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_by_its_field(
    open_app: Callable[[], TestClient], changes: dict[str, object], field: str
):
    with open_app() as client:
        answer = client.post("/evaluations", json={**ASKED, **changes})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].startswith(field)


def test_a_scope_starts_one_and_nobody_else_sees_it(
    settings: AppSettings, keys_file: Path, make_key: MakeKey, decoder: Decoder
):
    _, plain = make_key("submit", "read")
    _, own = make_key("read", "evaluate")
    guarded = settings.model_copy(update={"keys_file": keys_file})
    with TestClient(create_app(guarded, decoder=decoder)) as client:
        assert client.post("/evaluations", json=ASKED, headers=plain).status_code == 403
        answer = client.post("/evaluations", json=ASKED, headers=own)
        path = answer.headers["Location"]
        assert client.get(path, headers=plain).json()["code"] == "evaluation_unknown"
        assert client.get("/evaluations", headers=plain).json()["evaluations"] == []
        assert client.get("/datasets", headers=plain).json() == {
            "datasets": [{"name": "bones", "splits": ["test"]}]
        }


def test_one_whose_key_may_not_ask_now_lets_others_go_first(
    settings: AppSettings,
    keys_file: Path,
    make_key: MakeKey,
    decoder: Decoder,
    redis: Redis,
    finish: Callable[..., FinishedResult],
):
    _, bounded = make_key("read", "evaluate", quotas=Quotas(samples_per_day=64))
    _, free = make_key("read", "evaluate")
    changes = {"keys_file": keys_file, "evaluations_at_a_time": 1}
    app = create_app(settings.model_copy(update=changes), decoder=decoder)
    with TestClient(app, headers=bounded) as client, worker(redis, finish):
        first = start(client)
        follow(client, first, done=1)
        client.headers.update(free)
        assert follow(client, start(client))["status"] == "finished"
        client.headers.update(bounded)
        assert client.get(first).json()["status"] == "running"


def test_a_key_that_is_revoked_certifies_nothing_more(
    settings: AppSettings, keys_file: Path, make_key: MakeKey, decoder: Decoder, redis: Redis
):
    key, own = make_key("read", "evaluate")
    _, admin = make_key("admin")
    log = keys_file.with_name("audit")
    guarded = settings.model_copy(update={"keys_file": keys_file, "audit_log": log})
    with TestClient(create_app(guarded, decoder=decoder), headers=own) as client:
        path = start(client)
        wait_until(lambda: count_waiting(redis) == 5)
        with change_keys(keys_file) as keys:
            keys[keys.index(key)] = key.model_copy(update={"revoked_at": datetime.now(UTC)})
        client.headers.update(admin)
        assert follow(client, path)["failure"]["code"] == "key_revoked"
        wait_until(lambda: count_waiting(redis) == 0)
    lines = [json.loads(one) for file in log.iterdir() for one in file.read_text().splitlines()]
    accepted = [one for one in lines if one.get("action") == "certify.accepted"]
    said = {(one["key_id"], one["evaluation_id"]) for one in accepted}
    assert said == {(key.id, path.rpartition("/")[2])}


def test_nobody_is_shown_an_evaluation_whose_key_is_lost(
    settings: AppSettings, keys_file: Path, make_key: MakeKey, decoder: Decoder, redis: Redis
):
    _, own = make_key("read", "evaluate")
    guarded = settings.model_copy(update={"keys_file": keys_file})
    with TestClient(create_app(guarded, decoder=decoder), headers=own) as client:
        path = start(client)
        client.delete(path)
    redis.flushdb()
    with TestClient(create_app(settings, decoder=decoder)) as client:
        assert client.get(path).json()["code"] == "keys_required"


def test_without_a_folder_there_are_no_evaluations(client: TestClient, settings: AppSettings):
    apart = settings.model_copy(update={"evaluations": None})
    with TestClient(create_app(apart)) as client:
        assert client.post("/evaluations", json=ASKED).json()["code"] == "evaluations_off"
