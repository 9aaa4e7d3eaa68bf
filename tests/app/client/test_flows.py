"""What the client asks and when again, without a network: flows are driven by hand."""

import asyncio
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from httpx2 import Response

from app.client import (
    AsyncClient,
    Client,
    ClientError,
    FileUnreadable,
    KeyUnusable,
    NotFinished,
    ServiceRefused,
    ServiceUnreachable,
    UnsafeAddress,
)
from app.client.calls import Call, Flow, Pause, submission
from app.client.connection import create_connection
from app.client.events import Following
from app.client.flows import ask, cancel, find, find_signing_key, submit, wait, wait_for_witness
from app.server.answers.problems import list_codes

JOB = {"id": "0" * 32, "status": "running", "progress": {"samples_done": 3, "samples_total": 9}}
ENDED = {"id": "0" * 32, "status": "finished", "certificates": []}
SUBMISSION = submission(b"image", {"sigma": ["0.25"]})


def drive(flow: Flow, answers: list[Response | Exception]) -> Iterator[Call | Pause]:
    """Every step of a flow, which is given one answer for each call."""
    step = flow.send(None)
    while True:
        yield step
        given = None if isinstance(step, Pause) else answers.pop(0)
        try:
            step = flow.throw(given) if isinstance(given, Exception) else flow.send(given)
        except StopIteration:
            return


def busy(status: int, **headers: str) -> Response:
    problem = {"status": status, "code": "queue_full", "detail": "Later.", "request_id": "r"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, json=problem, headers=named)


@pytest.mark.parametrize("status", [409, 429, 503])
def test_what_the_service_puts_off_is_sent_again_as_the_same_submission(status):
    steps = list(
        drive(ask(SUBMISSION, patience_s=9), [busy(status, retry_after="2"), Response(202)])
    )
    assert steps == [SUBMISSION, Pause(2.0), SUBMISSION]
    assert SUBMISSION.headers["Idempotency-Key"]


def test_two_submissions_are_two_jobs_even_of_one_image():
    other = submission(b"image", {"sigma": ["0.25"]})
    assert other.headers["Idempotency-Key"] != SUBMISSION.headers["Idempotency-Key"]


@pytest.mark.parametrize("answer", [busy(503), busy(422, retry_after="1"), busy(404)])
def test_a_refusal_without_a_time_is_final(answer):
    with pytest.raises(ServiceRefused) as refused:
        list(drive(ask(SUBMISSION, patience_s=9), [answer]))
    assert (refused.value.code, refused.value.request_id) == ("queue_full", "r")
    assert refused.value.status == answer.status_code


def test_patience_ends_before_a_pause_that_would_exceed_it():
    answers = [busy(503, retry_after="4")] * 3
    steps = []
    with pytest.raises(ServiceRefused):
        steps.extend(drive(ask(SUBMISSION, patience_s=9), answers))
    assert len(answers) == 0


def test_a_service_that_is_away_is_asked_until_patience_ends():
    away: list[Response | Exception] = [ServiceUnreachable("away")] * 40
    flow = drive(ask(SUBMISSION, patience_s=9), away)
    pauses = []
    with pytest.raises(ServiceUnreachable):
        pauses.extend(one.seconds for one in flow if isinstance(one, Pause))
    assert away, "it gave up before the answers ran out"


def test_a_network_that_swallows_calls_ends_patience_too():
    """No connection is refused, each call runs into its timeout: pauses alone would take long."""
    ticks = iter(range(0, 10_000, 30))
    away: list[Response | Exception] = [ServiceUnreachable("timed out")] * 9
    with pytest.raises(ServiceUnreachable):
        list(drive(ask(SUBMISSION, patience_s=60, clock=lambda: float(next(ticks))), away))
    assert len(away) == 7


def test_a_witness_that_was_there_before_is_taken_from_the_answer_that_says_so():
    flow = wait_for_witness("0", timeout_s=9, patience_s=9)
    assert flow.send(None).method == "POST"
    with pytest.raises(StopIteration) as ended:
        flow.send(Response(200, json={"status": "finished"}))
    assert ended.value.value == {"status": "finished"}
    waiting = Response(202, json={"status": "queued"})
    steps = drive(
        wait_for_witness("0", timeout_s=9, patience_s=9),
        [waiting, Response(200, json={"status": "finished"})],
    )
    assert [step.method for step in steps if isinstance(step, Call)] == ["POST", "GET"]


@pytest.mark.parametrize("status", [502, 504])
def test_a_proxy_whose_service_is_away_is_asked_again(status):
    steps = drive(ask(SUBMISSION, patience_s=9), [Response(status), Response(202)])
    assert [step for step in steps if isinstance(step, Call)] == [SUBMISSION, SUBMISSION]


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"<html>Log in"), (200, b"{}"), (200, b"[]"), (308, b"")]
)
@pytest.mark.parametrize(
    "flow",
    [
        lambda: submit(b"image", {}, patience_s=0),
        lambda: find("0" * 32, patience_s=0),
        lambda: find_signing_key(patience_s=0),
    ],
)
def test_an_answer_that_is_not_the_service_s_is_an_error_of_the_client(flow, status, body):
    with pytest.raises(ServiceRefused) as refused:
        list(drive(flow(), [Response(status, content=body)]))
    assert refused.value.code == ""


LOST = ServiceUnreachable("the answer was lost")


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        ([LOST, Response(200, json=ENDED)], ["DELETE", "DELETE"]),
        ([busy(429, retry_after="1"), Response(200, json=ENDED)], ["DELETE", "DELETE"]),
    ],
)
def test_a_cancel_whose_answer_is_lost_removes_nothing(answers, asked):
    """A second DELETE of a job that the first has cancelled would purge it, but for its query."""
    steps = drive(cancel("0" * 32, patience_s=9), list(answers))
    sent = [step for step in steps if isinstance(step, Call)]
    assert [call.method for call in sent] == asked
    assert all(call.params == {"only": "cancel"} for call in sent)


def test_an_id_is_no_path():
    steps = drive(find("../models", patience_s=0), [Response(200, json=ENDED)])
    assert [step.path for step in steps] == ["/certifications/..%2Fmodels"]


def test_fields_are_spelt_as_the_form_has_them():
    fields = {
        "sigma": [Decimal("0.25"), Decimal("1E+1")],
        "alpha": Decimal("1E-3"),
        "window": (40, 400.5),
        "targets": [{"class_names": ["a", "б"]}],
        "model": None,
    }
    assert submission(b"image", fields).data == {
        "sigma": ["0.25", "10"],
        "alpha": "0.001",
        "window": "40,400.5",
        "targets": '[{"class_names": ["a", "б"]}]',
    }


def test_what_is_no_problem_document_is_refused_in_a_sentence():
    with pytest.raises(ServiceRefused, match="answered 502: the answer has no problem document"):
        list(drive(ask(SUBMISSION, patience_s=0), [Response(502, content=b"<html>bad gateway")]))


def test_wait_tells_progress_until_the_job_has_ended():
    seen = []
    flow = wait(
        JOB["id"],
        timeout_s=None,
        on_progress=lambda now: seen.append((now.samples_done, now.samples_total)),
        clock=lambda: 0.0,
        patience_s=0,
    )
    answers = [Response(200, json=JOB), Response(200, json=JOB), Response(200, json=ENDED)]
    pauses = [one.seconds for one in drive(flow, answers) if isinstance(one, Pause)]
    assert seen == [(3, 9), (3, 9)]
    assert pauses == sorted(pauses)


def test_wait_leaves_a_job_that_takes_too_long_and_says_how_to_find_it():
    flow = wait(JOB["id"], timeout_s=0, on_progress=None, clock=lambda: 0.0, patience_s=0)
    with pytest.raises(NotFinished, match=JOB["id"]):
        list(drive(flow, [Response(200, json=JOB)]))


CONNECT: Callable[..., dict] = create_connection


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://10.0.0.7:8000", "unencrypted"),
        ("http://certify.hospital.example", "unencrypted"),
        ("https://key@certify.hospital.example", "pass the key as api_key"),
        ("https://certify.hospital.example?key=1", "pass the key as api_key"),
        ("certify.hospital.example", "like https://host"),
        ("ftp://certify.hospital.example", "like https://host"),
        ("", "like https://host"),
    ],
)
def test_a_key_never_travels_in_the_clear_or_in_an_address(url, sentence):
    with pytest.raises(UnsafeAddress, match=sentence):
        CONNECT(url, api_key="k", verify=True, timeout_s=1, allow_plain_http=False)


@pytest.mark.parametrize("key", ["", " ", "two words", "k\nk", "sch\u00fcssel"])
def test_what_cannot_be_a_key_is_refused_and_not_repeated(key):
    with pytest.raises(KeyUnusable) as refused:
        CONNECT("https://a.example", api_key=key, verify=True, timeout_s=1, allow_plain_http=False)
    assert not key.strip() or key not in str(refused.value)


def test_a_key_is_taken_as_a_file_holds_it():
    url = "https://a.example"
    made = CONNECT(url, api_key="psk_1\n", verify=True, timeout_s=1, allow_plain_http=False)
    assert made["headers"] == {"Authorization": "Bearer psk_1"}


def test_a_file_that_cannot_be_read_ends_no_folder(tmp_path: Path):
    gone = [tmp_path / "gone.png", tmp_path / "gone.dcm"]

    async def certify() -> list:
        async with AsyncClient("http://127.0.0.1:1") as waiting:
            return [item async for item in waiting.certify_folder(gone, sigma="0.25")]

    with Client("http://127.0.0.1:1") as client:
        items = [*client.certify_folder(gone, sigma="0.25"), *asyncio.run(certify())]
    assert [type(item.error) for item in items] == [FileUnreadable] * 4


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://[::1]:8000", "http://localhost"])
def test_this_machine_is_reached_in_the_clear_and_never_by_way_of_a_proxy(url):
    made = CONNECT(url, api_key="k", verify=True, timeout_s=1, allow_plain_http=False)
    assert made["headers"] == {"Authorization": "Bearer k"}
    assert made["trust_env"] is False


def test_every_error_of_the_client_is_a_sentence_of_one_kind():
    for error in (NotFinished("id", 3.0), ServiceRefused(404, "not_found", "Nothing.", "r")):
        assert isinstance(error, ClientError)
        assert str(error)
        assert "\n" not in str(error)


def test_a_refusal_tells_a_certification_that_is_gone_from_other_refusals() -> None:
    gone = {code for code, status in list_codes() if ServiceRefused(status, code, "", "r").is_gone}
    assert gone == {"certification_gone", "certification_unknown"}


def test_errors_are_ordinary_exceptions():
    """They pass through context managers, which set their traceback, and through processes."""
    for error in (ServiceRefused(503, "queue_full", "Later.", "r"), NotFinished("0" * 32, 2.0)):

        @contextmanager
        def holding() -> Iterator[None]:
            yield

        with pytest.raises(type(error)) as raised, holding():
            raise error
        assert raised.value is error
        again = pickle.loads(pickle.dumps(error))
        assert (str(again), vars(again)) == (str(error), vars(error))


def test_an_image_is_its_bytes_or_the_path_of_its_file(tmp_path):
    path = tmp_path / "scan.png"
    path.write_bytes(b"image")
    for given in (b"image", path, str(path)):
        call = submission(given, {"sigma": "0.25"})
        assert call.files == (("image", ("image", b"image")),)
    with pytest.raises(FileUnreadable, match="no file"):
        submission(tmp_path / "no file.png", {"sigma": "0.25"})


def test_a_key_is_read_from_the_file_that_keys_add_wrote(tmp_path):
    path = tmp_path / "key"
    path.write_text("psk_abc\n")
    given = {"verify": False, "timeout_s": 1.0, "allow_plain_http": False}
    connection = create_connection("https://lab", api_key=path, **given)
    assert connection["headers"] == {"Authorization": "Bearer psk_abc"}
    with pytest.raises(KeyUnusable, match="missing"):
        create_connection("https://lab", api_key=tmp_path / "missing", **given)


STREAM = """\
: hello

event: progress
data: {"samples_done": 3,
data: "bound": 0.1}
id: a

event: done
data: {"status": "finished"}
id: b

"""


def test_events_are_read_by_the_line_and_the_last_ends_the_stream():
    following = Following("0" * 32, patience_s=9, clock=lambda: 0.0)
    assert following.headers == {}
    seen = [event for line in STREAM.split("\n") for event in following.read(line)]
    assert [event.name for event in seen] == ["progress", "done"]
    assert seen[0].document == {"samples_done": 3, "bound": Decimal("0.1")}
    assert following.ended
    assert following.headers == {"Last-Event-ID": "b"}


def test_a_stream_that_was_cut_off_goes_on_after_the_last_whole_event():
    now = [0.0]
    following = Following("0" * 32, patience_s=9, clock=lambda: now[0])
    lines = STREAM.split("\n")
    cut = lines.index("event: done") + 1
    assert len([event for line in lines[:cut] for event in following.read(line)]) == 1
    away = ServiceUnreachable("away")
    assert following.lose(away) > 0
    assert following.headers == {"Last-Event-ID": "a"}
    assert list(following.read("")) == []
    now[0] = 8.5
    with pytest.raises(ServiceUnreachable):
        following.lose(away)


def test_a_stream_of_what_nobody_knows_is_not_opened_again():
    following = Following("0" * 32, patience_s=9, clock=lambda: 0.0)
    with pytest.raises(ServiceRefused):
        following.lose(ServiceRefused(404, "certification_unknown", "No.", ""))
    assert following.lose(ServiceRefused(503, "queue_unavailable", "Later.", "")) > 0


def test_a_refusal_says_each_field_once():
    problem = {
        "code": "request_invalid",
        "detail": "sigma: expected a number.",
        "errors": [
            {"field": "sigma", "detail": "Expected a number."},
            {"field": "n_max", "detail": "Expected a whole number."},
        ],
    }
    with pytest.raises(ServiceRefused) as refused:
        list(drive(find("0" * 32, patience_s=0), [Response(422, json=problem)]))
    assert refused.value.detail == ("sigma: expected a number. n_max: Expected a whole number.")


def test_a_file_that_has_no_certificates_is_named():
    for path in (__file__, "/nonexistent/ca.pem"):
        with pytest.raises(FileUnreadable, match=f"{path} cannot be read as certificates"):
            CONNECT(
                "https://a.example", api_key=None, verify=path, timeout_s=1, allow_plain_http=False
            )


def test_who_waits_is_told_why(free_port):
    """Both clients say why they ask again, and end with the error all the same."""
    url, told = f"http://127.0.0.1:{free_port}", []
    with (
        Client(url, patience_s=2, on_wait=told.append) as client,
        pytest.raises(ServiceUnreachable) as error,
    ):
        client.version()
    assert set(told) == {str(error.value)}

    async def ask_too() -> list[str]:
        also: list[str] = []
        async with AsyncClient(url, patience_s=2, on_wait=also.append) as client:
            with pytest.raises(ServiceUnreachable):
                await client.version()
        assert also
        return also

    assert all(one.startswith(f"no answer from {url}") for one in asyncio.run(ask_too()) + told)
