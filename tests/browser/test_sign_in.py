"""Signing in: the key is in the memory of a tab, in a header, and nowhere else."""

from typing import Any

import pytest
from asking import Check
from waiting import wait_until


@pytest.fixture
def key(service: Any) -> Any:
    """The first key of a service that had none. From then on it asks for keys until it ends, so
    this file's tests come last."""
    return service.run("keys", "add", "--label", "page")


def test_key_is_asked_for_and_kept_in_the_memory_of_the_tab_alone(
    tabs: Any, service: Any, check: Check, key: str, xray: str
) -> None:
    asked: list[Any] = []
    page = tabs.open()
    page.on("request", lambda request: asked.append(request))
    page.get_by_role("dialog").wait_for()
    check(page, "sign-in")
    assert page.locator("#key-problem").inner_text() == ""  # nothing was wrong yet
    page.get_by_label("API key").fill("not-a-key")
    page.get_by_role("button", name="Sign in").last.click()
    page.locator("#key-problem:not(:empty)").wait_for()
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").last.click()
    page.wait_for_selector("form.certify")

    page.set_input_files("form.certify input[type=file]", xray)
    page.get_by_label("Effort").select_option("1000")
    page.locator("form.certify button[type=submit]").click()
    page.wait_for_selector(".verdict")
    page.wait_for_selector(".case-image img")

    assert any(key in (r.headers.get("authorization") or "") for r in asked)
    assert any("/events" in r.url for r in asked)
    assert not [r.url for r in asked if key in r.url]
    stores = "() => JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])"
    assert key not in page.evaluate(stores)
    assert key not in page.content()
    service.run("keys", "revoke", key.split("_")[1])
    refused = {"headers": {"authorization": f"Bearer {key}"}}
    asked_again = page.context.request
    wait_until(lambda: asked_again.get(f"{service.url}/models", **refused).status == 401)
    page.evaluate("() => { location.hash = '#/models' }")  # the page may have seen it before
    page.get_by_text("The service does not accept this key any more").wait_for()
    page.reload()
    page.get_by_role("dialog").wait_for()  # a tab that is loaded again has forgotten it
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Enter a key").click()
    page.get_by_role("dialog").wait_for()
