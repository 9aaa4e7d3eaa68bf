"""DICOMweb, as far as a node needs it: STOW-RS, and instances found and fetched."""

import json
import secrets
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
from pydantic import HttpUrl

from worker.contract import Contract

_TIMEOUT_S = 60.0
_PIECE_BYTES = 2**16
_MOST_JSON_BYTES = 2**26  # of an answer to QIDO-RS or STOW-RS
_SLACK_BYTES = 2**16  # of the multipart answer, beside the object
_DUPLICATE = 0x0111
_FAILED_SEQUENCE, _FAILURE_REASON = "00081198", "00081197"
_SERIES_UID, _INSTANCE_UID = "0020000E", "00080018"
_PART_10 = 'multipart/related; type="application/dicom"'


class WebAddress(Contract):
    """A DICOMweb server: its root, the value of the header Authorization, whom to trust."""

    url: HttpUrl
    authorization_file: Path | None = None
    ca: Path | None = None


class WebRefused(Exception):
    """The server did not do what was asked; the text says why, without a header."""


class Web:
    """A connection to a DICOMweb server; a context manager.

    Raises:
        WebRefused: its credentials or authorities cannot be read.
    """

    def __init__(self, address: WebAddress, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._root = str(address.url).rstrip("/")
        try:
            key = address.authorization_file
            headers = {} if key is None else {"Authorization": key.read_text().strip()}
            trust = True if address.ca is None else ssl.create_default_context(cafile=address.ca)
        except OSError as error:
            raise WebRefused(f"credentials cannot be read ({type(error).__name__})") from None
        self._http = httpx2.Client(headers=headers, verify=trust, timeout=timeout_s)

    def __enter__(self) -> "Web":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def store(self, objects: Sequence[bytes]) -> None:
        """Stores Part 10 objects. What was there before counts as stored.

        Raises:
            WebRefused: the server does not say that it has all of them.
        """
        boundary = secrets.token_hex(16)
        headers = {
            "Content-Type": f"{_PART_10}; boundary={boundary}",
            "Accept": "application/dicom+json",
        }
        body = _as_multipart(objects, boundary)
        answer = self._ask("POST", "/studies", headers=headers, content=body)
        if answer.status not in (200, 202, 409) or not _took_all(answer):
            raise WebRefused(f"STOW-RS was answered with {answer.status}")

    def search_one(self) -> None:
        """Asks for one study, whichever (QIDO-RS), to see that there is an answer.

        Raises:
            WebRefused: there is none that a DICOMweb server gives.
        """
        headers = {"Accept": "application/dicom+json"}
        answer = self._ask("GET", "/studies", headers=headers, params={"limit": "1"})
        if answer.status not in (200, 204):
            raise WebRefused(f"QIDO-RS was answered with {answer.status}")

    def find_instances(
        self, study: str, series: str | None, instance: str | None
    ) -> tuple[tuple[str, str], ...]:
        """Series and instance UIDs in a study, or in a series of it (QIDO-RS).

        Raises:
            WebRefused: there is no answer that can be read, or the server names only some of them.
        """
        path = _path(study, series)
        query = {} if instance is None else {"SOPInstanceUID": instance}
        headers = {"Accept": "application/dicom+json"}
        answer = self._ask("GET", f"{path}/instances", headers=headers, params=query)
        if answer.status == 204:
            return ()
        if any(said.lstrip().startswith("299") for said in answer.headers.get_list("warning")):
            raise WebRefused("QIDO-RS was answered in part: fetch less, such as one series")
        try:
            named = json.loads(answer.content)
            if answer.status != 200 or not isinstance(named, list):
                raise ValueError
            found = [
                (_first(one, _SERIES_UID, series), _first(one, _INSTANCE_UID)) for one in named
            ]
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise WebRefused(f"QIDO-RS was answered with {answer.status}") from None
        return tuple(found)

    def fetch(self, study: str, series: str, instance: str, *, most_bytes: int) -> bytes:
        """An instance as a Part 10 file, as it is stored (WADO-RS).

        Raises:
            WebRefused: it did not come, or is longer than `most_bytes`.
        """
        headers = {"Accept": f"{_PART_10}; transfer-syntax=*"}
        path = f"{_path(study, series)}/instances/{quote(instance, safe='')}"
        answer = self._ask("GET", path, most_bytes=most_bytes + _SLACK_BYTES, headers=headers)
        if answer.status != 200:
            raise WebRefused(f"WADO-RS was answered with {answer.status}")
        for part in _parts(answer.headers.get("content-type", ""), answer.content):
            return part
        raise WebRefused("WADO-RS was answered with no object")

    def _ask(
        self, method: str, path: str, *, most_bytes: int = _MOST_JSON_BYTES, **how: Any
    ) -> "_Answer":
        came = bytearray()
        try:
            with self._http.stream(method, self._root + path, **how) as answer:
                for piece in answer.iter_bytes(_PIECE_BYTES):
                    came += piece
                    if len(came) > most_bytes:
                        raise WebRefused("an answer by DICOMweb is longer than the node takes")
        except httpx2.HTTPError as error:
            raise WebRefused(f"no answer by DICOMweb ({type(error).__name__})") from None
        return _Answer(answer.status_code, answer.headers, bytes(came))


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: httpx2.Headers
    content: bytes


def _path(study: str, series: str | None) -> str:
    path = f"/studies/{quote(study, safe='')}"
    return path if series is None else f"{path}/series/{quote(series, safe='')}"


def _first(found: dict[str, Any], tag: str, default: str | None = None) -> str:
    value = found.get(tag, {}).get("Value", [default])[0]
    if not isinstance(value, str):
        raise TypeError
    return value


def _as_multipart(objects: Sequence[bytes], boundary: str) -> bytes:
    body = b"".join(
        f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + one + b"\r\n"
        for one in objects
    )
    return body + f"--{boundary}--\r\n".encode()


def _parts(content_type: str, content: bytes) -> Iterator[bytes]:
    """The bodies of the parts of a multipart answer."""
    declared = Message()
    declared["Content-Type"] = content_type
    boundary = declared.get_param("boundary", "")
    if not isinstance(boundary, str) or not boundary:
        return
    for part in (b"\r\n" + content).split(f"\r\n--{boundary}".encode())[1:-1]:
        yield part.partition(b"\r\n\r\n")[2]


def _took_all(answer: _Answer) -> bool:
    """Whether nothing failed (PS3.18 10.5.3), but for what was there already."""
    try:
        failed = json.loads(answer.content).get(_FAILED_SEQUENCE, {}).get("Value", [])
        reasons = {one[_FAILURE_REASON]["Value"][0] for one in failed}
    except (ValueError, AttributeError, LookupError, TypeError, RecursionError):
        return False
    return reasons <= {_DUPLICATE} and (bool(failed) or answer.status == 200)
