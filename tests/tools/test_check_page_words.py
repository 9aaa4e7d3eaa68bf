"""The check of the page's words finds what it is for."""

from pathlib import Path

import pytest

from tools.check_page_words import check

ENGLISH = """export default {
  "nav.jobs": "Jobs",
  "jobs.none": "Nothing has been sent yet.",
  "jobs.of": { one: "{n} job of {model}", other: "{n} jobs of {model}" },
  "status.queued": "queued",
};
"""
MODULE = """import { say, sayName } from "./strings/say.js";
// A comment is no text. "Nor is this."
export const row = (job) => h("p", { class: "card wide", "aria-label": say("jobs.none") },
  say("jobs.of", { n: job.n, model: job.model }), " · ", sayName("status", job.status));
export const found = document.querySelector("nav a.current link");
export const isQueued = (job) => job.status === "queued" && job.title !== "Some text here";
"""
FRAME = """<html><head><title>promptsmooth</title></head><body>
<a translate="no">promptsmooth</a><a data-say="nav.jobs"></a>
<noscript>This page needs JavaScript.</noscript></body></html>
"""


@pytest.fixture
def web(tmp_path: Path) -> Path:
    strings = tmp_path / "page" / "strings"
    strings.mkdir(parents=True)
    (strings / "en.js").write_text(ENGLISH)
    (strings / "languages.js").write_text("export const TRANSLATIONS = [];\n")
    (strings / "say.js").write_text("export const say = (key) => key;\n")
    (tmp_path / "page" / "row.js").write_text(MODULE)
    (tmp_path / "index.html").write_text(FRAME)
    return tmp_path


def test_a_page_with_its_words_in_one_place_has_no_fault(web: Path) -> None:
    assert list(check(web)) == []


@pytest.mark.parametrize(
    "line",
    [
        'h("p", {}, "empty");',
        'h("p", {}, job ? "one" : say("jobs.none"));',
        "h(`p`, {}, `${job.n} left`);",
        'show(element, "done");',
        'h("input", { placeholder: "your name" });',
        'button.textContent = "Cancel";',
        'const TEXTS = { none: "There is nothing here." };',
        'throw new Problem({ detail: "away" });',
        'return "Choose a file first.";',
        'announce("Saved");',
    ],
)
def test_text_in_a_module_is_found_with_its_line(web: Path, line: str) -> None:
    (web / "page" / "row.js").write_text(f"{MODULE}{line}\n")
    (fault,) = check(web)
    assert fault.startswith("page/row.js: line 7: “")


def test_text_in_the_frame_is_found(web: Path) -> None:
    (web / "index.html").write_text(FRAME.replace("</body>", '<p title="Why">Ready</p></body>'))
    assert len(list(check(web))) == 2


def test_keys_that_nobody_says_or_that_are_not_there_are_found(web: Path) -> None:
    (web / "page" / "row.js").write_text(f'{MODULE}h("p", {{}}, say("jobs.all"));\n')
    (web / "index.html").write_text(FRAME.replace("nav.jobs", "nav.certify"))
    faults = [fault.rsplit(" ", 1)[-1] for fault in check(web)]
    assert faults == ["jobs.all", "nav.certify", "nav.jobs"]


def test_a_sentence_that_is_not_given_what_it_names_is_found(web: Path) -> None:
    (web / "page" / "row.js").write_text(MODULE.replace(", model: job.model", ""))
    (fault,) = check(web)
    assert fault.endswith("jobs.of is not given model")


def test_a_translation_is_listed_and_says_what_english_says(web: Path) -> None:
    strings = web / "page" / "strings"
    german = 'export default { "nav.jobs": "Aufträge", "jobs.of": { other: "{n} von {model}" } };\n'
    (strings / "de.js").write_text(german)
    assert [fault.split(": ")[1][:12] for fault in check(web)] == ["de is listed"]
    (strings / "languages.js").write_text('export const TRANSLATIONS = ["de"];\n')
    assert list(check(web)) == []
    (strings / "de.js").write_text(german.replace("{model}", "{art}").replace("nav.", "nab."))
    assert [fault.split(": ")[1] for fault in check(web)] == [
        "English has no nab.jobs",
        "jobs.of has other placeholders than in English",
    ]
