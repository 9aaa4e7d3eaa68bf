"""Signing in at a real provider (oidc-provider from npm), on the page and on the API.

The provider runs in Node, with keys and a sign-in page of its own.
"""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import tomli_w
from ports import find_free_port
from waiting import HANG_S, wait_until

MODULES = Path(__file__).parents[2] / "build" / "sign-on"
PROGRAM = Path(__file__).parent / "issuer.mjs"
AUDIENCE = "urn:promptsmooth"


@dataclass(kw_only=True)
class Provider:
    """The provider as a program that can be stopped."""

    port: int
    page: str
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        shutil.copy(PROGRAM, MODULES / PROGRAM.name)  # Node finds modules beside the program
        command = ["node", PROGRAM.name, str(self.port), self.page, AUDIENCE]
        with (self.folder / "issuer.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=MODULES, stdout=log, stderr=log)
        wait_until(self._answers, say=(self.folder / "issuer.log").read_text)

    def _answers(self) -> bool:
        with suppress(httpx2.TransportError):
            well_known = f"{self.url}/.well-known/openid-configuration"
            return httpx2.get(well_known, trust_env=False).status_code == 200
        return False

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(HANG_S)

    def give_token(self) -> str:
        """The token of a program, by its client's credentials."""
        form = {"grant_type": "client_credentials", "resource": AUDIENCE}
        answer = httpx2.post(
            f"{self.url}/token", data=form, auth=("program", "of-the-program"), trust_env=False
        )
        token: str = answer.raise_for_status().json()["access_token"]
        return token


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    if not (MODULES / "node_modules" / "oidc-provider").is_dir():
        pytest.skip("oidc-provider is not installed (make build/sign-on/installed; needs npm)")
    folder, own = tmp_path_factory.mktemp("issuer"), find_free_port()
    running = Provider(port=find_free_port(), page=f"http://127.0.0.1:{own}/", folder=folder)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def signing_in(
    provider: Provider,
    models_folder: Path,
    create_service: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Any]:
    """A service whose people sign in at the provider, at the port of its redirect address."""
    folder = tmp_path_factory.mktemp("signing-in")
    file = folder / "sign-on.toml"
    fields = {
        "issuer": provider.url,
        "client_id": "page",
        "audience": [AUDIENCE],
        "groups": {"laboratory": ["submit", "read"]},
        "request": {"resource": AUDIENCE},
        "keys_cache": str(folder / "issuer-keys.json"),
    }
    file.write_text(tomli_w.dumps(fields))
    port = int(provider.page.rsplit(":", 1)[1].strip("/"))
    service = create_service(
        folder=folder,
        port=port,
        models=models_folder,
        settings={"PROMPTSMOOTH_SIGN_ON_FILE": str(file)},
    )
    service.start()
    yield service
    service.stop()


@pytest.fixture
def page(chromium: Any, signing_in: Any, provider: Provider) -> Iterator[Any]:
    """A tab that reaches the service and the provider and nothing else."""
    context = chromium.new_context()
    ours = (f"{signing_in.url}/", f"{provider.url}/", "blob:")

    def only_ours(route: Any) -> None:
        route.continue_() if route.request.url.startswith(ours) else route.abort()

    context.route("**/*", only_ours)
    tab = context.new_page()
    tab.set_default_timeout(1000 * HANG_S)
    yield tab
    context.close()


def sign_in(page: Any, name: str) -> None:
    """At the provider's own page, where any password does."""
    page.get_by_role("button", name="Sign in with your organisation").click()
    page.locator("input[name=login]").fill(name)
    page.locator("input[name=password]").fill("any")
    page.locator("button[type=submit]").click()
    page.get_by_role("button", name="Continue").click()


def test_a_person_signs_in_certifies_and_leaves_no_token_in_the_browser(
    page: Any, signing_in: Any, xray: str, check: Any
) -> None:
    asked: list[Any] = []
    page.on("request", lambda request: asked.append(request))
    page.goto(f"{signing_in.url}/#/jobs")
    page.get_by_role("dialog").wait_for()
    sign_in(page, "ann")
    page.get_by_role("button", name="Sign out").wait_for()
    assert page.url == f"{signing_in.url}/#/jobs", "where she was, without the code"
    page.get_by_role("link", name="Certify", exact=True).click()
    page.wait_for_selector("form.certify")
    page.set_input_files("form.certify input[type=file]", xray)
    page.get_by_label("Effort").select_option("1000")
    page.locator("form.certify button[type=submit]").click()
    page.wait_for_selector(".verdict")
    (token,) = {
        found.removeprefix("Bearer ")
        for request in asked
        if (found := request.headers.get("authorization", "")).startswith("Bearer ")
    }
    assert token.count(".") == 2
    assert not [request.url for request in asked if token in request.url]
    stores = "() => JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
    assert page.evaluate(stores) == '[{},{},""]'
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("dialog").wait_for()


def test_a_person_of_no_group_is_told_so(page: Any, signing_in: Any) -> None:
    page.goto(signing_in.url)
    page.get_by_role("dialog").wait_for()
    sign_in(page, "bob")
    page.get_by_text("none of your groups may use this service").wait_for()


def test_who_changes_their_mind_at_the_provider_comes_back_to_the_dialog(
    page: Any, signing_in: Any
) -> None:
    page.goto(signing_in.url)
    page.get_by_role("dialog").wait_for()
    page.get_by_role("button", name="Sign in with your organisation").click()
    page.get_by_role("link", name="Cancel").click()
    page.get_by_text("did not sign you in (access_denied)").wait_for()
    assert "?" not in page.url


def test_an_answer_that_this_tab_did_not_ask_for_signs_nobody_in(
    page: Any, signing_in: Any
) -> None:
    page.goto(f"{signing_in.url}/?code=stolen&state=of-another")
    page.get_by_text("belongs to another tab").wait_for()
    assert "stolen" not in page.url


def test_a_program_certifies_with_its_token_also_while_the_provider_is_away(
    provider: Provider, signing_in: Any, xray: str
) -> None:
    token = provider.give_token()
    headers = {"Authorization": f"Bearer {token}", "Prefer": "wait=30"}

    def certify(service: Any, sigma: str) -> Any:
        with Path(xray).open("rb") as file:
            form = {"files": {"image": file}, "data": {"sigma": sigma, "n_max": "64"}}
            url = f"{service.url}/certify"
            answer = httpx2.post(url, headers=headers, trust_env=False, timeout=HANG_S, **form)
        assert answer.status_code in (200, 202), answer.text
        place = answer.json()["links"]["self"]

        def ended() -> Any:
            found = httpx2.get(service.url + place, headers=headers, trust_env=False).json()
            return found if found["status"] == "finished" else None

        return wait_until(ended)

    assert certify(signing_in, "0.25")["certificates"]
    provider.stop()
    try:
        assert certify(signing_in, "0.5")["certificates"]
        signing_in.stop()
        signing_in.start()  # and a service that starts meanwhile: the keys are kept in a file
        assert certify(signing_in, "1")["certificates"]
    finally:
        provider.start()
