"""The audit log: what is in it, what is never in it, and what shows when somebody changes it."""

import errno
import fcntl
import hashlib
import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from redis import Redis
from typer.testing import CliRunner, Result
from waiting import wait_until

from app.cli.__main__ import cli
from app.main import create_app
from app.server.access.api_keys import ApiKey
from app.server.audit_log.check import Broken, Whole, check_files
from app.server.audit_log.outcomes import write_outcomes
from app.server.audit_log.strangers import StrangersLimit
from app.settings import AppSettings
from models.files.audit_log import AuditLog, AuditLogUnavailable, Head, list_files
from models.imaging import Decoder
from worker.contract import QUEUE_NAME, Failure
from worker.contract.certificate.document import CancelledResult, FailedResult, FinishedResult
from worker.jobs.queue import create_queue
from worker.store import keyspace
from worker.store.jobs import records, results

Finish = Callable[..., FinishedResult]
MakeKey = Callable[..., tuple[ApiKey, dict[str, str]]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "audit"


def _write(folder: Path, count: int, *, max_bytes: int = 10**6) -> AuditLog:
    log = AuditLog(folder, max_bytes=max_bytes)
    for number in range(count):
        log.record("test", number=number)
    return log


def _lines(folder: Path) -> list[bytes]:
    return b"".join(path.read_bytes() for path in list_files(folder)).splitlines(keepends=True)


def _entries(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in _lines(folder)]


def _verify(folder: Path, *options: str, expected: int = 0) -> Result:
    result = CliRunner().invoke(cli, ["audit-log", "verify", str(folder), *options])
    assert result.exit_code == expected, result.output
    return result


def test_entries_are_a_chain(folder: Path) -> None:
    _write(folder, 5)
    found = check_files(list_files(folder))
    assert isinstance(found, Whole)
    assert (found.first, found.head.seq) == (1, 5)
    assert "whole: 5 entries" in _verify(folder).output
    assert [entry["number"] for entry in _entries(folder)] == list(range(5))


def _alter(lines: list[bytes]) -> list[bytes]:
    lines[2] = lines[2].replace(b'"number":2', b'"number":7')
    return lines


def _respell(lines: list[bytes]) -> list[bytes]:
    lines[2] = lines[2].replace(b',"at"', b', "at"')
    return lines


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (_alter, 4),
        (_respell, 4),
        (lambda lines: lines[:2] + lines[3:], 3),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], 2),
        (lambda lines: [*lines[:3], lines[2], *lines[3:]], 4),
        (lambda lines: [*lines[:3], b"{}\n", *lines[3:]], 4),
        (lambda lines: [*lines[:3], b"\n", *lines[3:]], 4),
        (lambda lines: [*lines[:3], b"[" * 60_000 + b"\n", *lines[3:]], 4),
        (lambda lines: [*lines[:-1], lines[-1][:-5]], 5),
    ],
)
def test_any_change_within_shows_at_its_line(
    folder: Path, change: Callable[[list[bytes]], list[bytes]], line: int
) -> None:
    _write(folder, 5)
    (path,) = list_files(folder)
    path.write_bytes(b"".join(change(_lines(folder))))
    found = check_files([path])
    assert isinstance(found, Broken)
    assert found.line == line
    assert f"line {line}" in _verify(folder, expected=1).output


def test_threads_that_record_together_share_a_write_and_each_has_its_own_entry(
    folder: Path,
) -> None:
    log, heads = AuditLog(folder, max_bytes=900), list[Head]()
    log.on_head = heads.append
    written = list[Head]()

    def record_together() -> bool:
        """Whether threads that waited for the folder's lock were written at once."""
        heads.clear()
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            threads = [
                threading.Thread(target=lambda n=n: written.append(log.record("test", number=n)))
                for n in range(8)
            ]
            for thread in threads:
                thread.start()
        for thread in threads:
            thread.join()
        return len(heads) < len(threads)

    log.record("first")
    wait_until(record_together)
    assert isinstance(check_files(list_files(folder)), Whole)
    lines = {
        entry["seq"]: line for entry, line in zip(_entries(folder), _lines(folder), strict=True)
    }
    assert len({head.seq for head in written}) == len(written) == len(lines) - 1
    for head in written:
        assert head.sha256 == hashlib.sha256(lines[head.seq].rstrip(b"\n")).hexdigest()
    assert len(list_files(folder)) > 1
    assert all(path.stat().st_size <= 900 for path in list_files(folder))


def test_an_entry_that_is_too_long_fails_alone(folder: Path) -> None:
    log = _write(folder, 1)
    with pytest.raises(ValueError, match="at most"):
        log.record("test", text="x" * 70_000)
    with pytest.raises(TypeError):
        log.record("test", text=object())
    assert log.record("test").seq == 2


def test_a_cut_at_the_end_shows_against_a_head(folder: Path) -> None:
    _write(folder, 5)
    head = CliRunner().invoke(cli, ["audit-log", "head", str(folder)]).output.strip()
    _verify(folder, "--expect-head", head)
    (path,) = list_files(folder)
    lines = _lines(folder)
    path.write_bytes(b"".join(lines[:4]))
    _verify(folder)  # by itself it is whole
    assert "cut off" in _verify(folder, "--expect-head", head, expected=1).output
    _write(folder, 1)  # and written on: the entry of that number is another one
    assert "was rewritten" in _verify(folder, "--expect-head", head, expected=1).output
    path.write_bytes(b"".join(lines))
    _write(folder, 2)
    _verify(folder, "--expect-head", head)
    _verify(folder, "--expect-head", "nonsense", expected=2)


def test_a_half_written_line_is_taken_away_and_told(folder: Path) -> None:
    log = _write(folder, 2)
    (path,) = list_files(folder)
    with path.open("ab") as file:
        file.write(b'{"seq":3,"previous":"ab')
    for writer in (log, AuditLog(folder, max_bytes=10**6)):  # the one that wrote, or a later one
        writer.record("test", number=9)
    *_, recovered, _, _ = entries = _entries(folder)
    assert (recovered["action"], recovered["cut_bytes"]) == ("audit-log.recovered", 23)
    assert [entry["seq"] for entry in entries] == [1, 2, 3, 4, 5]
    _verify(folder)


@pytest.mark.parametrize("left", [0, 10])
def test_a_crash_with_the_first_line_of_a_file_is_recovered(folder: Path, left: int) -> None:
    _write(folder, 3, max_bytes=400)
    last = list_files(folder)[-1]
    os.truncate(last, left)
    _write(folder, 1)
    _verify(folder)


def test_a_full_file_is_followed_by_another_and_the_chain_goes_on(folder: Path) -> None:
    _write(folder, 20, max_bytes=700)
    files = list_files(folder)
    assert len(files) > 4
    assert all(path.stat().st_size <= 700 for path in files)
    assert _verify(folder).output.startswith("whole: 20 entries")
    assert "from entry" in _verify(files[2]).output
    files[2].unlink()
    assert "expected entry" in _verify(folder, expected=1).output


def _write_some(folder: Path) -> None:
    _write(folder, 25, max_bytes=3000)


def test_several_processes_write_one_chain(folder: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_some, args=(folder,)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 4
    assert "whole: 100 entries" in _verify(folder).output


@pytest.mark.parametrize("line", [b"a remark\n", b"[" * 60_000 + b"\n"])
def test_a_file_that_somebody_else_wrote_to_is_not_gone_on_with(folder: Path, line: bytes) -> None:
    log = _write(folder, 2)
    (path,) = list_files(folder)
    with path.open("ab") as file:
        file.write(line)
    with pytest.raises(AuditLogUnavailable):
        log.record("test")


@pytest.fixture
def full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes the disk full: the kernel writes half a line and has no room for the rest."""
    write = os.write

    def write_half(descriptor: int, data: bytes) -> int:
        if write(descriptor, data[: len(data) // 2]):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return 0

    return lambda: monkeypatch.setattr(os, "write", write_half)


def test_a_full_disk_leaves_the_log_whole(folder: Path, full_disk: Callable[[], None]) -> None:
    log = _write(folder, 2)
    before = _lines(folder)
    full_disk()
    with pytest.raises(AuditLogUnavailable):
        log.record("test")
    assert _lines(folder) == before


@pytest.fixture
def audited(settings: AppSettings, keys_file: Path, folder: Path, make_key: MakeKey) -> AppSettings:
    make_key("read")
    return settings.model_copy(update={"keys_file": keys_file, "audit_log": folder})


@pytest.fixture
def service(audited: AppSettings, redis: Redis, decoder: Decoder) -> Iterator[TestClient]:
    with TestClient(create_app(audited, decoder=decoder), raise_server_exceptions=False) as client:
        yield client


def test_an_accepted_certification_is_an_entry_before_it_is_queued(
    service: TestClient, make_key: MakeKey, folder: Path, png: bytes
) -> None:
    key, headers = make_key("submit", "read")
    data = {"sigma": ["0.5", "0.25"], "class_name": ["DOE^JANE", "other"], "attempt": "2"}
    files = [("image", ("DOE^JANE.png", png, "image/png"))]
    answer = service.post("/certify", files=files, data=data, headers=headers)
    accepted, ended = _entries(folder)
    assert (accepted["action"], accepted["key_id"]) == ("certify.accepted", key.id)
    assert accepted["request_id"] == ended["request_id"] == answer.headers["x-request-id"]
    (job,) = accepted["jobs"]
    assert job["certification_id"] == answer.json()["id"]
    assert job["image_sha256"] == answer.json()["input"]["sha256"]
    assert (accepted["sigmas"], accepted["attempt"]) == (["0.25", "0.5"], 2)
    assert (ended["route"], ended["status"], ended["outcome"]) == ("/certify", 202, "done")
    text = b"".join(_lines(folder))
    assert b"DOE" not in text
    assert headers["Authorization"].removeprefix("Bearer ").encode()[13:] not in text
    _verify(folder)


def _send(service: TestClient, headers: dict[str, str], png: bytes, attempt: int) -> str:
    data = {"sigma": ["0.25", "0.5"], "attempt": str(attempt)}
    answer = service.post("/certify", files={"image": png}, data=data, headers=headers)
    certification_id: str = answer.json()["id"]
    return certification_id


def _ended(folder: Path) -> list[dict[str, object]]:
    return [entry for entry in _entries(folder) if entry["action"] == "certify.ended"]


def test_what_became_of_a_certification_is_an_entry_once(
    service: TestClient, make_key: MakeKey, folder: Path, png: bytes, redis: Redis, finish: Finish
) -> None:
    """Numbers alone, and the signature that leads to the document a lab keeps."""
    key, headers = make_key("submit", "read")
    sure, unsure, failed, waiting = (_send(service, headers, png, n) for n in range(4))
    for each, certain in ((sure, True), (unsure, False)):
        job = records.find_job(redis, each)
        assert job is not None
        results.put_result(redis, each, finish(job, certain=certain), ttl_s=600)
    reason = Failure(code="image_expired", detail="Gone.")
    results.put_result(redis, failed, FailedResult(failure=reason), ttl_s=600)
    for _ in range(2):  # beside the writer of the app, which may be at the same outcomes
        write_outcomes(AuditLog(folder, max_bytes=10**6), redis)
    wait_until(lambda: redis.zcard(keyspace.audit_awaited(QUEUE_NAME)) == 1)
    found = {entry["certification_id"]: entry for entry in _ended(folder)}
    assert len(_ended(folder)) == len(found) == 3
    assert waiting not in found
    assert {entry["key_id"] for entry in found.values()} == {key.id}
    result = results.find_result(redis, sure)
    assert isinstance(result, FinishedResult)
    assert found[sure]["certificates"] == [
        {
            "sigma": str(one.sigma),
            "prompting": "template",
            "outcome": "certified",
            "class_index": 0,
            "radius": str(one.radius),
        }
        for one in result.certificates
        if one.outcome == "certified"
    ]
    assert {one["outcome"] for one in found[unsure]["certificates"]} == {"abstained"}
    assert (found[failed]["status"], found[failed]["code"]) == ("failed", "image_expired")
    _verify(folder)


def test_two_writers_of_outcomes_write_each_once(
    service: TestClient, make_key: MakeKey, folder: Path, png: bytes, redis: Redis
) -> None:
    """As where one app stands still for so long that another takes over."""
    _, headers = make_key("submit")
    redis.set(keyspace.AUDIT_WRITER, "an app of nobody")  # neither is the service's own
    for attempt in range(12):
        sent = _send(service, headers, png, attempt)
        results.put_result(redis, sent, CancelledResult(), ttl_s=600)
    log = AuditLog(folder, max_bytes=10**6)
    writers = [threading.Thread(target=write_outcomes, args=(log, redis)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    ids = [entry["certification_id"] for entry in _ended(folder)]
    assert len(ids) == len(set(ids)) == 12


def test_an_outcome_from_while_the_app_was_away_is_an_entry_soon_after(
    audited: AppSettings,
    make_key: MakeKey,
    folder: Path,
    png: bytes,
    redis: Redis,
    decoder: Decoder,
) -> None:
    _, headers = make_key("submit")
    with TestClient(create_app(audited, decoder=decoder)) as service:
        sent = _send(service, headers, png, 0)
    results.put_result(redis, sent, CancelledResult(), ttl_s=600)
    redis.delete(keyspace.AUDIT_WRITER)  # as it is some seconds after an app has ended
    with TestClient(create_app(audited, decoder=decoder)):
        wait_until(lambda: _ended(folder))
    (ended,) = _ended(folder)
    assert (ended["certification_id"], ended["status"]) == (sent, "cancelled")


def test_an_outcome_that_cannot_be_written_waits(
    service: TestClient,
    make_key: MakeKey,
    folder: Path,
    png: bytes,
    redis: Redis,
    full_disk: Callable[[], None],
) -> None:
    _, headers = make_key("submit")
    sent = _send(service, headers, png, 0)
    results.put_result(redis, sent, CancelledResult(), ttl_s=600)
    log = AuditLog(folder, max_bytes=10**6)
    full_disk()
    write_outcomes(log, redis)
    assert redis.zcard(keyspace.audit_awaited(QUEUE_NAME)) == 1


def test_what_changes_something_or_was_refused_is_an_entry(
    service: TestClient, make_key: MakeKey, folder: Path
) -> None:
    _, headers = make_key("submit", "read")
    unknown = f"/certifications/{'0' * 32}"
    service.delete(unknown, headers=headers)
    service.delete("/prompts/DOE^JANE", headers=headers)
    service.get(unknown)
    service.get("/DOE^JANE", headers={"X-API-Key": "wrong"})
    service.get("/models", headers=make_key("submit")[1])
    service.get("/models", headers=headers)
    told = [(e["action"], e.get("route"), e.get("outcome")) for e in _entries(folder)]
    assert told == [
        ("delete.asked", "/certifications/{certification_id}", None),
        ("request", "/certifications/{certification_id}", "certification_unknown"),
        ("delete.asked", "/prompts/{prompt_id}", None),
        ("request", "/prompts/{prompt_id}", "prompt_not_found"),
        ("request", "/certifications/{certification_id}", "key_missing"),
        ("request", None, "key_invalid"),
        ("request", "/models", "scope_missing"),
    ]
    assert _entries(folder)[0]["certification_id"] == "0" * 32
    assert b"DOE" not in b"".join(_lines(folder))


def test_looks_are_entries_where_the_settings_say_so(
    audited: AppSettings, make_key: MakeKey, folder: Path, decoder: Decoder
) -> None:
    _, headers = make_key("read")
    reads = audited.model_copy(update={"audit_log_reads": True})
    with TestClient(create_app(reads, decoder=decoder)) as client:
        client.get("/models", headers=headers)
        client.get("/healthz", headers=headers)
    (entry,) = _entries(folder)
    assert (entry["method"], entry["route"], entry["status"]) == ("GET", "/models", 200)


def test_strangers_do_not_fill_the_disk(service: TestClient, folder: Path) -> None:
    for _ in range(200):
        service.get("/models")
    assert 60 <= len(_entries(folder)) < 200  # 60 of each minute


def test_strangers_beyond_a_minute_s_limit_are_counted() -> None:
    seconds = 3600.0
    limit = StrangersLimit(lambda: seconds)
    assert [limit.count() for _ in range(100)] == [0] * 60 + [None] * 40
    seconds += 60
    assert [limit.count() for _ in range(2)] == [40, 0]


def test_nothing_is_accepted_that_cannot_be_written_down(
    service: TestClient,
    make_key: MakeKey,
    folder: Path,
    png: bytes,
    redis: Redis,
    full_disk: Callable[[], None],
) -> None:
    _, headers = make_key("submit", "read")
    data = {"sigma": "0.25"}
    sent = service.post("/certify", files={"image": png}, data=data, headers=headers).json()
    before, stored = _lines(folder), create_queue(redis).job_ids
    full_disk()
    refused = service.post("/certify", files={"image": png}, data=data, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (503, "audit_log_unavailable")
    address = f"/certifications/{sent['id']}"
    assert service.delete(address, headers=headers).json()["code"] == "audit_log_unavailable"
    assert service.get(address, headers=headers).json()["status"] == "queued"
    assert (_lines(folder), create_queue(redis).job_ids) == (before, stored)


def test_where_the_settings_say_so_it_goes_on_without(
    audited: AppSettings,
    make_key: MakeKey,
    png: bytes,
    full_disk: Callable[[], None],
    decoder: Decoder,
) -> None:
    _, headers = make_key("submit")
    settings = audited.model_copy(update={"audit_log_on_failure": "continue"})
    full_disk()
    with TestClient(create_app(settings, decoder=decoder)) as client:
        answer = client.post(
            "/certify", files={"image": png}, data={"sigma": "0.25"}, headers=headers
        )
    assert answer.status_code == 202


def test_a_log_is_whole_while_it_is_written(
    folder: Path, redis: Redis, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head noted last may be of an entry that came after the file was read."""
    monkeypatch.setenv("REDIS_URL", valkey_url)
    log, ending = AuditLog(folder, max_bytes=10**5), threading.Event()
    log.on_head = lambda head: redis.set(keyspace.audit_head(head.chain), str(head))

    def write() -> None:
        while not ending.is_set():
            log.record("request", text="x" * 200)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_until(lambda: len(list_files(folder)) > 1)
        for _ in range(8):
            assert "whole" in _verify(folder, "--anchor").output
    finally:
        ending.set()
        writer.join()
    last = list_files(folder)[-1]
    last.write_bytes(b"".join(last.read_bytes().splitlines(keepends=True)[:-1]))
    assert "cut off" in _verify(folder, "--anchor", expected=1).output


def test_the_head_in_redis_shows_a_cut(
    service: TestClient,
    make_key: MakeKey,
    folder: Path,
    valkey_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDIS_URL", valkey_url)
    for _ in range(3):
        service.delete(f"/certifications/{'0' * 32}", headers=make_key("submit")[1])
    _verify(folder, "--anchor")
    (path,) = list_files(folder)
    path.write_bytes(b"".join(_lines(folder)[:-1]))
    assert "cut off" in _verify(folder, "--anchor", expected=1).output
