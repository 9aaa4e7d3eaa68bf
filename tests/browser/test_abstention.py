"""Abstentions on the page, of one image and in a batch."""

import csv
import io
from pathlib import Path
from typing import Any

from asking import Check, ask, certify, choose, send
from boundary_images import create_boundary_image


def test_abstention_is_neither_a_class_nor_an_error(
    tabs: Any, check: Check, linear: Any, picture: Any
) -> None:
    """At distance 0 from the plane half of the votes fall on either side, whatever the noise."""
    divided = picture(create_boundary_image(linear, distance=0))
    page = tabs.open()
    page.wait_for_selector("form.certify")
    page.get_by_label("Model", exact=True).select_option("linear")
    certify(page, divided, levels=("0.5", "1"))
    verdict = page.locator(".verdict")
    assert "abstained" in verdict.get_attribute("class")
    assert verdict.locator(".prediction").inner_text() == "No claim"
    assert not {"above", "below"} & set(verdict.inner_text().split())
    assert page.locator(".certified, .problem:visible, .tag.failed").count() == 0
    chart = page.locator(".radius-plot svg").get_attribute("aria-label")
    assert chart.count("abstained") == 2
    assert page.locator(".radius-plot .abstention").count() == 2
    assert page.locator(".radius-plot .point").count() == 0
    assert "no radius to show" in page.locator("#content").inner_text()
    check(page, "abstained")


def test_a_batch_names_abstentions_apart_from_answers_and_in_its_table(
    tabs: Any, check: Check, linear: Any, picture: Any
) -> None:
    divided = picture(create_boundary_image(linear, distance=0))
    near = picture(create_boundary_image(linear, distance=0.05))
    page = tabs.open()
    page.wait_for_selector("form.certify")
    page.get_by_label("Model", exact=True).select_option("linear")
    choose(page, divided, near)
    ask(page, levels=("0.1", "1"), alpha="1e-9")  # by chance 0.001 claims a class at level 1 too
    send(page)
    page.get_by_text("2 of 2 images finished").wait_for()
    check(page, "batch")
    page.get_by_role("button", name="Radius").click()
    page.get_by_role("button", name="Radius").click()
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("Radius")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert [r["Outcome"] for r in rows] == ["certified", *["abstained"] * 3]
    assert rows[0]["Prediction"] in linear.class_names
    assert all(r["Radius"] == r["Prediction"] == "" for r in rows[1:])
