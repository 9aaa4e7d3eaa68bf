"""The end of a certification is told: signed, again until it is heard, and nothing of the image."""

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from redis import Redis
from standardwebhooks import Webhook, WebhookVerificationError
from waiting import HANG_S, wait_until

from app.main import create_app
from app.server.access.operator_file import now_utc
from app.server.jobs.webhooks.delivery import PAUSES_S
from app.server.jobs.webhooks.key_webhooks import (
    WebhookBook,
    WebhooksFileUnusable,
    change_webhooks,
    load_webhooks,
)
from app.settings import AppSettings
from models.files.audit_log import AuditLog
from models.imaging import Decoder
from worker.contract import Failure
from worker.contract.certificate.document import FailedResult
from worker.jobs.cancel import cancel
from worker.jobs.purge import purge
from worker.store import keyspace
from worker.store.counters import get_counters
from worker.store.jobs import callbacks, records, results
from worker.store.jobs.callbacks import Callback

from .conftest import Receiver, is_settled, read_entries

Give = Callable[..., str]
Post = Callable[..., Response]
FAILED = FailedResult(failure=Failure(code="image_expired", detail="The image has expired."))


def note_and_end(redis: Redis, url: str, *, owner: str = "anonymous") -> str:
    """A job that was accepted with a webhook and has failed."""
    job_id = uuid4().hex
    target = url.split("/hooks")[0]
    callback = Callback(job_id=job_id, owner=owner, url=url, target=target)
    callbacks.note_callback(redis, callback, ttl_s=60)
    assert results.put_result(redis, job_id, FAILED, ttl_s=60)
    return job_id


# --- What is told ---


def test_the_end_is_told_once_with_ids_and_status_alone(
    post: Post, redis: Redis, receiver: Receiver, give_secret: Give, finish
) -> None:
    secret = give_secret()
    sent = post(callback_url=f"{receiver.origin}/hooks?from=ps").json()
    job = records.find_job(redis, sent["id"])
    assert job is not None
    results.put_result(redis, job.id, finish(job), ttl_s=60)
    wait_until(lambda: is_settled(redis))
    (message,) = receiver.read(secret)
    assert message["data"] == {"id": job.id, "status": "finished"}
    assert message["type"] == "certification.finished"
    assert datetime.fromisoformat(message["timestamp"]).tzinfo is not None
    ((headers, _),) = receiver.came
    assert headers["webhook-id"] == f"msg_{job.id}"
    assert get_counters(redis)["webhook:delivered"] == 1


@pytest.mark.parametrize("form", ["multipart", "json", "file"])
def test_each_form_of_a_request_names_an_address(
    client: TestClient, png: bytes, redis: Redis, receiver: Receiver, give_secret: Give, form: str
) -> None:
    give_secret()
    fields = {"sigma": "0.25", "callback_url": receiver.origin}
    if form == "multipart":
        answer = client.post("/certify", files={"image": png}, data=fields)
    elif form == "json":
        document = {**fields, "sigma": [0.25], "image": [base64.b64encode(png).decode()]}
        answer = client.post("/certify/json", json=document)
    else:
        kind = {"content-type": "image/png"}
        answer = client.post("/certify/file", content=png, params=fields, headers=kind)
    assert answer.status_code == 202
    assert redis.hget(keyspace.callback(answer.json()["id"]), "url") == receiver.origin.encode()


def test_each_image_of_a_batch_is_told_with_its_batch(
    post: Post, png: bytes, redis: Redis, receiver: Receiver, give_secret: Give, finish
) -> None:
    secret = give_secret()
    batch = post(png, png, callback_url=receiver.origin).json()
    first, second = (records.find_job(redis, one["id"]) for one in batch["certifications"])
    results.put_result(redis, first.id, finish(first), ttl_s=60)
    assert cancel(redis, second.id, ttl_s=60)
    wait_until(lambda: is_settled(redis))
    told = {one["data"]["id"]: one["data"] for one in receiver.read(secret)}
    assert told == {
        first.id: {"id": first.id, "batch_id": batch["id"], "status": "finished"},
        second.id: {"id": second.id, "batch_id": batch["id"], "status": "cancelled"},
    }


def test_what_was_purged_meanwhile_is_told_too(
    post: Post, redis: Redis, receiver: Receiver, give_secret: Give, client: TestClient
) -> None:
    secret = give_secret()
    receiver.statuses = [503]
    sent = post(callback_url=receiver.origin).json()
    job = records.find_job(redis, sent["id"])
    client.delete(sent["links"]["self"])
    wait_until(lambda: receiver.came)
    purge(redis, job, ttl_s=60)
    wait_until(lambda: is_settled(redis))
    assert [one["data"]["status"] for one in receiver.read(secret)] == ["cancelled"] * 2


def test_a_request_without_an_address_is_told_nowhere(post: Post, redis: Redis) -> None:
    sent = post().json()
    results.put_result(redis, sent["id"], FAILED, ttl_s=60)
    assert is_settled(redis)
    assert callbacks.list_targets(redis) == ()


# --- Who may have one ---


def test_an_address_needs_an_operator_who_allows_it_and_a_secret(
    post: Post, receiver: Receiver, give_secret: Give, queued_ids
) -> None:
    refused = post(callback_url=receiver.origin)
    assert "promptsmooth webhooks set" in refused.json()["detail"]
    give_secret()
    for url in ("https://evil.example/", f"http://localhost:{receiver.server_port}/", "nonsense"):
        refused = post(callback_url=url)
        assert (refused.status_code, refused.json()["code"]) == (422, "request_invalid")
        assert refused.json()["errors"][0]["field"] == "callback_url"
        assert "evil" not in refused.text
    assert queued_ids() == []


def test_without_receivers_webhooks_are_off(
    settings: AppSettings, redis: Redis, png: bytes, decoder: Decoder
) -> None:
    with TestClient(create_app(settings, decoder=decoder)) as client:
        data = {"sigma": "0.25", "callback_url": "https://ris.example/"}
        refused = client.post("/certify", files={"image": png}, data=data)
    assert "allows none" in refused.json()["detail"]


def test_a_key_has_a_default_and_a_secret_of_its_own(
    telling: AppSettings,
    redis: Redis,
    receiver: Receiver,
    give_secret: Give,
    make_key,
    png,
    keys_file,
    decoder: Decoder,
) -> None:
    (one, its_headers), (other, other_headers) = make_key("submit"), make_key("submit")
    secret = give_secret(one.id, url=f"{receiver.origin}/default")
    with TestClient(
        create_app(telling.model_copy(update={"keys_file": keys_file}), decoder=decoder)
    ) as client:
        for headers in (its_headers, other_headers):
            sent = client.post(
                "/certify", files={"image": png}, data={"sigma": "0.25"}, headers=headers
            )
            results.put_result(redis, sent.json()["id"], FAILED, ttl_s=60)
        wait_until(lambda: is_settled(redis))
    (message,) = receiver.read(secret)
    assert message["data"]["status"] == "failed"
    assert other.id != one.id


# --- Again, until it is heard ---


def test_pauses_between_attempts_make_a_day() -> None:
    assert 23 * 3600 < sum(PAUSES_S) < 24 * 3600
    assert sorted(PAUSES_S) == list(PAUSES_S)


def test_a_receiver_that_is_away_is_told_later_under_the_same_id(
    redis: Redis, receiver: Receiver, give_secret: Give, deliver
) -> None:
    secret = give_secret()
    receiver.statuses = [500, 429, 302]
    job_id = note_and_end(redis, f"{receiver.origin}/hooks")
    deliver(lambda: is_settled(redis))
    assert len(receiver.read(secret)) == 4
    assert {headers["webhook-id"] for headers, _ in receiver.came} == {f"msg_{job_id}"}
    assert len({body for _, body in receiver.came}) == 1
    counted = get_counters(redis)
    assert (counted["webhook:failed"], counted["webhook:delivered"]) == (3, 1)


@pytest.mark.parametrize(("statuses", "attempts"), [([500] * 9, 4), ([410], 1)])
def test_a_webhook_that_is_never_taken_or_not_wanted_is_given_up_with_an_entry(
    redis: Redis, receiver: Receiver, give_secret: Give, deliver, tmp_path, statuses, attempts
) -> None:
    give_secret()
    receiver.statuses = statuses
    log = AuditLog(tmp_path / "audit", max_bytes=10**6)
    job_id = note_and_end(redis, f"{receiver.origin}/hooks?token=secret")
    deliver(lambda: is_settled(redis), log=log)
    assert len(receiver.came) == attempts
    assert get_counters(redis)["webhook:given_up"] == 1
    (entry,) = read_entries(tmp_path / "audit", "webhook.given_up")
    assert (entry["certification_id"], entry["key_id"]) == (job_id, "anonymous")
    assert (entry["target"], entry["attempts"]) == (receiver.origin, attempts)
    assert "token" not in json.dumps(entry)


def test_a_delivery_is_in_the_audit_log_and_in_the_metrics(
    telling: AppSettings,
    redis: Redis,
    receiver: Receiver,
    give_secret: Give,
    tmp_path,
    decoder: Decoder,
) -> None:
    give_secret()
    receiver.statuses = [503]
    logged = telling.model_copy(update={"audit_log": tmp_path / "audit"})
    with TestClient(create_app(logged, decoder=decoder)) as client:
        job_id = note_and_end(redis, f"{receiver.origin}/hooks")
        failed = 'webhooks_total{outcome="failed"} 1.0'
        seen = wait_until(lambda: failed in (text := client.get("/metrics").text) and text)
        assert "promptsmooth_webhooks_waiting 1.0" in seen
        wait_until(lambda: is_settled(redis))
        assert 'webhooks_total{outcome="delivered"} 1.0' in client.get("/metrics").text
    (entry,) = read_entries(tmp_path / "audit", "webhook.delivered")
    assert (entry["certification_id"], entry["status"], entry["attempts"]) == (job_id, 204, 2)


def test_a_target_that_does_not_answer_delays_no_other(
    redis: Redis, receiver: Receiver, give_secret: Give, deliver, telling, free_port
) -> None:
    secret = give_secret()
    away = f"http://127.0.0.1:{free_port}"
    for _ in range(20):
        note_and_end(redis, f"{away}/hooks")
    job_id = note_and_end(redis, f"{receiver.origin}/hooks")
    both = telling.model_copy(update={"webhook_receivers": (receiver.origin, away)})
    deliver(lambda: receiver.came, pauses_s=(3600.0,), settings=both)
    assert [one["data"]["id"] for one in receiver.read(secret)] == [job_id]
    assert callbacks.count_due(redis) >= 20


def test_an_address_that_is_allowed_no_more_is_not_called(
    redis: Redis, receiver: Receiver, give_secret: Give, deliver, telling
) -> None:
    give_secret()
    note_and_end(redis, f"{receiver.origin}/hooks")
    changed = telling.model_copy(update={"webhook_receivers": ("https://other.example",)})
    deliver(lambda: is_settled(redis), settings=changed)
    assert receiver.came == []
    assert get_counters(redis)["webhook:given_up"] == 1


def test_a_webhook_that_another_process_is_delivering_is_left_to_it_for_a_while(
    redis: Redis,
) -> None:
    job_id, target, now = (
        note_and_end(redis, "http://a.example/hooks"),
        "http://a.example",
        time.time(),
    )

    def claim(at: float) -> list[str]:
        found = callbacks.claim_due(redis, target, now=at, lease_s=60, most=10)
        return [one.job_id for one in found]

    assert claim(now + 1) == [job_id]
    assert claim(now + 2) == []
    assert claim(now + 62) == [job_id]  # the first one ended in between


# --- Secrets ---


def test_both_secrets_sign_until_the_overlap_ends(
    redis: Redis, receiver: Receiver, give_secret: Give, deliver, webhooks_file: Path
) -> None:
    old = give_secret()
    with change_webhooks(webhooks_file) as found:
        own = found["anonymous"].rotate(now_utc(), overlap=timedelta(hours=1))
        found["anonymous"] = own
    new = own.secrets[0].secret
    note_and_end(redis, f"{receiver.origin}/hooks")
    deliver(lambda: is_settled(redis))
    assert receiver.read(old) == receiver.read(new) != []
    later = now_utc() + timedelta(hours=2)
    assert own.list_secrets(later) == (new,)
    at_once = own.rotate(now_utc(), overlap=timedelta(0))
    assert not {old, new} & set(at_once.list_secrets(now_utc()))


def test_another_secret_does_not_verify(
    redis: Redis, receiver: Receiver, give_secret: Give, deliver
) -> None:
    give_secret()
    note_and_end(redis, f"{receiver.origin}/hooks")
    deliver(lambda: is_settled(redis))
    ((headers, body),) = receiver.came
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + base64.b64encode(bytes(32)).decode()).verify(body, headers)


def test_a_change_of_the_file_counts_at_once_and_a_broken_file_changes_nothing(
    give_secret: Give, webhooks_file: Path
) -> None:
    book = WebhookBook(webhooks_file)
    assert book.find("anonymous") is None
    secret = give_secret()
    assert book.find("anonymous").list_secrets(now_utc()) == (secret,)
    assert webhooks_file.stat().st_mode & 0o777 == 0o640
    webhooks_file.write_text("[[webhooks]]\nkey_id = 'anonymous'\nsecrets = []")
    with pytest.raises(WebhooksFileUnusable) as refused:
        load_webhooks(webhooks_file)
    assert secret not in str(refused.value)
    assert book.find("anonymous").list_secrets(now_utc()) == (secret,)


def test_files_that_cannot_be_used_are_said_in_a_sentence_before_the_app_serves(
    webhooks_file: Path, tmp_path: Path
) -> None:
    webhooks_file.write_text("not = [toml")
    (tmp_path / "ca.pem").write_text("no certificate")
    for name, path in (("WEBHOOKS_FILE", webhooks_file), ("WEBHOOK_CA", tmp_path / "ca.pem")):
        done = subprocess.run(
            [sys.executable, "-m", "app", "--port", "1"],
            env={**os.environ, f"PROMPTSMOOTH_{name}": str(path)},
            capture_output=True,
            text=True,
            timeout=HANG_S,
            check=False,
        )
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert str(path) in done.stderr


# --- A test delivery ---


def test_a_test_delivery_says_what_came_of_it(
    client: TestClient, receiver: Receiver, give_secret: Give
) -> None:
    secret = give_secret(url=f"{receiver.origin}/default")
    done = client.post("/webhooks/test").json()
    assert (done["delivered"], done["status"], done["detail"]) == (True, 204, "")
    (message,) = receiver.read(secret)
    assert (message["type"], message["data"]) == ("webhook.test", {})
    ((headers, _),) = receiver.came
    assert headers["webhook-id"] == done["message_id"]
    receiver.statuses = [500]
    failed = client.post("/webhooks/test", json={"callback_url": receiver.origin}).json()
    assert (failed["delivered"], failed["status"]) == (False, 500)
    assert failed["detail"] == "the receiver answered 500"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[]", "json_unreadable"),
        (b"{", "json_unreadable"),
        (b'{"url": "x"}', "field_unknown"),
        (b'{"callback_url": 1}', "request_invalid"),
        (b'{"callback_url": "https://evil.example/"}', "request_invalid"),
        (b"", "request_invalid"),  # the key has no default
        (b" " * 20_000, "body_too_large"),
    ],
)
def test_a_test_delivery_that_cannot_be_is_refused(
    client: TestClient, give_secret: Give, receiver: Receiver, body: bytes, code: str
) -> None:
    give_secret()
    answer = client.post("/webhooks/test", content=body)
    assert answer.json()["code"] == code
    assert receiver.came == []


def test_a_receiver_is_called_by_the_name_that_its_address_has(
    redis: Redis, receiver: Receiver, give_secret: Give, deliver
) -> None:
    give_secret()
    note_and_end(redis, f"{receiver.origin}/hooks")
    deliver(lambda: is_settled(redis))
    ((headers, _),) = receiver.came
    assert f"http://{headers['Host']}" == receiver.origin


# --- Damaged records ---


@pytest.mark.parametrize(
    "damage",
    [
        lambda redis, key: redis.hset(key, "ended_at", "soon"),
        lambda redis, key: redis.hset(key, "ended_at", "1e999"),
        lambda redis, key: redis.hset(key, "ended_at", "nan"),
        lambda redis, key: redis.hset(key, "owner", b"\xff"),
        lambda redis, key: redis.hset(key, "attempts", "many"),
        lambda redis, key: redis.hdel(key, "url"),
        lambda redis, key: redis.hset(key, "url", "nonsense"),
        lambda redis, key: (redis.delete(key), redis.set(key, "text")),
        lambda redis, key: redis.delete(key),
    ],
)
def test_a_webhook_damaged_in_any_way_holds_up_no_other_and_ends(
    redis: Redis, receiver: Receiver, give_secret: Give, deliver, damage
) -> None:
    secret = give_secret()
    ill = note_and_end(redis, f"{receiver.origin}/hooks")
    damage(redis, keyspace.callback(ill))
    well = note_and_end(redis, f"{receiver.origin}/hooks")
    deliver(lambda: is_settled(redis))
    assert well in [one["data"]["id"] for one in receiver.read(secret)]


def test_a_damaged_list_of_one_target_holds_up_no_other_and_metrics_go_on(
    redis: Redis, receiver: Receiver, give_secret: Give, deliver
) -> None:
    secret = give_secret()
    redis.sadd(keyspace.WEBHOOK_TARGETS, "http://a.example:80")
    redis.set(keyspace.due_webhooks("http://a.example:80"), "text")
    job_id = note_and_end(redis, f"{receiver.origin}/hooks")
    assert callbacks.count_due(redis) == 1
    deliver(lambda: is_settled(redis))
    assert [one["data"]["id"] for one in receiver.read(secret)] == [job_id]
