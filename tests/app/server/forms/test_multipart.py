"""Multipart bodies as clients of the field write them: taken whole, or refused with the reason."""

import gzip
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydicom.data import get_testdata_file

HEADERS = {"content-type": "multipart/form-data; boundary=XBOUND"}
IMAGE = Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()


def part(name: str, value: bytes, *, more: str = "", headers: str = "") -> bytes:
    head = f'--XBOUND\r\nContent-Disposition: form-data; name="{name}"{more}\r\n{headers}\r\n'
    return head.encode() + value + b"\r\n"


END = b"--XBOUND--\r\n"
FILE = part(
    "image", IMAGE, more='; filename="a.dcm"', headers="Content-Type: application/dicom\r\n"
)


def preview(client: TestClient, body: bytes, **headers: str):
    return client.post("/preview", content=body, headers=HEADERS | headers)


@pytest.mark.parametrize(
    ("more", "headers"),
    [
        ("; filename*=utf-8''R%C3%B6ntgen.dcm", ""),
        ("; filename*=utf-8''R%C3%B6ntgen.dcm", "Content-Type: application/dicom\r\n"),
        ("", "Content-Type: application/dicom\r\n"),
        ("", "content-type: image/png\r\n"),
        ("", "Content-Type: application/octet-stream\r\n"),
        ('; filename=""', ""),
    ],
)
def test_file_is_known_by_its_other_name_or_its_type(client, more: str, headers: str) -> None:
    sound = preview(client, FILE + END)
    answer = preview(client, part("image", IMAGE, more=more, headers=headers) + END)
    assert (answer.status_code, answer.json()) == (200, sound.json())


@pytest.mark.parametrize("kind", ["text/plain", "text/plain; charset=utf-8", "application/json"])
def test_typed_text_stays_a_text(client, kind: str) -> None:
    window = part("window", b"40,400", headers=f"Content-Type: {kind}\r\n")
    answer = preview(client, FILE + window + END)
    assert answer.json()["window"] == [40.0, 400.0]


@pytest.mark.parametrize("coding", ["base64", "Quoted-Printable", "x-gzip"])
def test_part_in_a_transfer_encoding_is_refused_by_that_name(client, coding: str) -> None:
    headers = f"Content-Transfer-Encoding: {coding}\r\n"
    answer = preview(client, part("image", IMAGE, more='; filename="a"', headers=headers) + END)
    assert (answer.status_code, answer.json()["code"]) == (400, "form_unreadable")
    assert "Content-Transfer-Encoding" in answer.json()["detail"]


@pytest.mark.parametrize("coding", ["binary", "8bit", " 7Bit "])
def test_part_that_says_that_it_is_not_encoded_is_taken(client, coding: str) -> None:
    headers = f"Content-Transfer-Encoding: {coding}\r\n"
    answer = preview(client, part("image", IMAGE, more='; filename="a"', headers=headers) + END)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "preamble", [b"\r\n", b"This is a message in MIME format.\r\n", b"a\r\n" * 99]
)
def test_preamble_and_epilogue_are_skipped(client, preamble: bytes) -> None:
    answer = preview(client, preamble + FILE + END + b"and that was all")
    assert answer.status_code == 200


def test_body_that_ends_before_its_last_boundary_is_never_taken(client) -> None:
    body = FILE + part("window", b"40,400")
    for whole in (body, FILE, body + b"--XBOUND", body + b"--XBOUND-", body[:-1], FILE[:200], b""):
        for address in ("/preview", "/certify"):
            answer = client.post(address, content=whole, headers=HEADERS)
            assert answer.status_code == 400, (address, whole[-20:])
            assert answer.json()["code"] == "form_unreadable"
            assert "incomplete" in answer.json()["detail"]


def test_request_cut_within_alpha_makes_no_certificate(client, queued_ids) -> None:
    body = FILE + part("sigma", b"0.25") + part("alpha", b"0.0001")
    for cut in range(len(body) - 60, len(body) + 1, 7):
        answer = client.post("/certify", content=body[:cut], headers=HEADERS)
        assert answer.status_code == 400
    assert queued_ids() == []


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "x-secret"])
@pytest.mark.parametrize(
    "kind", ["multipart/form-data; boundary=XBOUND", "application/json", "image/png"]
)
@pytest.mark.parametrize("address", ["/preview", "/certify", "/prompts", "/audit"])
def test_content_coding_is_refused_by_name(client, address: str, kind: str, coding: str) -> None:
    headers = {"content-type": kind, "content-encoding": coding}
    answer = client.post(address, content=gzip.compress(FILE + END), headers=headers)
    assert answer.status_code == 415
    assert (coding in answer.json()["detail"]) == (coding != "x-secret")
    assert preview(client, FILE + END, **{"content-encoding": "identity"}).status_code == 200


@pytest.mark.parametrize(
    "address",
    [
        "/certifications?limit=1&limit=2",
        "/models?x=1&x=2",
        "/prompts?model=a&model=b",
        "/healthz?a=&a=",
        f"/certifications/{'0' * 32}/noisy.png?sigma=0.25&sigma=0.5",
        f"/certifications/{'0' * 32}/votes?certificate=0&sample=1&certificate=1",
        f"/certifications/{'0' * 32}?status=queued&status=failed",
    ],
)
def test_parameter_twice_is_refused_everywhere(client, address: str) -> None:
    answer = client.get(address)
    assert (answer.status_code, answer.json()["code"]) == (422, "field_repeated")


def test_parameters_that_may_repeat_still_do(client) -> None:
    assert client.get("/certifications?status=queued&status=failed").status_code == 200
    votes = client.get(f"/certifications/{'0' * 32}/votes?sample=0&sample=7")
    assert votes.json()["code"] == "certification_unknown"
    headers = {"content-type": "application/dicom"}
    for address in ("/certify", "/certify/file"):
        answer = client.post(f"{address}?sigma=0.1&sigma=0.25", content=IMAGE, headers=headers)
        assert answer.json().get("code") != "field_repeated"
    answer = client.post(
        "/certify?sigma=0.1&sigma=0.25&alpha=0.01&alpha=0.02", content=IMAGE, headers=headers
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "field_repeated")


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("filename_star_only", 200, ""),
        ("cut_before_last_boundary", 400, "incomplete"),
        ("gzip_body", 415, "gzip"),
    ],
)
def test_requests_of_the_field_are_answered(client, data_folder: Path, name, status, said) -> None:
    raw = (data_folder / "field_files" / "http" / f"{name}.http").read_bytes()
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = [line.split(": ", 1) for line in head.decode().split("\r\n")[1:]]
    headers = {name.lower(): value for name, value in lines}
    kept = {key: headers[key] for key in ("content-type", "content-encoding") if key in headers}
    answer = client.post("/preview", content=body, headers=kept)
    assert answer.status_code == status, answer.text
    assert said in answer.text
