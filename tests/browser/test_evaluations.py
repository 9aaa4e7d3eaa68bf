"""An evaluation is started on the page, grows, and is compared image by image."""

from typing import Any

from asking import Check


def test_an_evaluation_is_started_followed_and_compared(
    tabs: Any, service: Any, check: Check
) -> None:
    page = tabs.open("evaluations")
    page.get_by_label("Dataset").wait_for()
    page.get_by_label("Images").fill("4")
    page.get_by_label("Noise levels σ").fill("0.25, 0.5")
    page.get_by_label("Samples").fill("32")
    check(page, "evaluations")
    page.get_by_role("button", name="What does it take?").click()
    page.get_by_text("256 samples at most.").wait_for()
    page.get_by_role("button", name="Start the evaluation").click()
    page.get_by_role("heading", name="Finished").wait_for()
    assert page.locator(".accuracy-curves figure").count() == 2
    page.get_by_label("Compare with").select_option(label="itself, in another row")
    page.get_by_text("4 images in common").wait_for()
    check(page, "evaluation")
    with page.expect_download() as taken:
        page.get_by_role("button", name="results.csv").click()
    assert taken.value.path().read_text().startswith("prompting,")
    page.get_by_role("button", name="Remove it").click()
    page.get_by_text("There are none yet.").first.wait_for()
