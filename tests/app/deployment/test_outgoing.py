"""The doctor finds what would keep the app from its issuer, or webhooks from their receivers."""

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import tomli_w
from issuer_documents import create_documents
from joserfc.jwk import RSAKey

from app.deployment.checks import Check
from app.deployment.outgoing import check_issuer, check_webhooks
from app.server.access.operator_file import now_utc
from app.server.jobs.webhooks.key_webhooks import KeyWebhooks, change_webhooks, create_secret
from app.settings import AppSettings


class Published(BaseHTTPRequestHandler):
    """Discovery and keys of an issuer."""

    def do_GET(self) -> None:
        url = f"http://127.0.0.1:{self.server.server_port}"
        key = RSAKey.generate_key(2048, {"kid": "one"})
        content = json.dumps(create_documents(url, [key])[self.path]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def issuer() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Published) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def write_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of sign-on."""

    def write(**fields: object) -> Path:
        path = tmp_path / "sign-on.toml"
        whole = {"client_id": "page", "groups": {"laboratory": ["read"]}, **fields}
        path.write_text(tomli_w.dumps(whole))
        return path

    return write


def test_an_issuer_that_answers_is_ok_and_nothing_is_kept_for_the_doctor(
    issuer: str, write_file: Callable[..., Path], tmp_path: Path
) -> None:
    cache = tmp_path / "cache.json"
    (found,) = check_issuer(write_file(issuer=issuer, keys_cache=str(cache)))
    assert (found.verdict, found.do) == ("ok", "")
    assert found.found.endswith("keys for signatures: 1")
    assert not cache.exists()


def test_an_issuer_that_is_away_fails_or_is_a_warning_where_its_keys_are_kept(
    write_file: Callable[..., Path], tmp_path: Path
) -> None:
    url, cache = "http://127.0.0.1:1", tmp_path / "cache.json"
    (found,) = check_issuer(write_file(issuer=url))
    assert (found.verdict, url in found.found) == ("fails", True)
    assert "compose.sign-on.yml" in found.do
    key = RSAKey.generate_key(2048, {"kid": "one"})
    document, keys = create_documents(url, [key]).values()
    cache.write_text(json.dumps({"document": document, "keys": keys}))
    (found,) = check_issuer(write_file(issuer=url, keys_cache=str(cache)))
    assert found.verdict == "warning"
    assert "in the cache" in found.found


def test_a_file_of_sign_on_that_the_app_would_not_start_with_is_named(tmp_path: Path) -> None:
    (found,) = check_issuer(tmp_path / "missing.toml")
    assert found.verdict == "fails"
    assert "PROMPTSMOOTH_SIGN_ON_FILE" in found.do


def test_what_is_off_has_no_line() -> None:
    assert list(check_issuer(None)) == []
    assert list(check_webhooks(AppSettings())) == []


@pytest.fixture
def look(tmp_path: Path) -> Callable[..., dict[str, Check]]:
    """The checks of webhooks, where keys have these default addresses."""

    def run(*urls: str | None, **settings: object) -> dict[str, Check]:
        path = tmp_path / "webhooks.toml"
        with change_webhooks(path) as found:
            for number, url in enumerate(urls):
                key_id, secrets = f"{number:08x}", (create_secret(now_utc()),)
                found[key_id] = KeyWebhooks(key_id=key_id, url=url, secrets=secrets)
        checks = check_webhooks(AppSettings(webhooks_file=path, **settings))
        return {check.name: check for check in checks}

    return run


def test_receivers_that_may_be_called_are_ok(look: Callable[..., dict[str, Check]]) -> None:
    found = look(
        "http://127.0.0.1:9000/hooks",
        None,
        webhook_receivers=("http://127.0.0.1:9000", "https://*.lab.example"),
        webhook_networks=("127.0.0.0/8",),
    )
    assert set(found) == {"webhooks", "receiver http://127.0.0.1:9000"}
    assert {check.verdict for check in found.values()} == {"ok"}


@pytest.mark.parametrize(
    ("urls", "settings", "name", "verdict", "said"),
    [
        ((), {"webhook_receivers": ("https://1.1.1.1",)}, "webhooks", "warning", "no key has"),
        ((None,), {}, "webhooks", "warning", "none may be delivered"),
        (
            ("https://1.1.1.1:8443/",),
            {"webhook_receivers": ("https://1.1.1.1",)},
            "receiver https://1.1.1.1:8443",
            "fails",
            "not allowed",
        ),
        (
            (None,),
            {"webhook_receivers": ("http://10.1.2.3",)},
            "receiver http://10.1.2.3:80",
            "fails",
            "not public",
        ),
        (
            (None,),
            {"webhook_receivers": ("https://nowhere.invalid",)},
            "receiver https://nowhere.invalid:443",
            "fails",
            "has no address",
        ),
        ((None,), {"webhook_ca": "/nonexistent/ca.pem"}, "webhooks", "fails", "ca.pem"),
    ],
)
def test_what_would_keep_a_webhook_from_its_receiver_is_said_with_what_to_do(
    look: Callable[..., dict[str, Check]],
    urls: tuple[str | None, ...],
    settings: dict[str, object],
    name: str,
    verdict: str,
    said: str,
) -> None:
    found = look(*urls, **settings)[name]
    assert (found.verdict, said in found.found) == (verdict, True), found
    assert found.do


def test_a_file_of_secrets_that_everyone_may_read_is_a_warning(
    look: Callable[..., dict[str, Check]], tmp_path: Path
) -> None:
    (tmp_path / "webhooks.toml").write_text("")
    (tmp_path / "webhooks.toml").chmod(0o644)
    found = look(None, webhook_receivers=("https://1.1.1.1",))["webhooks"]
    assert (found.verdict, "everyone" in found.found) == ("warning", True)
