"""The page for everybody: slow lines, narrow windows, dark colours and the keyboard."""

from typing import Any

import pytest
from asking import Check, certify, wait_for_answer
from waiting import wait_until

FIRST_PAINT_BYTES = 200_000
SECTIONS = ("", "jobs", "audit", "prompts", "models")


def test_first_paint_takes_less_than_200_kb(tabs: Any, service: Any) -> None:
    page = tabs.open()
    page.wait_for_selector("form.certify")
    session = page.context.new_cdp_session(page)
    received: list[int] = []
    session.on("Network.loadingFinished", lambda e: received.append(e["encodedDataLength"]))
    session.send("Network.enable")
    session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    page.reload()
    page.wait_for_selector("form.certify")
    page.wait_for_load_state("networkidle")
    assert len(received) > 10
    assert sum(received) < FIRST_PAINT_BYTES


@pytest.mark.parametrize("width", [640, 390], ids=["at 200 % zoom", "on a telephone"])
def test_nothing_is_cut_off_when_the_page_is_narrow(
    tabs: Any, service: Any, check: Check, xray: str, width: int
) -> None:
    page = tabs.open(width=width)
    certification = certify(page, xray)
    for section in (*SECTIONS, f"certifications/{certification}"):
        page.goto(f"{service.url}/#/{section}")
        page.wait_for_selector("#content h1")
        page.wait_for_timeout(500)
        root = "document.scrollingElement"
        assert page.evaluate(f"() => {root}.scrollWidth <= {root}.clientWidth"), section
        check(page, f"narrow-{width}-{section.split('/')[0] or 'certify'}")


def test_dark_colours_have_contrast_in_every_section(
    tabs: Any, service: Any, check: Check, xray: str
) -> None:
    page = tabs.open(dark=True)
    certification = certify(page, xray)
    for section in (*SECTIONS, f"certifications/{certification}"):
        page.goto(f"{service.url}/#/{section}")
        page.wait_for_selector("#content h1")
        page.wait_for_timeout(500)
        check(page, f"dark-{section.split('/')[0] or 'certify'}")


def test_whole_way_can_be_gone_with_the_keyboard(tabs: Any, xray: str) -> None:
    page = tabs.open()
    page.wait_for_selector("form.certify")
    assert page.locator("nav [aria-current=page]").inner_text() == "Certify"
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.className") == "skip"
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.type") == "file":
            break
    choosers: list[Any] = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))

    def choose_file() -> bool:
        assert page.evaluate("() => document.activeElement.type") == "file"
        page.keyboard.press("Space")
        page.wait_for_timeout(500)  # a busy Chromium may drop a key, as it does for a person
        return bool(choosers)

    wait_until(choose_file)
    choosers[0].set_files(xray)
    page.get_by_label("Effort").focus()
    page.keyboard.press("Home")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.type") == "submit":
            break
    page.keyboard.press("Enter")
    wait_for_answer(page)
    assert page.evaluate("() => document.activeElement.tagName") != "BODY"
