"""Tokens of an issuer beside keys: who is let in, why not, and what an issuer that is away changes.

The issuer is a server of its own with keys of its own; only its sign-in page is left out, which
tests/browser/test_sign_on.py has.
"""

import base64
import hmac
import itertools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import anyio
import pytest
import tomli_w
from fastapi.testclient import TestClient
from issuer_documents import create_documents
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from redis import Redis

from app.main import create_app
from app.server.access.sign_on.bearer import check_token, is_signed
from app.server.access.sign_on.configuration import load_sign_on_settings
from app.server.access.sign_on.issuer import Issuer as KnownIssuer
from app.server.access.sign_on.people import name_owner
from app.server.access.sign_on.refusals import IssuerAway, TokenRefused
from app.server.access.sign_on.sign_on import SignOn
from app.settings import AppSettings
from models.imaging import Decoder

AUDIENCE = "promptsmooth"
GROUPS = {"laboratory": ["submit", "read"], "auditors": ["read"]}


class Issuer(ThreadingHTTPServer):
    """Discovery, keys, and a token endpoint that refuses every code unless there is a token."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Answer)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.keys: list[Any] = [RSAKey.generate_key(2048, {"kid": "first", "use": "sig"})]
        self.asked: list[str] = []
        self.published: bytes | None = None  # in place of its keys
        self.token: str | None = None  # for any code

    def sign(self, *, key: Any = None, algorithm: str = "RS256", **claims: Any) -> str:
        """A token for ann of the laboratory, apart from what is said; None leaves a claim out."""
        key = key or self.keys[-1]
        now = int(time.time())
        whole = {"iss": self.url, "aud": AUDIENCE, "sub": "ann", "iat": now, "exp": now + 600}
        whole |= {"groups": ["laboratory"]} | claims
        header = {"alg": algorithm} | ({} if key.kid is None else {"kid": key.kid})
        said = {name: value for name, value in whole.items() if value is not None}
        return jwt.encode(header, said, key, algorithms=[algorithm])


class Answer(BaseHTTPRequestHandler):
    server: Issuer

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        documents = create_documents(self.server.url, self.server.keys)
        if self.path == "/keys" and self.server.published is not None:
            self._send(200, self.server.published)
        else:
            self._answer(200, documents[self.path])

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        if (token := self.server.token) is None:
            self._answer(400, {"error": "invalid_grant"})
        else:
            self._answer(200, {"access_token": token, "token_type": "Bearer"})

    def _answer(self, status: int, document: object) -> None:
        self._send(status, json.dumps(document).encode())

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def running(issuer: Issuer) -> Iterator[Issuer]:
    thread = Thread(target=issuer.serve_forever)
    thread.start()
    try:
        yield issuer
    finally:
        issuer.shutdown()
        issuer.server_close()
        thread.join()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running(Issuer()) as server:
        yield server


@pytest.fixture
def file(issuer: Issuer, tmp_path: Path) -> Path:
    """The file of sign-on."""
    path = tmp_path / "sign-on.toml"
    fields = {"issuer": issuer.url, "client_id": "page", "audience": [AUDIENCE], "groups": GROUPS}
    path.write_text(tomli_w.dumps(fields))
    return path


@pytest.fixture
def open_app(
    settings: AppSettings, file: Path, redis: Redis, decoder: Decoder
) -> Callable[..., Any]:
    @contextmanager
    def start(**changes: object) -> Iterator[TestClient]:
        changed = settings.model_copy(update={"sign_on_file": file, **changes})
        with TestClient(create_app(changed, decoder=decoder)) as client:
            yield client

    return start


@pytest.fixture
def client(open_app: Callable[..., Any]) -> Iterator[TestClient]:
    with open_app() as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def ask(client: TestClient, token: str, path: str = "/models") -> tuple[int, str, str]:
    """Status, code and detail of an answer."""
    answer = client.get(path, headers=bearer(token))
    body = answer.json()
    return answer.status_code, body.get("code", ""), body.get("detail", "")


def test_groups_say_what_a_person_may_do(client: TestClient, issuer: Issuer, png: bytes) -> None:
    def send(token: str) -> int:
        form = {"files": {"image": png}, "data": {"sigma": "0.25"}}
        return client.post("/certify", headers=bearer(token), **form).status_code

    assert send(issuer.sign()) == 202
    assert send(issuer.sign(groups=["auditors"])) == 403
    assert ask(client, issuer.sign(groups=["auditors"]))[0] == 200
    for groups in ([], ["canteen"], None, "canteen", 7, [["laboratory"]]):
        assert ask(client, issuer.sign(groups=groups))[:2] == (403, "scope_missing")
    assert ask(client, issuer.sign(groups="laboratory"))[0] == 200


def test_without_a_token_nobody_is_let_in_though_there_are_no_keys(client: TestClient) -> None:
    answer = client.get("/models")
    assert (answer.status_code, answer.json()["code"]) == (401, "key_missing")
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"iss": "http://127.0.0.1:1"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"aud": "payroll"}, "for another service"),
        ({"aud": None}, "for another service"),
        ({"exp": 1}, "has expired"),
        ({"exp": None}, "when it expires"),
        ({"nbf": 2**33}, "not valid yet"),
        ({"sub": None}, "whose it is"),
        ({"sub": 7}, "whose it is"),
    ],
)
def test_a_token_for_others_or_another_time_is_refused_with_the_reason(
    client: TestClient, issuer: Issuer, claims: dict[str, Any], said: str
) -> None:
    status, code, detail = ask(client, issuer.sign(**claims))
    assert (status, code) == (401, "token_invalid")
    assert said in detail


def test_clocks_may_differ_by_the_skew_and_no_more(client: TestClient, issuer: Issuer) -> None:
    now = int(time.time())
    assert ask(client, issuer.sign(exp=now - 30))[0] == 200
    assert ask(client, issuer.sign(exp=now - 90))[0] == 401
    assert ask(client, issuer.sign(nbf=now + 30))[0] == 200
    assert ask(client, issuer.sign(nbf=now + 600))[0] == 401


def test_a_token_that_was_read_before_is_judged_anew(file: Path, issuer: Issuer) -> None:
    """By the moment, by the service that it is for, and by the keys that the issuer has now."""
    settings = load_sign_on_settings(file)
    known, token = KnownIssuer(settings), issuer.sign()
    published = known.fetch()
    for _ in range(2):
        assert check_token(token, published, settings)["sub"] == "ann"
    with pytest.raises(TokenRefused, match="expired"):
        check_token(token, published, settings, now=time.time() + 3600)
    with pytest.raises(TokenRefused, match="another service"):
        check_token(token, published, settings.model_copy(update={"audience": ("other",)}))
    issuer.keys = [RSAKey.generate_key(2048, {"kid": "first", "use": "sig"})]
    with pytest.raises(TokenRefused, match="signature"):
        check_token(token, known.fetch(), settings)
    assert check_token(token, published, settings)["sub"] == "ann"


def encode(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def forge(issuer: Issuer, how: str) -> str:
    head, body, signature = issuer.sign().split(".")
    match how:
        case "no signature":
            return f"{encode({'alg': 'none', 'kid': 'first'})}.{body}."
        case "other claims":
            return f"{head}.{encode({'iss': issuer.url, 'sub': 'bob'})}.{signature}"
        case "key of another":
            return issuer.sign(key=RSAKey.generate_key(2048, {"kid": "first"}))
        case "public key as a secret":
            signed = f"{encode({'alg': 'HS256', 'kid': 'first'})}.{body}"
            secret = issuer.keys[0].as_pem(private=False)
            made = hmac.digest(secret, signed.encode(), "sha256")
            return f"{signed}.{base64.urlsafe_b64encode(made).rstrip(b'=').decode()}"
        case "no json":
            return "a.b.c"
    raise ValueError(how)


@pytest.mark.parametrize(
    "how", ["no signature", "other claims", "key of another", "public key as a secret", "no json"]
)
def test_what_the_issuer_did_not_sign_is_refused(
    client: TestClient, issuer: Issuer, how: str
) -> None:
    assert ask(client, forge(issuer, how))[:2] == (401, "token_invalid")
    assert ask(client, issuer.sign())[0] == 200


def test_an_elliptic_key_signs_too(client: TestClient, issuer: Issuer) -> None:
    issuer.keys.append(ECKey.generate_key("P-256", {"kid": "curve"}))
    assert ask(client, issuer.sign(algorithm="ES256"))[0] == 200


def test_a_new_key_of_the_issuer_is_fetched_and_strangers_cause_no_flood(
    open_app: Callable[..., Any], issuer: Issuer
) -> None:
    with open_app() as client:
        assert ask(client, issuer.sign())[0] == 200
        fetched = len(issuer.asked)
        stranger = RSAKey.generate_key(2048, {"kid": "unknown"})
        for _ in range(5):
            assert ask(client, issuer.sign(key=stranger))[:2] == (401, "token_invalid")
        assert len(issuer.asked) - fetched <= 2  # discovery and keys, once at most
    issuer.keys = [RSAKey.generate_key(2048, {"kid": "second", "use": "sig"})]
    with open_app() as client:
        assert ask(client, issuer.sign())[0] == 200


def test_tokens_are_checked_while_the_issuer_is_away(
    open_app: Callable[..., Any], file: Path, tmp_path: Path
) -> None:
    """In the app that runs, and with a cache also in one that starts meanwhile."""
    lasting = Issuer()
    cache = tmp_path / "cache.json"
    described = tomli_w.dumps({"issuer": lasting.url, "keys_cache": str(cache)})
    kept = [line for line in file.read_text().splitlines(True) if not line.startswith("issuer")]
    file.write_text(described + "".join(kept))
    with open_app() as client:
        with running(lasting):
            assert ask(client, lasting.sign())[0] == 200
        assert ask(client, lasting.sign())[0] == 200
    with open_app() as client:
        assert ask(client, lasting.sign())[0] == 200
    cache.unlink()
    with open_app() as client:
        assert ask(client, lasting.sign())[:2] == (503, "sign_on_unavailable")


@pytest.mark.parametrize(
    "published",
    [
        b"",
        b"[" * 100_000,
        b"5",
        b'{"keys": null}',
        b'{"keys": []}',
        b'{"keys": "text"}',
        b'{"keys": [5]}',
        b'{"keys": [{"kty": "RSA"}]}',
        b'{"keys": [{"kty": "EC", "crv": "P-1", "x": "AA", "y": "AA"}]}',
    ],
)
def test_keys_that_nobody_can_read_end_neither_the_app_nor_the_keys_before(
    open_app: Callable[..., Any], file: Path, issuer: Issuer, published: bytes
) -> None:
    known = KnownIssuer(load_sign_on_settings(file))
    known.fetch()
    issuer.published = published
    with pytest.raises(IssuerAway):
        known.fetch()
    assert is_signed(issuer.sign(), known.published)
    with open_app() as client:
        assert ask(client, issuer.sign())[:2] == (503, "sign_on_unavailable")
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "odd",
    [
        5,
        "text",
        {"kty": "RSA", "kid": 7, "n": "AA", "e": "AQAB"},
        {"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"},
        {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"},
        {"kty": "RSA", "n": "!", "e": "AQAB"},
        {"kty": "oct", "k": "c2VjcmV0"},
    ],
)
def test_a_key_that_cannot_be_read_keeps_no_other_from_use(
    open_app: Callable[..., Any], issuer: Issuer, odd: object
) -> None:
    keys = [odd, issuer.keys[0].as_dict(private=False)]
    issuer.published = json.dumps({"keys": keys}).encode()
    with open_app() as client:
        assert ask(client, issuer.sign())[0] == 200


def test_a_cache_is_used_and_the_issuer_asked_at_once(
    file: Path, issuer: Issuer, tmp_path: Path
) -> None:
    """Else an app that is often restarted would never learn that a key was withdrawn."""
    cache = tmp_path / "cache.json"
    settings = load_sign_on_settings(file).model_copy(update={"keys_cache": cache})
    KnownIssuer(settings).fetch()
    again = KnownIssuer(settings)
    assert is_signed(issuer.sign(), again.published)
    assert again.is_stale()
    again.fetch()
    assert not again.is_stale()


@pytest.mark.parametrize("key_id", ["second", "first", None])
def test_a_changed_key_is_fetched_whatever_it_is_called(
    file: Path, issuer: Issuer, key_id: str | None
) -> None:
    """By another name, by the name of the one before, or by none."""
    settings, clock = load_sign_on_settings(file), itertools.count(step=60)
    known = KnownIssuer(settings, clock=lambda: float(next(clock)))
    known.fetch()
    named = {} if key_id is None else {"kid": key_id}
    issuer.keys = [RSAKey.generate_key(2048, {"use": "sig", **named})]
    sign_on = SignOn(settings, known)
    token = issuer.sign()
    with pytest.raises(TokenRefused):
        sign_on.find_caller(token)
    anyio.run(sign_on.prepare, token)
    assert sign_on.find_caller(token).key_id == name_owner(issuer.url, "ann")


def test_the_page_signs_in_with_a_key_that_the_issuer_changed_since(
    file: Path, issuer: Issuer
) -> None:
    """A page has no token that would make the app fetch keys: the exchange itself does."""
    settings, clock = load_sign_on_settings(file), itertools.count(step=60)
    known = KnownIssuer(settings, clock=lambda: float(next(clock)))
    known.fetch()
    issuer.keys = [RSAKey.generate_key(2048, {"kid": "second", "use": "sig"})]
    issuer.token = issuer.sign()
    token, caller = SignOn(settings, known).exchange("code", "verifier", "http://127.0.0.1/")
    assert (token, caller.key_id) == (issuer.token, name_owner(issuer.url, "ann"))


def test_keys_go_on_beside_tokens_but_not_in_one_request(
    open_app: Callable[..., Any], issuer: Issuer, keys_file: Path, make_key: Callable[..., Any]
) -> None:
    _, headers = make_key("read")
    with open_app(keys_file=keys_file) as client:
        assert client.get("/models", headers=headers).status_code == 200
        assert ask(client, issuer.sign())[0] == 200
        both = {**headers, "X-API-Key": issuer.sign()}
        assert client.get("/models", headers=both).status_code == 401


def test_a_person_is_an_owner_and_others_do_not_see_what_is_theirs(
    client: TestClient, issuer: Issuer, png: bytes, redis: Redis
) -> None:
    form = {"files": {"image": png}, "data": {"sigma": "0.25"}}
    sent = client.post("/certify", headers=bearer(issuer.sign()), **form)
    place = sent.json()["links"]["self"]
    assert ask(client, issuer.sign(), place)[0] == 200
    assert ask(client, issuer.sign(sub="bob"), place)[:2] == (404, "certification_unknown")
    (owner,) = {key.decode().rsplit(":", 1)[-1] for key in redis.keys("*listed:oidc-*")}
    assert owner == name_owner(issuer.url, "ann")
    assert "ann" not in owner


def test_no_answer_and_no_log_has_a_token(
    client: TestClient, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    token = issuer.sign(aud="payroll")
    with caplog.at_level("DEBUG"):
        answer = client.get("/models", headers=bearer(token))
    said = " ".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert token.split(".")[1][:40] not in said + answer.text
    assert "invalid_token" in answer.headers["www-authenticate"]


def test_the_page_learns_where_to_sign_in(client: TestClient, issuer: Issuer) -> None:
    assert ask(client, issuer.sign())[0] == 200  # so that the issuer was asked
    offer = client.get("/sign-on").json()
    assert offer["offered"]
    assert offer["authorization_endpoint"] == f"{issuer.url}/authorize"
    assert offer["parameters"] == {"response_type": "code", "client_id": "page", "scope": "openid"}


def test_a_code_that_the_issuer_does_not_know_signs_nobody_in(client: TestClient) -> None:
    sent = {"code": "x", "code_verifier": "y", "redirect_uri": "http://127.0.0.1/"}
    answer = client.post("/sign-on", json=sent)
    assert (answer.status_code, answer.json()["code"]) == (403, "sign_on_refused")


def test_without_sign_on_there_is_none(settings: AppSettings, decoder: Decoder) -> None:
    with TestClient(create_app(settings, decoder=decoder)) as plain:
        assert plain.get("/sign-on").json() == {"offered": False}
        assert plain.post("/sign-on", json={"code": "x"}).status_code in (404, 422)
