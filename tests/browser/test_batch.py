"""Images sent together: one that cannot be used, and the table that is kept."""

import csv
import io
from pathlib import Path
from typing import Any

from asking import Check, ask, choose, send


def test_batch_names_the_image_that_cannot_be_used_and_certifies_the_others(
    tabs: Any, service: Any, check: Check, data_folder: Path, xray: str, head: str
) -> None:
    page = tabs.open()
    choose(page, head, str(data_folder / "odd_formats" / "bad" / "html_as.png"), xray)
    ask(page, levels=("0.25",))
    batch = send(page)
    page.get_by_text("2 of 3 images finished, 1 could not be used").wait_for()
    check(page, "batch-refused")
    rows = [row.inner_text() for row in page.locator("tbody tr").all()]
    for row, words in zip(rows, (Path(head).name, "html_as.png", Path(xray).name), strict=True):
        assert words in row
    assert "head CT" in rows[0]
    assert "refused" in rows[1]
    assert "Expected a PNG" in rows[1]
    assert "chest X-ray" in rows[2]
    assert page.get_by_role("button", name="Cancel the rest").is_hidden()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as CSV").click()
    text = Path(download.value.path()).read_text("utf-8-sig")
    kept = list(csv.DictReader(io.StringIO(text)))
    shown = [one["input"]["sha256"] for one in service.get(f"batches/{batch}")["certifications"]]
    assert [row["Image SHA-256"] for row in kept] == [shown[0], "", shown[1]]
    assert "Expected a PNG" in kept[1]["Problem"]

    page.go_back()
    page.wait_for_selector("form.certify")
    assert page.locator(".files li").count() == 3 + 1  # and the line that removes all
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_role("link", name="Jobs", exact=True).click()
    row = page.locator("tr.batch").first
    row.get_by_text("3 of 3 images ended, 1 refused").wait_for()
    row.get_by_role("button").click()
    opened = page.locator("tr.of-batch", has_text=Path(xray).name)
    assert "chest X-ray" in opened.inner_text()
    assert len([url for url in asked if "certifications?" in url]) == 1


def test_table_that_is_kept_runs_no_formula_wherever_it_is_opened(tabs: Any) -> None:
    """A cell begins with no sign of a formula, whichever of three signs a country separates by."""
    evil = ["=1+1", " =1+1", "a;=1+1", "a\t=1+1", "+1", "-1", "@x", "\uff1d1", 'a";=1+1', "\r=1"]
    page = tabs.open()
    text = page.evaluate(
        "(cells) => import('./static/page/elements/table.js')"
        ".then((m) => m.toCsv([cells, [-1, null]]))",
        evil,
    )
    assert text.startswith("\ufeff")
    for separator in ",;\t":
        for row in csv.reader(io.StringIO(text[1:], newline=""), delimiter=separator):
            cells = [cell.lstrip("\r\n\t ") for cell in row]
            assert not [c for c in cells if c[:1] in "=+@\uff1d" and c], (separator, row)
    read = next(csv.reader(io.StringIO(text[1:], newline="")))
    assert [cell.replace("'", "") for cell in read] == evil
    assert text.endswith("\r\n-1,\r\n")
