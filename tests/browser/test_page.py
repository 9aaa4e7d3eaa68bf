"""The page as people use it: an image in, an answer out, and everything that can come between."""

import csv
import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.data import get_testdata_file
from waiting import wait_until

FIRST_PAINT_BYTES = 200_000
SECTIONS = ("", "jobs", "audit", "prompts", "models")
Check = Callable[[Any, str], None]


def choose(page: Any, *files: str) -> None:
    page.wait_for_selector("form.certify")
    page.set_input_files("form.certify input[type=file]", list(files))


def ask(page: Any, *, effort: str = "1000", levels: tuple[str, ...] = ("0.25", "0.5")) -> None:
    """Effort and noise levels, everything else as it stands."""
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


def read_canvas(page: Any, place: int) -> np.ndarray:
    """The pixels of one of the three pictures, as integers (H, W, 3)."""
    found = page.evaluate(
        """(place) => {
          const canvas = document.querySelectorAll(".three canvas")[place];
          const {data, width, height} =
            canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return {data: [...data], width, height};
        }""",
        place,
    )
    pixels = np.array(found["data"], dtype=np.int64)
    return pixels.reshape(found["height"], found["width"], 4)[..., :3]


def boundary_image(linear: Any, *, distance: float) -> np.ndarray:
    """An image that lies about so far from the plane of the linear model."""
    rng = np.random.default_rng(9)
    images = (rng.integers(90, 170, (3, 16, 16)).astype(np.uint8) for _ in range(2000))
    return min(images, key=lambda image: abs(linear.distance(image) - distance))


def test_first_paint_takes_less_than_200_kb(tabs: Any, service: Any) -> None:
    page = tabs.open()
    page.wait_for_selector("form.certify")
    session = page.context.new_cdp_session(page)
    received: list[int] = []
    session.on("Network.loadingFinished", lambda e: received.append(e["encodedDataLength"]))
    session.send("Network.enable")
    session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    page.reload()
    page.wait_for_selector("form.certify")
    page.wait_for_load_state("networkidle")
    assert len(received) > 10
    assert sum(received) < FIRST_PAINT_BYTES


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
        page.get_by_role("button", name="Remove").click()
    page.locator(".examples button").first.click()
    ask(page, levels=("0.25",))
    certification = send(page)
    wait_for_answer(page)
    certificates = service.get(f"certifications/{certification}")["certificates"]
    promptings = sorted(one["prompting"] for one in certificates)
    assert promptings == ["few-shot", "few-shot+zero-shot", "template"]


def test_pictures_of_the_radius_are_as_long_as_it_and_never_longer(
    tabs: Any, service: Any, xray: str
) -> None:
    page = tabs.open()
    certification = certify(page, xray)
    page.wait_for_selector(".three canvas")
    found = service.get(f"certifications/{certification}")
    radii = [c["radius"] for c in found["certificates"] if c["outcome"] == "certified"]
    assert len(radii) == 2
    for place, radius in enumerate(radii):
        page.get_by_label("Radius", exact=True).select_option(str(place))
        clean, whole = read_canvas(page, 0), read_canvas(page, 1)
        l2 = np.sqrt(((whole - clean) ** 2).sum()) / 255
        assert 0.99 * radius < l2 <= radius
        for side in (1, 3, 7):
            page.get_by_label("Size of the patch").fill(str(side))
            patch = read_canvas(page, 2) - clean
            l2 = np.sqrt((patch**2).sum()) / 255
            assert 0 < l2 <= radius
            assert np.ptp(np.argwhere(patch.any(axis=2)), axis=0).max() < side
            said = page.locator(".three figcaption").nth(2).inner_text()
            assert f"l2 distance {np.floor(l2 * 1e6) / 1e6:.6f}" in said


def test_abstention_is_neither_a_class_nor_an_error(
    tabs: Any, service: Any, check: Check, linear: Any, picture: Any, tmp_path: Path
) -> None:
    """At distance 0 from the plane half of the votes fall on either side, whatever the noise."""
    divided = picture(boundary_image(linear, distance=0))
    near = picture(boundary_image(linear, distance=0.05))
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

    page.goto(f"{service.url}/#/")
    page.wait_for_selector("form.certify")
    page.get_by_label("Model", exact=True).select_option("linear")
    choose(page, divided, near)
    ask(page, levels=("0.1", "1"))
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
    page.locator("tbody tr", has_text=Path(xray).name).first.wait_for()
    assert "chest X-ray" in page.locator("tbody tr", has_text=Path(xray).name).first.inner_text()
    assert len([url for url in asked if "certifications" in url]) == 1


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


def test_what_is_asked_on_the_page_is_what_is_certified(
    tabs: Any, service: Any, data_folder: Path
) -> None:
    """Frame and window hold for all images, whichever was looked at last."""
    page = tabs.open()
    frames = data_folder / "odd_formats" / "good" / "emri_small_jpeg_2k_lossless.dcm"
    choose(page, str(frames), get_testdata_file("CT_small.dcm"))
    page.get_by_text("1 of 10").wait_for()
    page.get_by_label("Frame").fill("3")
    page.get_by_role("button", name="CT_small.dcm", exact=True).click()
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
    assert (first["input"]["frame"], first["input"]["frames"]) == (3, 10)
    assert first["input"]["window"] == second["input"]["window"] == [40, 400]
    asked = [
        (c["sigma"], c["prompting"], c["procedure"], c["n0"], c["n"]) for c in first["certificates"]
    ]
    each = ("cohen", 50, 1000)
    levels, promptings = (0.125, 0.25), ("template", "few-shot")
    assert asked == [(sigma, prompting, *each) for sigma in levels for prompting in promptings]
    page.locator("tbody a").first.click()
    wait_for_answer(page)
    assert page.locator(".verdict").count() == 2


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


def test_prompt_is_learned_from_a_zip_and_can_be_asked_for(
    tabs: Any, service: Any, check: Check, data_folder: Path, tmp_path: Path, xray: str
) -> None:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name in ("chest_xray", "head_ct"):
            for image in sorted((data_folder / "mednist" / "train" / name).iterdir())[:3]:
                file.write(image, f"{name.replace('_', ' ')}/{image.name}")
    page = tabs.open("prompts")
    page.wait_for_selector(".prompts li")
    check(page, "prompts")
    page.set_input_files("input[type=file]", path)
    page.get_by_label("Name").fill("two-kinds")
    page.get_by_text("Advanced").click()
    page.get_by_label("Images of each class").fill("3")
    page.get_by_label("Epochs").fill("3")
    page.get_by_role("button", name="Learn the prompt").click()
    page.get_by_text("It can be chosen for a certification at once").wait_for()
    assert page.locator(".curve path.line").first.get_attribute("d").count("L") == 2
    check(page, "learned")
    page.get_by_role("link", name="Certify an image").click()
    page.wait_for_selector("form.certify")
    page.get_by_label("What to tell apart").select_option("two-kinds")
    assert page.get_by_label("Classes").input_value() == "chest xray\nhead ct"
    certification = certify(page, xray)
    (entry, *_) = service.get(f"certifications/{certification}")["certificates"]
    assert entry["prompt"]["id"] == "two-kinds"


@pytest.mark.parametrize("width", [640, 390], ids=["at 200 % zoom", "on a telephone"])
def test_nothing_is_cut_off_when_the_page_is_narrow(
    tabs: Any, service: Any, check: Check, xray: str, width: int
) -> None:
    page = tabs.open(width=width)
    certification = certify(page, xray)
    for section in (*SECTIONS, f"certifications/{certification}"):
        page.goto(f"{service.url}/#/{section}")
        page.wait_for_selector("#content h1")
        page.wait_for_timeout(500)
        root = "document.scrollingElement"
        assert page.evaluate(f"() => {root}.scrollWidth <= {root}.clientWidth"), section
        check(page, f"narrow-{width}-{section.split('/')[0] or 'certify'}")


def test_dark_colours_have_contrast_in_every_section(
    tabs: Any, service: Any, check: Check, xray: str
) -> None:
    page = tabs.open(dark=True)
    certification = certify(page, xray)
    for section in (*SECTIONS, f"certifications/{certification}"):
        page.goto(f"{service.url}/#/{section}")
        page.wait_for_selector("#content h1")
        page.wait_for_timeout(500)
        check(page, f"dark-{section.split('/')[0] or 'certify'}")


def test_whole_way_can_be_gone_with_the_keyboard(tabs: Any, xray: str) -> None:
    page = tabs.open()
    page.wait_for_selector("form.certify")
    assert page.locator("nav [aria-current=page]").inner_text() == "Certify"
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.className") == "skip"
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.type") == "file":
            break
    choosers: list[Any] = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))

    def choose_file() -> bool:
        assert page.evaluate("() => document.activeElement.type") == "file"
        page.keyboard.press("Space")
        page.wait_for_timeout(500)  # a busy Chromium may drop a key, as it does for a person
        return bool(choosers)

    wait_until(choose_file)
    choosers[0].set_files(xray)
    page.get_by_label("Effort").focus()
    page.keyboard.press("Home")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.type") == "submit":
            break
    page.keyboard.press("Enter")
    wait_for_answer(page)
    assert page.evaluate("() => document.activeElement.tagName") != "BODY"
