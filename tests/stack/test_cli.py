"""The command line as a person meets it."""

import json
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest
from click.testing import Result
from command import run
from pydicom.data import get_testdata_file
from rich.console import Console
from same_noise import with_secret
from typer.testing import CliRunner

from app.cli.__main__ import cli
from app.cli.certificate_table import print_certificates
from worker.contract.certificate.document import parse_document

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


def run_here(*arguments: object) -> Result:
    """In this process, which has torch already; an exception that leaves a command is raised."""
    return CliRunner().invoke(cli, [str(one) for one in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two certificates of a real CT image, made in process."""
    folder = tmp_path_factory.mktemp("cli")
    sigmas = ("--sigma", "0.1", "--sigma", "0.25")
    image = get_testdata_file("CT_small.dcm")
    asked = (*sigmas, "--n-max", 200, "--json", "--data-dir", with_secret(folder / "data"))
    done = run_here("certify", image, *asked)
    assert done.exit_code == 0, done.stderr
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
    done = run_here(*command, "--help")
    assert done.exit_code == 0
    assert "Usage: promptsmooth" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--sigma", "much"], "sigma: expected one or more decimal numbers from 0.001 to 10"),
        (["--model", "none"], "There is no model 'none'"),
        (["--targets", "@nowhere.json"], "nowhere.json: No such file"),
        (["--class-name", "long " * 100, "--class-name", "b"], "class names of at most 200"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_status_2(tmp_path, arguments, sentence):
    image = get_testdata_file("CT_small.dcm")
    done = run_here("certify", image, "--n-max", 10, "--data-dir", tmp_path, *arguments)
    assert done.exit_code == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_label_sets_come_from_a_file(tmp_path):
    (tmp_path / "targets.json").write_text('[{"class_names": ["a", "b"]}, {"template": "An {}."}]')
    image, targets = get_testdata_file("CT_small.dcm"), f"@{tmp_path / 'targets.json'}"
    asked = ("--n-max", 100, "--minimum-radius", "0.01", "--targets", targets, "--json")
    done = run_here("certify", image, *asked, "--data-dir", with_secret(tmp_path))
    assert done.exit_code == 0, done.stderr
    first, second = json.loads(done.stdout)["certificates"]
    assert (first["class_names"], second["template"]) == (["a", "b"], "An {}.")
    assert first["minimum_radius"] == 0.01


def test_what_is_no_image_is_a_sentence(tmp_path):
    path = tmp_path / "scan.png"
    path.write_text("no image")
    done = run_here("certify", path, "--data-dir", tmp_path)
    assert (done.exit_code, "Traceback" in done.stderr) == (2, False)
    assert "Expected a PNG" in done.stderr


def find_key(certificate: Path) -> str:
    return str(json.loads(certificate.read_text())["signature"]["public_key"])


def test_an_audit_ends_with_a_verdict_and_says_by_its_exit_status_who_was_trusted(certificate):
    key = find_key(certificate)
    trusted, untrusted = (
        run_here("audit", certificate, "--key", key),
        run_here("audit", certificate),
    )
    assert (trusted.exit_code, untrusted.exit_code) == (0, 3)
    said = "HOLDS: 2 certificates, signed by"
    assert trusted.stdout.splitlines()[-1] == f"{said} the trusted key {key}"
    assert untrusted.stdout.splitlines()[-1] == f"{said} {key}; key not compared"


def test_an_audit_prints_failures_first_and_what_holds_when_it_is_asked(certificate, tmp_path):
    forged = json.loads(certificate.read_text())
    forged["certificates"][0]["p_a_lower"] = 0.99
    (tmp_path / "forged.json").write_text(json.dumps(forged))
    done = run_here("audit", tmp_path / "forged.json")
    assert done.exit_code == 1
    *findings, unsigned, verdict = done.stdout.splitlines()
    assert all(line.startswith("FAILS") for line in findings)
    assert "changed after it was signed" in findings[0]
    assert any("p_a_lower is above" in line for line in findings)
    assert unsigned.startswith("unsigned")
    assert verdict == f"DOES NOT HOLD: {len(findings)} findings"
    whole = run_here("audit", tmp_path / "forged.json", "--verbose").stdout.splitlines()
    words = [line.split(maxsplit=1)[0] for line in whole]
    assert words[: len(findings) + 1] == ["FAILS"] * len(findings) + ["holds"]
    assert "not seen" in "\n".join(whole)


def test_an_audit_names_what_the_signature_does_not_cover(certificate, tmp_path):
    around = json.loads(certificate.read_text()) | {"id": "made up", "\x1b[2K": 1}
    (tmp_path / "around.json").write_text(json.dumps(around))
    done = run_here("audit", tmp_path / "around.json", "--key", find_key(certificate))
    assert done.exit_code == 0
    assert r'can have changed "\u001b[2K", "id", "status".' in done.stdout


def test_an_audit_trusts_the_key_it_is_given(certificate):
    assert run_here("audit", certificate, "--key", "A" * 43 + "=").exit_code == 1


def test_a_certificate_goes_on_from_its_file_part_by_part_to_its_cap(tmp_path):
    # At this noise almost every sample votes alike, so that no look ends a part early.
    image = get_testdata_file("CT_small.dcm")
    options = ["--sigma", "0.1", "--n-max", 100, "--n-cap", 400, "--tolerance", "0", "--json"]
    command = ["certify", image, *options, "--data-dir", with_secret(tmp_path / "data")]
    kept, parts = tmp_path / "kept.json", []
    for part in range(3):
        going_on = ["--continue", kept] if part else []
        done = run_here(*command, *going_on)
        assert done.exit_code == 0, done.stderr
        kept.write_text(done.stdout)
        parts.append(json.loads(done.stdout))
        assert run_here("audit", kept, "--key", find_key(kept)).exit_code == 0
    entries = [part["certificates"][0] for part in parts]
    assert [entry.get("continuations", 0) for entry in entries] == [0, 1, 2]
    assert [entry["n_used"] for entry in entries] == [100, 200, 400]
    assert {entry["attempts"] for entry in entries} == {1}
    assert len({json.dumps(part["provenance"]["noise_keys"]) for part in parts}) == 1
    over = run_here(*command, "--continue", kept)
    assert (over.exit_code, "no further samples" in over.stderr) == (2, True)
    kept.write_text(json.dumps(parts[0]))
    other = run_here(*command, "--attempt", 1, "--continue", kept)
    assert (other.exit_code, "has other noise" in other.stderr) == (2, True)


def test_a_radius_that_the_samples_cannot_prove_is_said_before_the_result(tmp_path):
    image = get_testdata_file("CT_small.dcm")
    options = ["--sigma", "0.1", "--n-max", 100, "--target-radius", "0.5", "--json"]
    done = run_here("certify", image, *options, "--data-dir", with_secret(tmp_path))
    assert done.exit_code == 0
    assert "note: 100 samples prove a radius of at most" in done.stderr
    assert json.loads(done.stdout)["certificates"]


def test_a_certificate_is_reproduced_from_its_image(certificate):
    image = get_testdata_file("CT_small.dcm")
    assert run_here("reproduce", certificate, image).exit_code == 0
    other = run_here("reproduce", certificate, get_testdata_file("MR_small.dcm"))
    assert other.exit_code == 2
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
    assert "not the address of a Redis server" in wrong.stderr
