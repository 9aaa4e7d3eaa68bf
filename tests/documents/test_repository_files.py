"""Files that a forge or a bot reads: a mistake in them shows only there."""

import json
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
YAML = [*(REPOSITORY / ".github").rglob("*.yml"), REPOSITORY / "CITATION.cff"]


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.name)
def test_yaml_is_well_formed(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text()), dict)


def test_json_is_well_formed() -> None:
    assert json.loads((REPOSITORY / "renovate.json").read_text())["extends"]


def test_the_workflow_calls_targets_that_exist() -> None:
    workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "ci.yml").read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    commands = [step["run"].split() for step in steps if "run" in step]
    targets = {command[1] for command in commands if command[0] == "make"}
    scripts = {command[0] for command in commands if "/" in command[0]}
    makefile = (REPOSITORY / "Makefile").read_text()
    assert targets >= {"check", "demo", "test"}
    assert all(f"\n{target}: " in makefile for target in targets)
    assert all((REPOSITORY / script).is_file() for script in scripts)
