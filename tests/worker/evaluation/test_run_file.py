"""What is in a run's file: counted while somebody writes it, and read when it is asked for."""

import json
import tracemalloc
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from worker.evaluation.question import EvaluationQuestion
from worker.evaluation.run_file import (
    EvaluatedImage,
    RunFile,
    RunNotContinued,
    SkippedImage,
    count_ended,
)

SAMPLE = Path(__file__).parents[2] / "app" / "dossier" / "sample" / "run" / "images.jsonl"
HELD_BYTES = 1_000  # of an image: its place and where its line is


@pytest.fixture(scope="module")
def header() -> EvaluationQuestion:
    return EvaluationQuestion.model_validate_json(SAMPLE.read_bytes().splitlines()[0])


@pytest.fixture(scope="module")
def certified() -> list[EvaluatedImage]:
    """The certified images of a real run, in the order of the file."""
    either = TypeAdapter(EvaluatedImage | SkippedImage)
    found = map(either.validate_json, SAMPLE.read_bytes().splitlines()[1:])
    return [one for one in found if isinstance(one, EvaluatedImage)]


def skip(place: int) -> SkippedImage:
    return SkippedImage(place=place, file="a", class_index=0, code="image_empty", why_not="Empty.")


def test_a_line_counts_once_it_is_whole_and_the_header_never(tmp_path: Path):
    path = tmp_path / "images.jsonl"
    assert count_ended(path) == 0
    path.write_bytes(b"header\n")
    assert count_ended(path) == 0
    path.write_bytes(b"header\nimage\nskipped\nhalf")
    assert count_ended(path) == 2


def test_images_are_read_again_as_they_were_written_in_every_sitting(
    tmp_path: Path, header: EvaluationQuestion, certified: list[EvaluatedImage]
):
    """In the order of their places, after a kill in the middle of a line, and once it is closed."""
    path = tmp_path / "images.jsonl"
    last, *others = sorted(certified, key=lambda image: -image.place)
    with RunFile(path, header) as run:
        run.append(last)
        run.append(skip(100))
        assert run.images[last.place] == last
    with path.open("ab") as file:
        file.write(b'{"place":1,"fi')
    with RunFile(path, header) as run:
        assert run.sitting == last.sitting + 1
        for image in others:
            run.append(image)
        assert list(run.images) == [image.place for image in (last, *others)]
    assert list(run.images.in_order()) == sorted(certified, key=lambda image: image.place)
    assert list(run.images.in_order()[1:]) == list(run.images.in_order())[1:]
    assert list(run.skipped) == [100]
    with RunFile(path) as again:
        assert list(again.images.values()) == [last, *others]


def test_a_damaged_line_is_found_when_the_run_goes_on(tmp_path: Path, header: EvaluationQuestion):
    path = tmp_path / "images.jsonl"
    path.write_text(
        header.model_dump_json() + '\n{"place": 0}\n' + skip(1).model_dump_json() + "\n"
    )
    with pytest.raises(RunNotContinued, match="not a run of this version"), RunFile(path):
        pass


def test_a_run_holds_no_documents(
    tmp_path: Path, header: EvaluationQuestion, certified: list[EvaluatedImage]
):
    """Neither those that it wrote nor those that it found."""
    path, images = tmp_path / "images.jsonl", 200
    line = json.loads(certified[0].model_dump_json())
    appended = certified[0].model_copy(update={"place": images})
    with path.open("w") as file:
        file.write(header.model_dump_json() + "\n")
        file.writelines(json.dumps({**line, "place": place}) + "\n" for place in range(images))
    tracemalloc.start()
    try:
        with RunFile(path) as run:
            for place in range(images, 2 * images):
                run.append(appended.model_copy(update={"place": place}))
            held, _ = tracemalloc.get_traced_memory()
            assert len(run.images) == 2 * images
    finally:
        tracemalloc.stop()
    assert held < 2 * images * HELD_BYTES < path.stat().st_size / 5
