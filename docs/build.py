"""The guide as a site that needs no network: `make docs` writes build/site/.

Pages and the documents they link to are laid out under one root first, for the generator knows
nothing outside its folder. Its search takes one script from a public server; here it is ours.
"""

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PAGES, SITE = REPOSITORY / "build" / "guide", REPOSITORY / "build" / "site"
BESIDE = (
    *("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"),
    "benchmarks/results/*.md",
)
SHIM_ADDRESS, SHIM = "https://unpkg.com/iframe-worker/shim", "assets/iframe-worker.js"


def lay_out() -> None:
    """Copies the pages to the root and what they link to beside them."""
    shutil.rmtree(PAGES, ignore_errors=True)
    left_out = shutil.ignore_patterns("*.py", "*.dot", "vendor")
    shutil.copytree(REPOSITORY / "docs", PAGES, ignore=left_out)
    for page in PAGES.rglob("*.md"):
        up = "../" * len(page.relative_to(PAGES).parts)  # what leads out of docs/ leads one less
        text = page.read_text("utf-8").replace(f"]({up}", f"]({up.removeprefix('../')}")
        page.write_text(text, "utf-8")
    for pattern in BESIDE:
        for document in REPOSITORY.glob(pattern):
            target = PAGES / document.relative_to(REPOSITORY)
            target.parent.mkdir(parents=True, exist_ok=True)
            text = re.sub(r"\]\(((?:\.\./)*)docs/", r"](\1", document.read_text("utf-8"))
            target.write_text(text, "utf-8")


def generate() -> None:
    """Builds the site; a link that leads nowhere ends it."""
    shutil.rmtree(SITE, ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    subprocess.run(command, cwd=REPOSITORY, check=True)  # noqa: S603  our own arguments


def cut_off() -> None:
    """Replaces the one script that the search would fetch.

    Raises:
        ValueError: a page still loads something from elsewhere.
    """
    shutil.copy(REPOSITORY / "docs" / "vendor" / "iframe-worker" / "index.js", SITE / SHIM)
    for page in SITE.rglob("*.html"):
        up = "../" * (len(page.relative_to(SITE).parts) - 1)
        text = page.read_text("utf-8").replace(SHIM_ADDRESS, up + SHIM)
        page.write_text(text, "utf-8")
        if found := re.search(r'(?:src|<link[^>]* href)="?https?://[^">]+', text):
            raise ValueError(f"{page.name} loads {found[0]}")


if __name__ == "__main__":
    if find_spec("zensical") is None:
        sys.exit("make docs needs Python 3.11.5 or newer; name one with make docs PYTHON=...")
    lay_out()
    generate()
    cut_off()
