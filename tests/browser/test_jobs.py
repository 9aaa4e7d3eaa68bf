"""The list of jobs: rows that open, progress, filters, thumbnails, references."""

from typing import Any

from asking import Check, ask, choose, send, wait_for_answer
from waiting import wait_until

# As an image, for which the content policy allows blobs; fetching one fails in any case.
CAN_BE_SHOWN = """(address) => new Promise((resolve) => {
  const image = new Image();
  image.onload = () => resolve(true);
  image.onerror = () => resolve(false);
  image.src = address;
})"""


def test_jobs_are_found_by_their_reference_status_and_time(
    tabs: Any, service: Any, check: Check, xray: str, head: str
) -> None:
    page = tabs.open()
    for file, name in ((xray, "order 4711"), (head, "order 4712")):
        choose(page, file)
        page.get_by_label("Reference (optional)").fill(name)
        ask(page, levels=("0.25",))
        send(page)
        wait_for_answer(page)
        assert f"reference {name}" in page.locator(".facts").inner_text()
        page.get_by_role("link", name="Certify", exact=True).click()
    page.goto(f"{service.url}/#/jobs")
    row = page.locator("tbody tr", has_text="order 4711")
    row.first.wait_for()
    row.locator(".thumbnail img").first.wait_for()
    page.get_by_label("Reference", exact=True).fill("order 4712")
    wait_until(lambda: page.locator("tbody tr", has_text="order 4711").count() == 0)
    assert page.locator("tbody tr", has_text="order 4712").count() >= 1
    check(page, "jobs-filtered")
    page.get_by_label("Status", exact=True).select_option("failed")
    page.get_by_text("No job is like that.").wait_for()
    page.get_by_label("Status", exact=True).select_option("finished")
    page.locator("tbody tr", has_text="order 4712").first.wait_for()
    page.get_by_label("Sent since").fill("2999-01-01")
    page.get_by_text("No job is like that.").wait_for()
    page.get_by_label("Sent since").fill("2020-01-01")
    page.get_by_label("Model", exact=True).select_option("bundled-2")
    page.locator("tbody tr", has_text="order 4712").first.wait_for()


def test_images_sent_together_are_a_row_that_opens(
    tabs: Any, service: Any, check: Check, xray: str, head: str
) -> None:
    page = tabs.open()
    choose(page, xray, head)
    page.get_by_label("Reference (optional)").fill("a pair")
    ask(page, levels=("0.25",))
    batch = send(page)
    page.get_by_text("2 of 2 images finished").wait_for()
    page.goto(f"{service.url}/#/jobs")
    page.get_by_label("Reference", exact=True).fill("a pair")
    row = page.locator("tr.batch")
    wait_until(lambda: page.locator("tbody tr").count() == 1)
    row.get_by_text("2 of 2 images ended").wait_for()
    row.get_by_role("button").press("Enter")
    opened = page.locator("tr.of-batch")
    wait_until(lambda: opened.count() == 2)
    shown = [one["id"] for one in service.get(f"batches/{batch}")["certifications"]]
    links = [link.get_attribute("href") for link in opened.locator("a").all()]
    assert links == [f"#/certifications/{each}" for each in shown]
    assert row.get_by_role("button").get_attribute("aria-expanded") == "true"
    check(page, "jobs-opened")
    opened.locator("img").nth(1).wait_for()
    pictures = [image.get_attribute("src") for image in opened.locator("img").all()]
    assert all(page.evaluate(CAN_BE_SHOWN, address) for address in pictures)
    row.get_by_role("button").click()
    assert opened.count() == 0
    for address in pictures:
        assert not page.evaluate(CAN_BE_SHOWN, address), "what was closed is freed"


def test_a_row_shows_how_far_a_running_job_is_and_that_it_was_cancelled(
    tabs: Any, service: Any, head: str
) -> None:
    page = tabs.open()
    choose(page, head)
    page.get_by_text("Advanced", exact=True).click()
    page.get_by_label("Procedure").select_option("cohen")  # which cannot stop early
    ask(page, effort="100000", levels=("0.1", "0.25", "0.5", "1"))
    certification = send(page)
    page.wait_for_function(
        "() => parseInt(document.querySelector('.progress .done')?.textContent) > 0"
    )
    page.goto(f"{service.url}/#/jobs")
    row = page.locator("tbody tr", has=page.locator(f"a[href='#/certifications/{certification}']"))
    row.locator("progress").wait_for()
    other = tabs.open(f"certifications/{certification}")
    other.get_by_role("button", name="Cancel").click()
    row.locator(".tag.cancelled").wait_for()


def test_images_that_are_gone_when_their_row_asks_for_them_are_said_to_be(
    tabs: Any, service: Any, xray: str, head: str
) -> None:
    page = tabs.open()
    choose(page, xray, head)
    page.get_by_label("Reference (optional)").fill("a pair that goes")
    ask(page, levels=("0.25",))
    batch = send(page)
    page.get_by_text("2 of 2 images finished").wait_for()

    def purge_first(route: Any) -> None:
        if service.get(f"batches/{batch}").get("total"):
            service.delete(f"batches/{batch}")
        route.continue_()

    page.route(f"**/batches/{batch}", purge_first)
    page.goto(f"{service.url}/#/jobs")
    row = page.locator("tr.batch", has_text="a pair that goes")
    row.locator(".problem").wait_for()
    assert "…" not in row.inner_text()


def test_a_filter_that_changes_when_the_view_is_closed_asks_nothing(
    tabs: Any, service: Any
) -> None:
    page = tabs.open("jobs")
    form = page.wait_for_selector("form.filters")
    page.locator("table.jobs, .empty").first.wait_for(state="attached")
    page.goto(f"{service.url}/#/models")
    page.get_by_role("heading", name="Models", level=1).wait_for()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    form.evaluate(
        """(form) => new Promise((resolve) => {
          form.dispatchEvent(new Event("input"));
          setTimeout(resolve, 600);  // after the filter's own
        })"""
    )
    page.evaluate("async () => (await fetch('healthz')).text()")
    assert [url for url in asked if "certifications" in url] == []
