"""The interface's own page, /docs: what it fills in can be sent as it stands."""

from typing import Any

import pytest

from app.client import Client


@pytest.fixture
def open_operation(tabs: Any, service: Any):
    """Opens an operation of /docs, ready to be filled in; its section of the page.

    What is sent takes twenty thousand samples, which the tests after it need not wait for.
    """

    def open_one(tag: str, name: str) -> Any:
        page = tabs.open()
        page.goto(f"{service.url}/docs")
        section = page.locator(f"#operations-{tag}-{name}")
        section.locator(".opblock-summary-control").click()
        section.get_by_role("button", name="Try it out").click()
        return section

    yield open_one
    with Client(service.url) as client:
        for status in ("queued", "running"):
            for job in client.list(status=status):
                client.cancel(job["id"])


def execute(section: Any) -> tuple[int, str]:
    """Sends what is filled in; the status and the body that the page shows."""
    section.get_by_role("button", name="Execute").click()
    answer = section.locator(".live-responses-table .response").first
    status = answer.locator(".response-col_status").inner_text().split()[0]
    return int(status), answer.inner_text()


def test_a_form_with_a_file_chosen_is_taken_as_it_is_filled_in(open_operation, xray):
    section = open_operation("certify", "certify")
    section.locator("input[type=file]").first.set_input_files(xray)
    status, body = execute(section)
    assert status in (200, 202), body


def test_a_json_document_is_taken_as_it_is_filled_in(open_operation):
    status, body = execute(open_operation("certify", "certify_json"))
    assert status in (200, 202), body


def test_an_image_file_is_taken_with_the_address_as_it_is_filled_in(open_operation, xray):
    section = open_operation("certify", "certify_file")
    section.locator("input[type=file]").first.set_input_files(xray)
    status, body = execute(section)
    assert status in (200, 202), body
