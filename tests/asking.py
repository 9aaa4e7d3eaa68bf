"""How a person asks on the page: images, effort, noise levels, send."""

import re
from collections.abc import Callable
from typing import Any

Check = Callable[[Any, str], None]
"""The fixture `check`: looks at a state of the page, which it names."""


def choose(page: Any, *files: str) -> None:
    page.wait_for_selector("form.certify")
    page.set_input_files("form.certify input[type=file]", list(files))


def ask(
    page: Any,
    *,
    effort: str = "1000",
    levels: tuple[str, ...] = ("0.25", "0.5"),
    alpha: str | None = None,
) -> None:
    """Effort, noise levels and, where it is named, alpha; everything else as it stands."""
    if alpha is not None:
        page.get_by_text("Advanced", exact=True).click()
        page.get_by_label("Error probability α").fill(alpha)
    page.get_by_label("Effort").select_option(effort)
    for level in ("0.1", "0.25", "0.5", "1"):
        box = page.locator(f"label.chip input[value='{level}']")
        box.set_checked(level in levels)


def send(page: Any) -> str:
    """Sends what was asked; the id of the certification or batch."""
    page.locator("form.certify button[type=submit]").click()
    page.wait_for_url(re.compile(r"#/(certifications|batches)/"))
    return str(page.url.rsplit("/", 1)[1])


def wait_for_answer(page: Any) -> None:
    page.wait_for_selector(".verdict")


def certify(page: Any, *files: str, **asked: Any) -> str:
    choose(page, *files)
    ask(page, **asked)
    certification = send(page)
    wait_for_answer(page)
    return certification
