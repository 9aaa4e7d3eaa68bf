"""The command line as a person meets it."""

import json
import os
import subprocess
import sys
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file
from rich.console import Console

from app.cli.certificate_table import print_certificates
from worker.contract.certificate.document import parse_document

PROMPTSMOOTH = Path(sys.executable).with_name("promptsmooth")
COMMANDS = [
    [],
    ["up"],
    ["certify"],
    ["audit"],
    ["reproduce"],
    ["check-votes"],
    ["models"],
    ["models", "list"],
    ["models", "measure-eta"],
]


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROMPTSMOOTH, *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two certificates of a real CT image, made in process."""
    folder = tmp_path_factory.mktemp("cli")
    sigmas = ("--sigma", "0.1", "--sigma", "0.25")
    image = get_testdata_file("CT_small.dcm")
    done = run("certify", image, *sigmas, "--n-max", 200, "--json", "--data-dir", folder / "data")
    assert done.returncode == 0, done.stderr
    path = folder / "certificate.json"
    path.write_text(done.stdout)
    return path


def test_a_table_of_80_columns_cuts_no_figure_and_no_prompting(certificate):
    result = parse_document(json.loads(certificate.read_text()))
    words = {"prompting": "few-shot+zero-shot", "guarantee_scope": "frozen_prompt"}
    (first, *_) = (one for one in result.certificates if one.outcome == "certified")
    long = first.model_copy(update={**words, "prediction": "well [grown] " * 6})
    other = first.model_copy(update={**words, "sigma": Decimal("0.125"), "n_used": 100_000})
    drawn = StringIO()
    shown = result.model_copy(update={"certificates": (long, other)})
    print_certificates(shown, Console(file=drawn, width=80))
    lines = drawn.getvalue().splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert "…" not in drawn.getvalue()
    assert drawn.getvalue().count("[grown]") == 6
    for entry in (long, other):
        figures = {f"{entry.sigma:f}", entry.prompting, str(entry.radius), str(entry.n_used)}
        assert any(figures <= set(line.split()) for line in lines)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(command):
    done = run(*command, "--help")
    assert done.returncode == 0
    assert "Usage: promptsmooth" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--sigma", "much"], "sigma: expected one or more decimal numbers from 0.001 to 10"),
        (["--model", "none"], "There is no model 'none'"),
        (["--targets", "@nowhere.json"], "nowhere.json: No such file"),
        (["--class-name", "long " * 100, "--class-name", "b"], "A text has at most"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_status_2(tmp_path, arguments, sentence):
    image = get_testdata_file("CT_small.dcm")
    done = run("certify", image, "--n-max", 10, "--data-dir", tmp_path, *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_label_sets_come_from_a_file(tmp_path):
    (tmp_path / "targets.json").write_text('[{"class_names": ["a", "b"]}, {"template": "An {}."}]')
    image, targets = get_testdata_file("CT_small.dcm"), f"@{tmp_path / 'targets.json'}"
    asked = ("--n-max", 100, "--minimum-radius", "0.01", "--targets", targets, "--json")
    done = run("certify", image, *asked, "--data-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)["certificates"]
    assert (first["class_names"], second["template"]) == (["a", "b"], "An {}.")
    assert first["minimum_radius"] == 0.01


def test_what_is_no_image_is_a_sentence(tmp_path):
    path = tmp_path / "scan.png"
    path.write_text("no image")
    done = run("certify", path, "--data-dir", tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "Expected a PNG" in done.stderr


def test_an_audit_says_by_its_exit_status_whether_all_holds(certificate, tmp_path):
    assert run("audit", certificate).returncode == 0
    forged = json.loads(certificate.read_text())
    forged["certificates"][0]["p_a_lower"] = 0.99
    (tmp_path / "forged.json").write_text(json.dumps(forged))
    done = run("audit", tmp_path / "forged.json")
    assert done.returncode == 1
    assert "changed after it was signed" in done.stdout
    assert "p_a_lower is above" in done.stdout


def test_an_audit_trusts_the_key_it_is_given(certificate):
    key = json.loads(certificate.read_text())["signature"]["public_key"]
    assert run("audit", certificate, "--key", key).returncode == 0
    assert run("audit", certificate, "--key", "A" * 43 + "=").returncode == 1


def test_a_certificate_is_reproduced_from_its_image(certificate):
    image = get_testdata_file("CT_small.dcm")
    assert run("reproduce", certificate, image).returncode == 0
    other = run("reproduce", certificate, get_testdata_file("MR_small.dcm"))
    assert other.returncode == 2
    assert "not the certified one" in other.stderr


def test_a_port_in_use_is_a_sentence(stack, tmp_path):
    port = stack.http.base_url.port
    done = run("up", "--port", port, "--data-dir", tmp_path)
    assert done.returncode == 2
    assert "choose another with --port" in done.stderr


def test_a_redis_that_is_not_there_is_a_sentence(tmp_path, free_port):
    url = f"redis://127.0.0.1:{free_port}/0"
    done = run("up", "--port", free_port, "--data-dir", tmp_path, REDIS_URL=url)
    assert done.returncode == 2
    assert "Redis does not answer" in done.stderr
    wrong = run("up", "--port", free_port, "--data-dir", tmp_path, REDIS_URL="nonsense")
    assert wrong.returncode == 2
    assert "no address of a Redis server" in wrong.stderr
