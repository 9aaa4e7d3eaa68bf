"""A certification on the page, from an image to an answer, and what can come between."""

import json
import re
from pathlib import Path
from typing import Any

from asking import Check, ask, choose, send, wait_for_answer
from boundary_images import create_boundary_image
from pydicom.data import get_testdata_file


def test_a_certificate_goes_on_from_the_page_and_leads_back_to_the_first(
    tabs: Any, service: Any, check: Check, xray: str
) -> None:
    page = tabs.open()
    choose(page, xray)
    ask(page, levels=("0.1",))  # almost every sample votes alike, so that no look ends a part early
    page.get_by_text("Advanced", exact=True).click()
    page.get_by_label("More samples later").select_option("10000")
    page.get_by_label("Tolerance").fill("0")
    first = send(page)
    wait_for_answer(page)
    page.get_by_role("button", name="Go on, up to 2,000 samples").click()
    back = page.get_by_role("link", name="goes on from an earlier certificate")
    back.wait_for()
    wait_for_answer(page)
    check(page, "continued")
    found = service.get(f"certifications/{page.url.rsplit('/', 1)[1]}")
    (entry,) = found["certificates"]
    assert (found["continues"], entry["continuations"], entry["n_used"]) == (first, 1, 2000)
    back.click()
    page.wait_for_url(re.compile(first))
    page.get_by_role("button", name="Go on, up to 2,000 samples").wait_for()


def test_a_witness_is_looked_for_on_request_and_shown_with_its_distances(
    tabs: Any, service: Any, check: Check, linear: Any, picture: Any
) -> None:
    """The truth, which geometry gives, lies between what is proved and what was changed."""
    image = create_boundary_image(linear, distance=0.12)
    page = tabs.open()
    choose(page, picture(image))
    page.get_by_label("Model", exact=True).select_option("linear")
    ask(page, levels=("0.25",), alpha="1e-7")  # at 0.001 one radius in a thousand is beyond
    certification = send(page)
    wait_for_answer(page)
    lost: list[str] = []

    def lose_first(route: Any) -> None:
        if route.request.method == "GET" and not lost:
            lost.append(route.request.url)
            route.abort()
        else:
            route.continue_()

    page.route(f"**/{certification}/witness", lose_first)
    page.get_by_role("button", name="Look for a change").click()
    page.get_by_text("No search proves a distance safe.").wait_for()
    assert len(lost) == 1
    check(page, "witness")
    (one,) = service.get(f"certifications/{certification}/witness")["witnesses"]
    truth = linear.distance(image)
    assert one["radius"] <= truth <= one["undefended"]["distance"]
    assert page.get_by_text(one["statement"]).count() >= 1
    shown = page.locator("figure", has_text=f"{one['undefended']['distance']:.6f}")
    shown.locator("img").wait_for()
    page.reload()  # asked again, the same is shown
    page.get_by_role("button", name="Look for a change").click()
    page.get_by_text(one["statement"]).first.wait_for()


def test_image_to_answer_without_a_layout_jump_and_back_through_audit(
    tabs: Any, service: Any, check: Check, xray: str, tmp_path: Path
) -> None:
    page = tabs.open()
    page.wait_for_selector("form.certify")
    assert page.locator("#sign-in").is_hidden()  # this service has no keys
    check(page, "certify-empty")
    choose(page, get_testdata_file("CT_small.dcm"), xray)
    page.wait_for_selector(".preview img")
    check(page, "certify-images")
    page.get_by_role("button", name="Remove CT_small.dcm").click()
    ask(page, effort="10000", levels=("0.5",))
    certification = send(page)
    page.wait_for_selector(".progress .bound:not(:empty)")
    page.evaluate("() => (window.shifts = [])")
    check(page, "progress")
    page.wait_for_selector(".verdict")
    shifts = [one for one in page.evaluate("() => window.shifts") if one["progress"]]
    assert sum(one["value"] for one in shifts) < 0.01, shifts
    check(page, "answer")

    found = service.get(f"certifications/{certification}")
    best = max(found["certificates"], key=lambda c: c.get("radius", -1))
    assert page.locator(".prediction").inner_text() == best["prediction"] == "chest X-ray"
    assert page.locator(".statement blockquote").inner_text() == best["statement"]
    assert "that the answer is the right diagnosis" in page.locator(".limits").inner_text()
    assert "Answer: chest X-ray" in page.locator("#live").inner_text()

    with page.expect_download() as pdf:
        page.get_by_role("button", name="Report (PDF)").click()
    assert Path(pdf.value.path()).read_bytes().startswith(b"%PDF-")
    with page.expect_download() as document:
        page.get_by_role("button", name="Certificate (JSON)").click()
    kept = tmp_path / "certificate.json"
    document.value.save_as(kept)

    page.goto(f"{service.url}/#/audit")
    page.set_input_files("input[type=file]", kept)
    page.wait_for_selector(".audit.holds")
    check(page, "audit-holds")
    changed = json.loads(kept.read_text())
    changed["certificates"][-1]["radius"] += 1
    kept.write_text(json.dumps(changed))
    page.set_input_files("input[type=file]", kept)
    page.wait_for_selector(".audit.fails")
    check(page, "audit-fails")
    kept.write_text("not JSON")
    page.set_input_files("input[type=file]", kept)
    page.get_by_text("This file is not a certificate").wait_for()


def test_cancelled_certification_claims_nothing(tabs: Any, check: Check, head: str) -> None:
    page = tabs.open()
    choose(page, head)
    ask(page, effort="100000")
    send(page)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("heading", name="Cancelled").wait_for()
    assert page.locator(".verdict").count() == 0
    assert "Nothing is claimed" in page.locator(".ending").inner_text()
    check(page, "cancelled")


def test_certification_goes_on_where_it_was_when_the_service_is_started_again(
    tabs: Any, service: Any, check: Check, head: str
) -> None:
    page = tabs.open()
    choose(page, head)
    ask(page, effort="100000", levels=("0.5", "1"))
    certification = send(page)
    page.wait_for_function(
        "() => parseInt(document.querySelector('.progress .done')?.textContent) > 0"
    )
    service.stop()
    page.get_by_text("The service does not answer at the moment").wait_for()
    check(page, "away")
    done = service_samples(page)
    service.start()
    page.wait_for_function(
        "(done) => document.querySelector('.verdict') || parseInt(document.querySelector("
        "'.progress .done')?.textContent.replaceAll(',', '')) > done",
        arg=done,
    )
    assert not page.get_by_text("The service does not answer").is_visible()
    if page.locator(".progress").count():
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("heading", name="Cancelled").wait_for()
    assert service.get(f"certifications/{certification}")["status"] in ("cancelled", "finished")


def service_samples(page: Any) -> int:
    text = page.locator(".progress .done").inner_text()
    return int(text.split(" ")[0].replace(",", ""))


def test_two_tabs_each_show_their_own_answer(tabs: Any, service: Any, xray: str, head: str) -> None:
    pages = [tabs.open(), tabs.open()]
    for page, file in zip(pages, (xray, head), strict=True):
        choose(page, file)
        ask(page)
    ids = [send(page) for page in pages]
    for page, certification, file in zip(pages, ids, (xray, head), strict=True):
        wait_for_answer(page)
        found = service.get(f"certifications/{certification}")
        best = max(found["certificates"], key=lambda c: c.get("radius", -1))
        assert page.locator("h1").inner_text() == Path(file).name
        assert page.locator(".statement blockquote").inner_text() == best["statement"]
    stranger = tabs.open(f"certifications/{ids[0]}")
    wait_for_answer(stranger)
    assert stranger.locator("h1").inner_text() == "Certification"  # names of files stay in a tab
