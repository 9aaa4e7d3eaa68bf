"""What a dossier says of the question and its prompts, beside runs of the command itself."""

import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from app.cli.__main__ import cli
from app.dossier.command import spell_command
from app.dossier.gather import gather
from app.dossier.printed import print_dossier
from models.prompts.catalogue import load_prompt_catalogue
from models.prompts.files import save_prompt
from worker.contract import (
    BankTemplate,
    CohenParameters,
    FewShotTarget,
    FewShotZeroShotTarget,
    RoutedTarget,
    StagedParameters,
    TemplateTarget,
    Tuning,
    ZeroShotTarget,
)
from worker.evaluation.question import EvaluationQuestion
from worker.evaluation.run_file import RunFile
from worker.evaluation.tables import describe_procedure

from .conftest import SAMPLE, ask, read_text

Evaluate = Callable[..., Path]


@pytest.fixture
def evaluate(tmp_path: Path) -> Evaluate:
    """Runs `promptsmooth evaluate` with some words, and returns the folder of the run."""

    def run(*words: str) -> Path:
        out = tmp_path / "made"
        own = ["--out", str(out), "--data-dir", str(tmp_path / "data-dir"), "--quiet"]
        done = CliRunner().invoke(cli, ["evaluate", *words, *own])
        assert done.exit_code == 0, done.output
        return out

    return run


def read_question(run: Path) -> EvaluationQuestion:
    with RunFile(run / "images.jsonl") as lines:
        assert lines.question is not None
        return lines.question


@pytest.fixture
def question() -> EvaluationQuestion:
    return read_question(SAMPLE / "run").model_copy(
        update={"images": 2, "seed": 5, "sigmas": (Decimal("0.125"),), "alpha": Decimal("0.01")}
    )


def run_again(question: EvaluationQuestion, evaluate: Evaluate, data: Path) -> None:
    """The command asks the same question, whatever machine and secret it runs with."""
    command = spell_command(question, attacked=0)
    assert command is not None
    program, name, *words = shlex.split(command.replace("FOLDER", shlex.quote(str(data))))
    assert (program, name) == ("promptsmooth", "evaluate")
    made = read_question(evaluate(*words))
    own = {name: getattr(made, name) for name in ("identity", "key_commitment", "listing_sha256")}
    assert made.identity.model == question.identity.model
    assert made == question.model_copy(update=own)


def test_the_command_asks_for_every_prompting(
    question: EvaluationQuestion, evaluate: Evaluate
) -> None:
    template, learned = question.targets
    assert isinstance(template, TemplateTarget)
    assert isinstance(learned, FewShotTarget)
    sentence, names = "It's a {}, seen through a microscope.", {"class_names": template.class_names}
    bank = (learned.prompt, BankTemplate(template=sentence))
    targets = (
        TemplateTarget(template=sentence, **names),
        learned,
        ZeroShotTarget(template=sentence, **names),
        FewShotZeroShotTarget(prompt=learned.prompt, **names),
        RoutedTarget(bank=bank, **names),
    )
    procedure = StagedParameters(n_max=70, tolerance=Decimal("0.2"))
    changes = {"images": 1, "targets": targets, "procedure": procedure}
    run_again(question.model_copy(update=changes), evaluate, SAMPLE / "data")


def test_the_command_names_a_dataset_that_ships_and_the_procedure(
    question: EvaluationQuestion, evaluate: Evaluate, tmp_path: Path
) -> None:
    folders = {"covid": "platelet", "normal": "red_blood_cell"}
    for name, other in folders.items():
        shutil.copytree(SAMPLE / "data" / "test" / other, tmp_path / "xrays" / "train" / name)
    target = TemplateTarget(template="A film of a {} chest.", class_names=tuple(folders))
    changes = {"dataset": "covid", "split": "train", "targets": (target,)}
    procedure = CohenParameters(n0=20, n=60)
    asked = question.model_copy(update={**changes, "procedure": procedure})
    assert "--dataset covid" in (spell_command(asked, attacked=0) or "")
    run_again(asked, evaluate, tmp_path / "xrays")


@pytest.mark.parametrize("name", ["target_radius", "minimum_radius", "n_cap"])
def test_what_no_option_asks_is_said_and_has_no_command(
    question: EvaluationQuestion, run: Path, tmp_path: Path, name: str
) -> None:
    value = 1000 if name == "n_cap" else Decimal("0.25")
    procedure = question.procedure.model_copy(update={name: value})
    asked = question.model_copy(update={"procedure": procedure})
    assert spell_command(asked, attacked=0) is None
    assert describe_procedure(asked) == f"`staged` with n_max = 100, {name} = {value}"
    dossier = gather(ask(run, tmp_path))
    results = dossier.results.model_copy(update={"question": asked})
    made = dossier.reproduction.model_copy(update={"command": None})
    changed = dossier.model_copy(update={"results": results, "reproduction": made})
    said = read_text(print_dossier(changed))
    assert f"{name} = {value}" in said
    assert "no command asks it" in said
    assert "The command below" not in said


def test_other_tuning_banks_and_two_templates_have_no_command(question: EvaluationQuestion) -> None:
    template, learned = question.targets
    assert isinstance(template, TemplateTarget)
    assert isinstance(learned, FewShotTarget)
    names = {"class_names": template.class_names}
    for target in (
        RoutedTarget(bank=(BankTemplate(template=template.template), learned.prompt), **names),
        ZeroShotTarget(template=template.template, tuning=Tuning(steps=2), **names),
        TemplateTarget(template="another {}", **names),
    ):
        asked = question.model_copy(update={"targets": (template, target)})
        assert spell_command(asked, attacked=0) is None


def test_what_prompts_know_is_counted_or_not_known(evaluate: Evaluate, tmp_path: Path) -> None:
    """One card names an image of the run and the other none, and this machine keeps neither."""
    card, prompt = load_prompt_catalogue(None).get("bundled-2-bccd-cells").load()
    assert card.learning is not None
    with RunFile(SAMPLE / "run" / "images.jsonl") as lines:
        met = lines.images[0].result.input.sha256
    for number, learning in enumerate(
        (card.learning.model_copy(update={"images": (met,)}), None), start=1
    ):
        moved = replace(prompt, ctx=prompt.ctx + np.float32(number * 1e-3))
        told = {"id": f"prompt-{number}", "sha256": moved.sha256, "learning": learning}
        save_prompt(tmp_path, card.model_copy(update=told), moved)
    prompts = [f"--prompt={tmp_path}/prompt-{number}.toml" for number in (1, 2)]
    asked = ["--data", str(SAMPLE / "data"), "--images", "2", "--sigma", "0.1", "--n-max", "64"]
    run = evaluate(*asked, *prompts)
    dossier = gather(ask(run, tmp_path, data=None))
    assert [one.evaluated_images for one in dossier.prompts] == [1, None]
    assert [row.learned for row in dossier.rows] == [1, 0]
    said = read_text(print_dossier(dossier))
    assert "1 of the evaluated images from its learning" in said
    assert "not known how many of the evaluated images" in said
    assert "learned on, label included: 1." in said
    assert "zero-shot tuning" not in said
    shipped = json.loads((SAMPLE / "dossier.json").read_text())["dossier"]["prompts"]
    assert [one["evaluated_images"] for one in shipped] == [0]
