"""The answer on the page: yes or no, what the radius covers, wordings compared, print, narrow."""

import csv
import io
import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2
import pytest
from asking import Check, ask, certify, choose, send, wait_for_answer
from waiting import wait_until

GOAL = "Radius that matters"


def read_canvases(page: Any) -> list[np.ndarray]:
    """The certified image, the changed one and the magnified difference, integers (H, W, 3)."""
    found = page.evaluate(
        """() => [...document.querySelectorAll(".difference canvas")].map((canvas) => {
          const {data, width, height} =
            canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return {data: [...data], width, height};
        })"""
    )
    return [np.array(one["data"]).reshape(one["height"], one["width"], 4)[..., :3] for one in found]


def test_a_goal_is_answered_with_yes_or_not_shown(
    tabs: Any, service: Any, check: Check, xray: str
) -> None:
    page = tabs.open()
    choose(page, xray)
    page.get_by_label(GOAL).fill("0.25")
    ask(page, levels=("0.1", "0.5"))
    found = service.get(f"certifications/{send(page)}")
    wait_for_answer(page)
    found = service.get(f"certifications/{found['id']}")
    assert found["goal"]["shown"]
    goal = page.locator(".goal")
    assert goal.locator(".headline").inner_text() == "Yes, holds up to 0.25"
    assert "yes" in goal.get_attribute("class").split()
    assert "Yes, holds up to 0.25" in page.locator("#answer-title").inner_text()
    assert page.locator(".goal-line text").text_content() == "goal 0.25"
    assert "The goal is 0.25" in page.locator(".radius-plot svg").get_attribute("aria-label")
    check(page, "goal-yes")

    page.goto(f"{service.url}/#/")
    ask(page, levels=("0.1",))
    found = service.get(f"certifications/{send(page)}")
    wait_for_answer(page)
    assert page.locator(".goal .headline").inner_text() == "Not shown up to 0.25"
    assert page.locator("#reach-note").count() == 0  # the goal says it now
    said = page.locator(".goal").inner_text()
    reason = service.get(f"certifications/{found['id']}")["goal"]["wordings"][0]["reason"]
    assert reason.replace("sigma 0.1", "σ\u00a00.1") in said.replace("σ 0.1", "σ\u00a00.1")
    assert "does not mean that the answer changes" in said
    check(page, "goal-not-shown")


def test_a_batch_says_for_how_many_the_goal_is_shown_and_keeps_it_in_its_table(
    tabs: Any, service: Any, check: Check, xray: str, head: str
) -> None:
    page = tabs.open()
    choose(page, xray, head)
    page.get_by_label(GOAL).fill("0.25")
    page.get_by_label("Reference (optional)").fill("study 7")
    ask(page, levels=("0.1", "0.5"))
    batch = send(page)
    page.get_by_text("2 of 2 images finished").wait_for()
    goals = [one["goal"] for one in service.get(f"batches/{batch}")["certifications"]]
    yes = sum(goal["shown"] for goal in goals)
    said = f"Holds up to 0.25: yes for {yes} of 2 finished images, not shown for {2 - yes}."
    page.get_by_text(said).wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as CSV").click()
    text = Path(download.value.path()).read_text("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    words = {True: "yes", False: "not shown"}
    assert [row["Reaches the goal"] for row in rows] == [
        words[reached] for goal in goals for reached in goal["reached"]
    ]
    assert {row["Reference"] for row in rows} == {"study 7"}
    check(page, "batch-goal")


def test_changes_are_covered_exactly_where_they_are_shorter_than_the_radius(
    tabs: Any, service: Any, check: Check, xray: str
) -> None:
    page = tabs.open()
    certification = certify(page, xray)
    page.wait_for_selector(".yardsticks tbody tr")
    found = service.get(f"certifications/{certification}")
    changes = service.get(f"certifications/{certification}/yardsticks")["yardsticks"]
    radii = [c["radius"] for c in found["certificates"] if c["outcome"] == "certified"]
    assert len(radii) == 2
    for place, radius in enumerate(radii):
        page.get_by_label("Radius to compare with").select_option(str(place))
        shown = [row.inner_text().split("\t") for row in page.locator(".yardsticks tbody tr").all()]
        for (title, length, covered), one in zip(shown, changes, strict=True):
            assert title.strip() == one["title"]
            assert float(length) == pytest.approx(math.ceil(one["l2"] * 1000 - 1e-9) / 1000)
            assert covered.strip() == ("covered" if one["l2"] < radius else "not covered")
    check(page, "yardsticks")


def test_the_change_chosen_last_is_shown_whichever_comes_last_and_a_refusal_is_said(
    tabs: Any, service: Any, xray: str
) -> None:
    page = tabs.open()
    certification = certify(page, xray)
    page.wait_for_selector(".yardsticks tbody tr")
    said = page.locator(".difference [role=status]")
    wait_until(lambda: said.inner_text() != "")
    changes = service.get(f"certifications/{certification}/yardsticks")["yardsticks"]
    _, late, quick, last, refused = changes[:5]
    page.evaluate(
        """() => {
          const said = document.querySelector(".difference [role=status]");
          window.saidSoFar = [];
          new MutationObserver(() => window.saidSoFar.push(said.textContent))
            .observe(said, {childList: true});
        }"""
    )
    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route)

    page.route(f"**/yardsticks/{late['id']}.png", hold)
    page.get_by_label(late["title"], exact=True).check()
    wait_until(lambda: page.wait_for_timeout(1) or held)
    page.get_by_label(quick["title"], exact=True).check()
    wait_until(lambda: said.inner_text().startswith(quick["title"]))
    with page.expect_event("requestfinished", lambda one: late["id"] in one.url):
        held[0].continue_()
    page.get_by_label(last["title"], exact=True).check()
    wait_until(lambda: said.inner_text().startswith(last["title"]))
    shown = page.evaluate("() => window.saidSoFar")
    assert not [text for text in shown if text.startswith(late["title"])]
    page.route(f"**/yardsticks/{refused['id']}.png", lambda route: route.abort())
    page.get_by_label(refused["title"], exact=True).check()
    page.get_by_text(f"{refused['title']} cannot be shown. The service cannot be").wait_for()


def test_a_difference_is_magnified_and_faded_with_the_keyboard_and_said(
    tabs: Any, service: Any, xray: str
) -> None:
    page = tabs.open()
    certification = certify(page, xray)
    page.get_by_label("One grey level brighter everywhere").focus()
    page.keyboard.press("Space")
    status = page.locator(".difference [role=status]")
    wait_until(lambda: "One grey level brighter" in status.inner_text())
    assert "by at most 1 of 255 grey levels" in status.inner_text()
    (one,) = (
        each
        for each in service.get(f"certifications/{certification}/yardsticks")["yardsticks"]
        if each["id"] == "one-level-brighter"
    )
    times = page.get_by_label("Magnify the difference")
    for key, factor in (("Home", 1), ("End", 64), ("ArrowLeft", 32)):
        times.focus()
        page.keyboard.press(key)
        before, after, difference = read_canvases(page)
        assert math.sqrt(((after - before) ** 2).sum()) / 255 == pytest.approx(one["l2"], abs=2e-6)
        assert np.array_equal(difference, np.clip(128 + factor * (after - before), 0, 255))
        assert times.get_attribute("aria-valuetext") == f"times {factor}"
    fade = page.get_by_label("Fade", exact=True)
    fade.focus()
    page.keyboard.press("End")
    assert fade.get_attribute("aria-valuetext") == "the changed image"
    assert page.locator(".difference canvas").nth(1).evaluate("e => e.style.opacity") == "1"


def test_a_fade_is_slow_stops_on_demand_and_is_not_offered_to_whoever_wants_no_motion(
    tabs: Any, xray: str
) -> None:
    page = tabs.open()
    certification = certify(page, xray)
    play = page.get_by_role("button", name="Fade slowly")
    play.click()
    page.evaluate(
        """() => {
          window.steps = [];
          const fade = document.querySelector(".difference input[type=range]");
          const look = (now) => (window.steps.push([now, Number(fade.value)]),
            window.steps.length < 40 && requestAnimationFrame(look));
          requestAnimationFrame(look);
        }"""
    )
    page.wait_for_function("() => window.steps.length === 40")
    steps = page.evaluate("() => window.steps")
    for (at, value), (later, other) in pairwise(steps):
        assert abs(other - value) <= 100 * (later - at) / 6000 + 2  # the whole way in six seconds
    assert len({value for _, value in steps}) > 1
    page.get_by_role("button", name="Stop").click()
    stopped = page.get_by_label("Fade", exact=True).input_value()
    page.wait_for_timeout(200)
    assert page.get_by_label("Fade", exact=True).input_value() == stopped
    page.emulate_media(reduced_motion="reduce")
    page.goto("about:blank")
    page.goto(f"{tabs.service.url}/#/certifications/{certification}")
    page.wait_for_selector(".difference canvas")
    assert page.get_by_role("button", name="Fade slowly").count() == 0
    assert page.get_by_label("Fade", exact=True).is_visible()


def test_wordings_are_compared_in_one_table_with_votes_on_one_axis(
    tabs: Any, service: Any, check: Check, xray: str
) -> None:
    page = tabs.open()
    choose(page, xray)
    page.get_by_text("Advanced", exact=True).click()
    page.get_by_label("Learned prompt bundled-2-mednist").check()
    page.get_by_label("The sentence", exact=True).check()
    ask(page, levels=("0.25", "0.5"))
    found = service.get(f"certifications/{send(page)}")
    wait_for_answer(page)
    certificates = service.get(f"certifications/{found['id']}")["certificates"]
    assert page.locator(".compared tbody th").count() == len({c["prompting"] for c in certificates})
    spans = [int(cell.get_attribute("rowspan")) for cell in page.locator(".compared td").all()]
    assert sum(spans) == len(certificates)
    merged = 0
    for place, sigma in enumerate((0.25, 0.5)):
        column = [
            (c["outcome"], c.get("prediction"), c.get("radius"))
            for c in certificates
            if c["sigma"] == sigma
        ]
        merged += 1 + sum(a != b for a, b in pairwise(column))
        assert page.locator(".compared thead th").nth(place + 1).inner_text() == f"σ {sigma}"
    assert len(spans) == merged
    details = page.locator("details.folded")
    assert details.count() == 2
    details.first.locator("summary").first.click()
    names = len(certificates[0]["class_names"])
    assert details.first.locator(".class-row").count() == names
    assert details.first.locator(".votes-bar").count() == 2 * names
    check(page, "compared")


def test_the_answer_says_that_the_model_always_chooses(tabs: Any, service: Any, xray: str) -> None:
    page = tabs.open()
    certification = certify(page, xray)
    said = page.locator(".outside").inner_text()
    names = service.get(f"certifications/{certification}")["certificates"][0]["class_names"]
    assert f"one of {len(names)} classes" in said
    assert all(name in said for name in names)


def test_a_window_that_becomes_narrow_redraws_its_charts(
    tabs: Any, check: Check, xray: str
) -> None:
    """From 1280 to 390 pixels and back, without loading the page again."""
    page = tabs.open()
    certify(page, xray)
    page.wait_for_selector(".difference canvas")

    def width() -> float:
        return float(
            page.locator(".radius-plot svg").evaluate("e => e.getBoundingClientRect().width")
        )

    wide = width()
    page.set_viewport_size({"width": 390, "height": 900})
    wait_until(lambda: width() < 390)
    root = "document.scrollingElement"
    assert page.evaluate(f"() => {root}.scrollWidth <= {root}.clientWidth")
    check(page, "turned-narrow")
    page.set_viewport_size({"width": 1280, "height": 900})
    wait_until(lambda: width() == wide)


def test_a_certification_is_purged_after_it_was_said_what_that_removes(
    tabs: Any, service: Any, check: Check, xray: str
) -> None:
    page = tabs.open()
    certification = certify(page, xray)
    page.get_by_role("button", name="Purge …").click()
    dialog = page.get_by_role("dialog", name="Purge this certification?")
    assert "Removed: the job with its reference" in dialog.inner_text()
    assert "Kept: how often this image was tried" in dialog.inner_text()
    assert page.evaluate("() => document.activeElement.textContent") == "Cancel"
    check(page, "purge")
    dialog.get_by_role("button", name="Cancel").click()
    assert service.get(f"certifications/{certification}")["status"] == "finished"
    page.get_by_role("button", name="Purge …").click()
    dialog.get_by_role("button", name="Purge it now").click()
    page.wait_for_url(re.compile("#/jobs"))
    assert service.get(f"certifications/{certification}")["code"] == "certification_unknown"


def test_an_audit_says_what_the_certificate_claims(
    tabs: Any, service: Any, check: Check, xray: str, tmp_path: Path
) -> None:
    page = tabs.open()
    certification = certify(page, xray)
    with page.expect_download() as download:
        page.get_by_role("button", name="Certificate (JSON)").click()
    kept = tmp_path / "kept.json"
    download.value.save_as(kept)
    page.goto(f"{service.url}/#/audit")
    page.set_input_files("input[type=file]", kept)
    page.wait_for_selector(".audit.holds")
    certificates = service.get(f"certifications/{certification}")["certificates"]
    rows = [row.inner_text() for row in page.locator(".audit tbody tr").all()]
    assert len(rows) == len(certificates)
    for row, one in zip(rows, certificates, strict=True):
        assert one.get("prediction", "abstained") in row
        assert str(one["sigma"]) in row
    page.get_by_text("In its own words").click()
    assert certificates[0]["statement"] in page.locator(".audit").inner_text()
    check(page, "audit-claims")
    kept.write_text(kept.read_text().replace('"radius":', '"radius":9', 1))
    page.set_input_files("input[type=file]", kept)
    page.wait_for_selector(".audit.fails")
    assert "the audit does not confirm" in page.locator(".audit").inner_text()


def test_paper_has_all_rows_and_what_is_folded(tabs: Any, service: Any, xray: str) -> None:
    page = tabs.open()
    certification = certify(page, xray)
    page.wait_for_selector(".yardsticks tbody tr", state="attached")  # it comes after the answer
    folded = page.locator("#content details:not([open])").count()
    assert folded > 0
    document = pypdfium2.PdfDocument(page.pdf())
    text = " ".join(" ".join(sheet.get_textpage().get_text_range() for sheet in document).split())
    found = service.get(f"certifications/{certification}")
    for one in found["certificates"]:
        assert one["statement"] in text
    assert found["input"]["sha256"] in text.replace(" ", "")
    for each in service.get(f"certifications/{certification}/yardsticks")["yardsticks"]:
        assert each["title"] in text
    wait_until(lambda: page.locator("#content details:not([open])").count() == folded)


def test_an_example_abstains_and_says_what_that_is(tabs: Any, service: Any, check: Check) -> None:
    """Of 2,400 noisy copies of it 49.5 % were of one class and 49.4 % of another.

    Were the gap as large as 4 in 100, a thousand votes would still claim a class no more than once
    in a thousand rolls: the rank check needs 4.4 standard deviations, and that gap is 1.3.
    """
    page = tabs.open()
    page.wait_for_selector(".examples button")
    page.get_by_role("button", name="abstains").click()
    page.wait_for_selector(".preview img")
    page.get_by_label("Effort").select_option("1000")
    (entry,) = service.get(f"certifications/{send_and_wait(page)}")["certificates"]
    assert (entry["outcome"], entry["prompting"]) == ("abstained", "few-shot")
    verdict = page.locator(".verdict")
    assert verdict.locator(".prediction").inner_text() == "No claim"
    assert "the answer was not constant enough" in verdict.inner_text()
    check(page, "example-abstains")


def send_and_wait(page: Any) -> str:
    certification = send(page)
    wait_for_answer(page)
    return certification
