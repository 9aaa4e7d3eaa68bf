"""The page in a language that a lab has added, as docs/page.md tells it to."""

import json
from pathlib import Path
from typing import Any

from asking import certify

from tools.check_page_words import WEB, read_messages

STRINGS = WEB / "page" / "strings"
NEVER_THE_SERVICES = "nav a, h1, .lead, legend, summary, .actions button, table.rows th"
UNTRANSLATED = "audit.title"


def translate(path: Path) -> str:
    """Every sentence in brackets, but one, which English has to stand in for."""
    messages = {
        key: forms[0] if len(forms) == 1 else dict(zip(("one", "other"), forms, strict=True))
        for key, forms in read_messages(path).items()
        if key != UNTRANSLATED
    }
    text = json.dumps(messages, ensure_ascii=False).replace("\\\\u", "\\u")
    for key, forms in read_messages(path).items():
        for form in {*forms} - {""} if key != UNTRANSLATED else ():
            text = text.replace(f'"{form}"', f'"⟦{form}⟧"')
    return f"export default {text};"


def add_german(page: Any) -> None:
    """Serves the two files that a lab would have written, and loads the page again."""
    files = {
        "languages.js": 'export const TRANSLATIONS = ["de"];',
        "de.js": translate(STRINGS / "en.js"),
    }

    def serve(route: Any) -> None:
        name = route.request.url.rsplit("/", 1)[1]
        route.fulfill(body=files[name], content_type="text/javascript; charset=utf-8")

    for name in files:
        page.context.route(f"**/strings/{name}", serve)
    page.reload()


def test_who_reads_german_gets_the_labs_german(tabs: Any, service: Any, xray: str) -> None:
    page = tabs.open(locale="de-CH")
    page.wait_for_selector("form.certify")
    add_german(page)
    page.wait_for_selector("form.certify")
    assert page.evaluate("() => document.documentElement.lang") == "de"
    certification = certify(page, xray)
    for section in ("", "jobs", "prompts", "models", f"certifications/{certification}"):
        page.goto(f"{service.url}/#/{section}")
        page.wait_for_selector("#content h1, #content table, #content .case")
        page.wait_for_timeout(500)
        for text in page.locator(NEVER_THE_SERVICES).all_inner_texts():
            assert "⟦" in text or text in ("", Path(xray).name), text
        assert page.evaluate("() => document.title").startswith("⟦")
    page.wait_for_selector(".difference [role=status]:not(:empty)")
    assert "4.096" in page.locator(".difference [role=status]").inner_text()


def test_english_stands_in_for_what_is_not_translated(tabs: Any) -> None:
    page = tabs.open("audit", locale="de")
    page.wait_for_selector("h1")
    add_german(page)
    page.wait_for_selector("h1")
    assert page.locator("h1").inner_text() == read_messages(STRINGS / "en.js")[UNTRANSLATED][0]
    assert page.locator(".lead").inner_text().startswith("⟦")


def test_who_reads_a_language_that_nobody_added_gets_english(tabs: Any) -> None:
    page = tabs.open(locale="fr")
    page.wait_for_selector("form.certify")
    assert page.evaluate("() => document.documentElement.lang") == "en"
    assert page.locator("nav a").first.inner_text() == "Certify"
