"""Signing in: the key is in the memory of a tab, in a header, and nowhere else."""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def key(service: Any) -> Any:
    """The key of a service that had none; it is taken away again, and the service is open."""
    made = service.run("keys", "add", "--label", "page")
    yield made
    (service.folder / "data" / "keys.toml").unlink()


def test_key_is_asked_for_and_kept_in_the_memory_of_the_tab_alone(
    tabs: Any, service: Any, check: Callable[[Any, str], None], key: str, xray: str
) -> None:
    asked: list[Any] = []
    page = tabs.open()
    page.on("request", lambda request: asked.append(request))
    page.get_by_role("dialog").wait_for()
    check(page, "sign-in")
    page.get_by_label("API key").fill("not-a-key")
    page.get_by_role("button", name="Sign in").last.click()
    page.locator("#key-problem:not(:empty)").wait_for()
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").last.click()
    page.wait_for_selector("form.certify")

    page.set_input_files("form.certify input[type=file]", xray)
    page.get_by_label("Effort").select_option("1000")
    page.locator("form.certify button[type=submit]").click()
    page.wait_for_selector(".verdict", timeout=120_000)
    page.wait_for_selector(".case-image img")

    assert any(key in (r.headers.get("authorization") or "") for r in asked)
    assert any("/events" in r.url for r in asked)
    assert not [r.url for r in asked if key in r.url]
    stores = "() => JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])"
    assert key not in page.evaluate(stores)
    assert key not in page.content()
    page.reload()
    page.get_by_role("dialog").wait_for()  # a tab that is loaded again has forgotten it
