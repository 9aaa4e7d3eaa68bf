"""Runs that were changed where nothing is signed, and whose results were computed again."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli.__main__ import cli
from app.dossier.gather import gather
from app.dossier.printed import print_dossier
from worker.evaluation.dossier.finished_run import RunNotSound, load_finished_run
from worker.evaluation.noiseless import Noiseless
from worker.evaluation.results import EvaluationResults, create_results
from worker.evaluation.run_file import RunFile

from .conftest import SAMPLE, ask, read_text


def summarise_again(run: Path) -> None:
    """Writes the results that follow from the lines of a run."""
    path = run / "results.json"
    before = EvaluationResults.model_validate_json(path.read_text())
    with RunFile(run / "images.jsonl") as lines:
        assert lines.question is not None
        results = create_results(
            lines.question,
            list(lines.images.values()),
            radii=[Decimal(0)],
            noiseless=[Noiseless(clean=arm.clean) for arm in before.arms],
            trained=before.trained,
            skipped=list(lines.skipped.values()),
            tightness=[arm.tightness for arm in before.arms],
        )
    path.write_text(results.model_dump_json())


def change_header(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes the header of a run, and makes its results follow from that."""
    header, *lines = (run / "images.jsonl").read_text().splitlines(keepends=True)
    question = json.loads(header)
    change(question)
    (run / "images.jsonl").write_text("".join([json.dumps(question) + "\n", *lines]))
    summarise_again(run)


def name_larger_noise(question: dict[str, Any]) -> None:
    question["sigmas"] = ["0.2", "0.5"]


def name_smaller_alpha(question: dict[str, Any]) -> None:
    question["alpha"] = "0.00001"


def name_another_template(question: dict[str, Any]) -> None:
    question["targets"][0]["template"] = "A microscopy image of a {}, as an expert sees it."


def name_other_classes(question: dict[str, Any]) -> None:
    for target in question["targets"]:
        target["class_names"] = ["benign", "malignant", "platelet"]


def name_another_prompt(question: dict[str, Any]) -> None:
    question["targets"][1]["prompt"]["sha256"] = "0" * 64


def rename_the_prompt(question: dict[str, Any]) -> None:
    question["targets"][1]["prompt"]["id"] = "an-approved-prompt"


def name_another_prompting(question: dict[str, Any]) -> None:
    question["targets"][0] |= {"prompting": "zero-shot"}


def swap_targets(question: dict[str, Any]) -> None:
    question["targets"].reverse()


def name_more_samples(question: dict[str, Any]) -> None:
    question["procedure"]["n_max"] = 10_000


def name_a_cap(question: dict[str, Any]) -> None:
    question["procedure"]["n_cap"] = 1000


def name_a_target_radius(question: dict[str, Any]) -> None:
    question["procedure"]["target_radius"] = "0.5"


def name_another_procedure(question: dict[str, Any]) -> None:
    question["procedure"] = {"procedure": "cohen", "n0": 100, "n": 10_000}


def name_another_device(question: dict[str, Any]) -> None:
    question["identity"]["device"] = "NVIDIA H200"


def leave_the_fingerprint_out(question: dict[str, Any]) -> None:
    del question["identity"]["fingerprint"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (name_larger_noise, "another sigma"),
        (name_smaller_alpha, "another alpha"),
        (name_another_template, "another template"),
        (name_other_classes, "another class_names"),
        (name_another_prompt, "another prompt "),
        (rename_the_prompt, "another prompt "),
        (name_another_prompting, "another prompting"),
        (swap_targets, "another prompting"),
        (name_more_samples, "another n_max"),
        (name_a_cap, "another n_cap"),
        (name_a_target_radius, "another target_radius"),
        (name_another_procedure, "another procedure"),
        (name_another_device, "the f that the header"),
        (leave_the_fingerprint_out, "the f that the header"),
    ],
)
def test_a_header_that_no_certificate_states_is_refused(
    run: Path, change: Callable[[dict[str, Any]], None], sentence: str
) -> None:
    """The header is not signed. What it says is what the certificates say, or the run is none."""
    summarise_again(run)
    load_finished_run(run)
    change_header(run, change)
    with pytest.raises(RunNotSound, match=sentence):
        load_finished_run(run)


def test_neither_command_takes_a_forged_header(run: Path, tmp_path: Path) -> None:
    change_header(run, name_larger_noise)
    for asked in (
        ["dossier", str(run), "--out", str(tmp_path / "a.pdf")],
        ["verify", str(SAMPLE / "dossier.pdf"), "--run", str(run), "--data", str(SAMPLE / "data")],
    ):
        done = CliRunner().invoke(cli, [*asked, "--data-dir", str(tmp_path / "own")])
        assert done.exit_code == 2
        assert "another sigma" in done.output
    assert not (tmp_path / "a.pdf").exists()


def skip(run: Path, place: int, code: str) -> None:
    """Replaces the line of an image by one that says it cannot be decoded."""
    header, *lines = (run / "images.jsonl").read_text().splitlines()
    kept = [line for line in lines if json.loads(line)["place"] != place]
    (line,) = [json.loads(line) for line in lines if json.loads(line)["place"] == place]
    said = {"code": code, "why_not": "Broken."}
    skipped = {name: line[name] for name in ("place", "file", "class_index")} | said
    written = [header, *kept, json.dumps(skipped)]
    (run / "images.jsonl").write_text("\n".join(written) + "\n")
    summarise_again(run)


@pytest.mark.parametrize(
    ("place", "found"),
    [(0, "it can be decoded"), (6, "it is refused as image_format_unsupported")],
)
def test_an_image_is_not_put_away_as_undecodable(
    run: Path, tmp_path: Path, place: int, found: str
) -> None:
    """A good image has a certificate to hide, and a bad file has one true reason."""
    skip(run, place, "image_broken")
    with pytest.raises(RunNotSound, match=found):
        gather(ask(run, tmp_path))


def test_without_the_images_nobody_says_that_the_skipped_cannot_be_decoded(
    run: Path, tmp_path: Path
) -> None:
    skip(run, 0, "image_broken")
    said = read_text(print_dossier(gather(ask(run, tmp_path, data=None))))
    assert "cannot be decoded (not checked): 1 image_broken, 1 image_format_unsupported" in said
    compared = read_text((SAMPLE / "dossier.pdf").read_bytes())
    assert "cannot be decoded: 1 image_format_unsupported" in compared


def count_an_image_more(question: dict[str, Any]) -> None:
    question["images"] = 8


def test_an_image_is_not_counted_twice(run: Path, tmp_path: Path) -> None:
    *lines, last = (run / "images.jsonl").read_text().splitlines()
    again = json.dumps(json.loads(last) | {"place": 7})
    (run / "images.jsonl").write_text("\n".join([*lines, last, again]) + "\n")
    change_header(run, count_an_image_more)
    with pytest.raises(RunNotSound, match="does not hold the images"):
        gather(ask(run, tmp_path))


@pytest.mark.parametrize("name", ["dataset", "split"])
def test_images_are_called_what_their_card_says(run: Path, tmp_path: Path, name: str) -> None:
    change_header(run, lambda question: question.update({name: "clinic"}))
    with pytest.raises(RunNotSound, match="another dataset or part"):
        gather(ask(run, tmp_path))
