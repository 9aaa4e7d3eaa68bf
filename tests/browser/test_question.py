"""What is asked on the page: examples, frames, windows, and what is said before it is sent."""

import shutil
from pathlib import Path
from typing import Any

from asking import Check, ask, choose, send, wait_for_answer
from waiting import wait_until


def test_a_radius_that_the_samples_cannot_prove_is_said_before_sending(
    tabs: Any, service: Any, xray: str
) -> None:
    """With the figure that the service answers."""
    page = tabs.open()
    choose(page, xray)
    ask(page, levels=("0.1", "1"))
    note = page.locator("form.certify p.note[role=status]")
    assert note.inner_text() == ""
    page.get_by_label("Radius that matters").fill("0.3")
    wait_until(lambda: "σ" in note.inner_text())
    shown = note.inner_text().replace("\u00a0", " ").replace("σ", "sigma")
    answered = service.get(f"certifications/{send(page)}")["note"]
    assert "the goal is 0.3." in shown
    assert shown == answered
    page.goto(f"{service.url}/#/")
    wait_until(lambda: "σ" in note.inner_text())  # the question is there as it was
    page.get_by_label("Radius that matters").fill("0.2")
    wait_until(lambda: note.inner_text() == "")


def test_a_host_that_changes_its_state_changes_nothing_that_was_typed(
    tabs: Any, service: Any, xray: str
) -> None:
    page = tabs.open()
    choose(page, xray)
    ask(page, levels=("0.1", "1"))
    radius = page.get_by_label("Radius that matters")
    radius.fill("0.3")
    page.goto(f"{service.url}/#/audit")
    radius.wait_for(state="detached")

    def stop_hosts(route: Any) -> None:
        answer = route.fetch()
        found = answer.json()
        for host in (host for model in found["models"] for host in model["hosts"]):
            host |= {"state": "unusable", "detail": "Its memory is gone."}
        route.fulfill(response=answer, json=found)

    page.route("**/models", stop_hosts)
    page.goto(f"{service.url}/#/")
    page.locator("form.certify p.problem[role=status]", has_text="Its memory is gone").wait_for()
    assert radius.input_value() == "0.3"
    assert page.locator(".files li").count() == 1


def test_an_example_is_asked_for_with_one_click(tabs: Any, service: Any, check: Check) -> None:
    """Its class is among the classes, and the sentence and the prompt are compared."""
    page = tabs.open()
    page.wait_for_selector(".examples button")
    check(page, "examples")
    for button in page.locator(".examples button").all():
        button.click()
        page.wait_for_selector(".preview img")
        name = button.locator("strong").text_content()
        assert page.get_by_label("Classes").input_value().split("\n").count(name) == 1
        assert page.evaluate("() => document.activeElement.closest('.files') !== null")
        page.get_by_role("button", name="Remove").click()
        assert page.evaluate("() => document.activeElement.type") == "file"
    page.locator(".examples button").first.click()
    ask(page, levels=("0.25",))
    page.wait_for_selector(".preview img")
    certification = send(page)
    wait_for_answer(page)
    certificates = service.get(f"certifications/{certification}")["certificates"]
    promptings = sorted(one["prompting"] for one in certificates)
    assert promptings == ["few-shot", "few-shot+zero-shot", "template"]


def test_what_is_chosen_while_an_example_arrives_stays(tabs: Any, data_folder: Path) -> None:
    page = tabs.open()
    examples = page.locator(".examples button")
    examples.first.wait_for()
    held: list[Any] = []
    page.route("**/static/examples/*.dcm", lambda route: held.append(route))
    wrapped = examples.filter(has_text="wrapped as DICOM")
    with page.expect_request("**/static/examples/*.dcm"):
        wrapped.click()
    ask(page, levels=("1",))
    page.get_by_label("Reference").focus()
    held.pop().continue_()
    page.wait_for_selector(".files li")
    assert page.evaluate("() => document.activeElement.type") == "text"
    ticked = page.locator("label.chip input:checked").all()
    assert [one.get_attribute("value") for one in ticked] == ["1"]
    page.get_by_role("button", name="Remove").click()
    with page.expect_request("**/static/examples/*.dcm"):
        wrapped.click()
    ours = data_folder / "odd_formats" / "good" / "emri_small_jpeg_2k_lossless.dcm"
    choose(page, str(ours))
    held.pop().continue_()
    page.wait_for_selector(".preview img")
    assert page.locator(".files li").count() == 1
    assert ours.name in page.locator(".files").inner_text()


def test_an_example_that_does_not_come_is_said(tabs: Any) -> None:
    page = tabs.open()
    page.route("**/static/examples/*.jpeg", lambda route: route.abort())
    page.locator(".examples button", has_text="a radiograph").click()
    page.locator(".actions .problem", has_text="did not send this example").wait_for()
    assert page.locator(".files li").count() == 0


def test_file_that_is_no_image_is_refused_in_words_and_nothing_is_queued(
    tabs: Any, service: Any, check: Check, data_folder: Path, head: str
) -> None:
    before = service.get("certifications")["certifications"]
    page = tabs.open()
    choose(page, str(data_folder / "odd_formats" / "bad" / "html_as.png"))
    page.locator(".preview .problem").wait_for()
    page.locator("form.certify button[type=submit]").click()
    problem = page.locator(".certify-question .actions .problem")
    problem.wait_for()
    assert "image" in problem.inner_text()
    assert page.url.endswith("#/")
    check(page, "refused")
    assert service.get("certifications")["certifications"] == before


def test_what_is_asked_on_the_page_is_what_is_certified(
    tabs: Any, service: Any, data_folder: Path, tmp_path: Path
) -> None:
    """Frame and window hold for all images, whichever was looked at last."""
    page = tabs.open()
    frames = data_folder / "odd_formats" / "good" / "emri_small_jpeg_2k_lossless.dcm"
    other = shutil.copy(frames, tmp_path / "other.dcm")
    choose(page, str(frames), str(other))
    page.get_by_text("1 of 10").wait_for()
    page.get_by_label("Frame").fill("3")
    page.get_by_role("button", name=other.name, exact=True).click()
    page.get_by_label("Window", exact=True).select_option("40,400")
    page.get_by_role("button", name=frames.name, exact=True).click()
    page.get_by_text("4 of 10").wait_for()
    assert page.get_by_label("Frame").get_attribute("aria-valuetext") == "4 of 10"
    ask(page, levels=("0.25",))
    page.get_by_text("Advanced").click()
    page.get_by_label("Learned prompt bundled-2-mednist").check()
    page.get_by_label("Procedure").select_option("cohen")
    page.get_by_label("Samples that choose the class").fill("50")
    page.get_by_label("Another").fill("0,125")
    page.get_by_label("Another").press("Enter")
    page.get_by_label("Another").fill("99")
    page.locator("form.certify button[type=submit]").click()
    page.locator(".certify-question .actions .problem:not(:empty)").wait_for()
    page.get_by_label("Another").fill("")
    batch = send(page)
    page.get_by_text("2 of 2 images finished").wait_for()
    first, second = service.get(f"batches/{batch}")["certifications"]
    for one in (first, second):
        assert (one["input"]["frame"], one["input"]["frames"]) == (3, 10)
    assert first["input"]["window"] == second["input"]["window"] == [40, 400]
    asked = [
        (c["sigma"], c["prompting"], c["procedure"], c["n0"], c["n"]) for c in first["certificates"]
    ]
    each = ("cohen", 50, 1000)
    levels, promptings = (0.125, 0.25), ("template", "few-shot")
    assert asked == [(sigma, prompting, *each) for sigma in levels for prompting in promptings]
    page.locator("tbody a").first.click()
    wait_for_answer(page)
    assert page.locator(".compared tbody tr").count() == 2
