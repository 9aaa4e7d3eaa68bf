"""Links of the documents lead to files and headings that there are."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = sorted(
    page for folder in ("", "docs/", "docs/decisions/") for page in REPOSITORY.glob(f"{folder}*.md")
)
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(#[^)\s]+)?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def anchors(page: Path) -> set[str]:
    headings = (re.sub(r"[^\w\- ]", "", one.lower()) for one in HEADING.findall(page.read_text()))
    return {"#" + one.strip().replace(" ", "-") for one in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: one.name)
def test_every_link_leads_somewhere(document):
    for path, anchor in LINK.findall(document.read_text()):
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{path} is not there"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{path}{anchor} is no heading"
