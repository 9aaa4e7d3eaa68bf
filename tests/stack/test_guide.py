"""Every command of the guide, word for word, page by page, against a running service.

A block that another program runs says so in a comment before it: `<!-- run by FILE: WORDS -->`;
the words must be in that file. One that no test can run says why: `<!-- not run: WHY -->`.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file
from waiting import HANG_S

pytestmark = pytest.mark.guide
REPOSITORY = Path(__file__).parents[2]
PAGES = [*sorted((REPOSITORY / "docs").glob("*.md")), REPOSITORY / "README.md"]
BLOCK = re.compile(
    r"(?:<!-- run by (?P<file>[^:\n]+?)(?:: (?P<words>[^\n]+?))? -->\n)?"
    r"(?:<!-- not run: (?P<why>[^\n]+?) -->\n)?"
    r"^```(?P<language>sh|python|js)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
RUN = {
    "sh": "{text}",
    "python": "python - <<'END_OF_BLOCK'\n{text}END_OF_BLOCK\n",
    "js": "node --input-type=module - <<'END_OF_BLOCK'\n{text}END_OF_BLOCK\n",
}


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block of commands, and which file runs it where this test does not."""

    language: str
    text: str
    file: str | None
    words: str | None
    why: str | None


def find_blocks(page: Path) -> list[Block]:
    return [Block(**found.groupdict()) for found in BLOCK.finditer(page.read_text())]


def find_run_here(page: Path) -> list[Block]:
    return [block for block in find_blocks(page) if block.file is None and block.why is None]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, data_folder: Path) -> Path:
    """What a reader has at hand: slice.dcm, image.dcm, scans/ and images/."""
    folder = tmp_path_factory.mktemp("guide")
    shutil.copy(get_testdata_file("CT_small.dcm"), folder / "slice.dcm")
    (folder / "scans").mkdir()
    for name in ("CT_small.dcm", "MR_small.dcm"):
        shutil.copy(get_testdata_file(name), folder / "scans")
    for split, number in (("train", 4), ("test", 2)):
        for images in sorted((data_folder / "mednist" / split).iterdir())[:2]:
            target = folder / "images" / split / images.name
            target.mkdir(parents=True)
            for image in sorted(images.iterdir())[:number]:
                shutil.copy(image, target)
    return folder


@pytest.mark.parametrize("page", [*filter(find_run_here, PAGES)], ids=lambda page: page.stem)
def test_every_command_of_the_guide_runs(page, stack, folder, tmp_path):
    work = tmp_path / "work"
    shutil.copytree(folder, work)
    (work / ".venv").symlink_to(Path(sys.executable).parents[1])
    script = "\n".join(RUN[one.language].format(text=one.text) for one in find_run_here(page))
    script = script.replace("http://127.0.0.1:8000", str(stack.http.base_url).rstrip("/"))
    script = re.sub(r"wait=\d+", "wait=300", script)  # as long as a busy machine needs
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PROMPTSMOOTH_DATA_DIR": str(tmp_path / "data"),
    }
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", script],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_another_program_runs_is_in_it(page):
    for block in find_blocks(page):
        if block.file is not None:
            words = (block.words or block.text).strip()
            assert words in (REPOSITORY / block.file).read_text(), f"{block.file} lacks {words!r}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_command_hides_from_these_tests(page):
    """An indented block, or one in another language, would be found by nobody."""
    fences = re.findall(r"^ *```(\w+)$", page.read_text(), flags=re.MULTILINE)
    assert len([one for one in fences if one in RUN]) == len(find_blocks(page))
    assert set(fences) <= {*RUN, "text", "json", "toml", "ini", "yaml"}


def test_a_failing_command_of_the_guide_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```sh\nfalse\n```\n<!-- run by Makefile: demo: -->\n```sh\nmake demo\n```\n")
    first, second = find_blocks(page)
    assert (first.text, first.file) == ("false\n", None)
    assert (second.file, second.words) == ("Makefile", "demo:")
