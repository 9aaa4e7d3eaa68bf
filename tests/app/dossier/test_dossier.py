"""A frozen run and its dossier: written again, changed in every place, and read as a PDF."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli.__main__ import cli
from app.dossier.files import recompute, write_dossier
from app.dossier.images import Lengths
from app.dossier.printed import print_dossier
from worker.evaluation.accuracy import Share
from worker.evaluation.dossier.document import Dossier
from worker.evaluation.dossier.figures import find_most_false, find_quantiles, find_worst
from worker.evaluation.dossier.finished_run import RunNotSound, load_finished_run
from worker.evaluation.dossier.limits import NO_JUDGEMENT
from worker.evaluation.dossier.signed import check_sealed, parse_sealed, seal

from .conftest import SAMPLE, ask, read_pages, read_text

JUDGEMENTS = r"\b(fit|safe|approved?|compliant|conforms?|suitable|validated|diagnos\w+)\b"


def get_key(sealed: dict[str, Any]) -> str:
    key: str = sealed["signature"]["public_key"]
    return key


def list_leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all values that hold no others, and of all empty lists and objects."""
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    for name, part in parts:
        if isinstance(part, dict | list) and part:
            yield from list_leaves(part, (*path, name))
        else:
            yield (*path, name)


def change(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return value + "x"
        case None:
            return 0
        case _:
            return [*value, 0]


def test_the_frozen_dossier_holds(sealed: dict[str, Any]) -> None:
    findings = check_sealed(sealed, (SAMPLE / "dossier.pdf").read_bytes(), (get_key(sealed),))
    assert [(one.code, one.holds) for one in findings] == [
        ("signature", True),
        ("signer", True),
        ("pdf", True),
    ]
    assert not any(
        "service" in one.sentence for one in (*findings, *check_sealed(sealed, None, ()))
    )


def test_no_value_can_be_changed(sealed: dict[str, Any]) -> None:
    leaves = list(list_leaves(sealed))
    assert len(leaves) > 400
    for *path, last in leaves:
        place: Any = sealed
        for name in path:
            place = place[name]
        before = place[last]
        place[last] = change(before)
        assert not check_sealed(sealed, None, ())[0].holds, (path, last)
        place[last] = before
    assert check_sealed(sealed, None, ())[0].holds


def test_nothing_can_be_left_out_or_added(sealed: dict[str, Any]) -> None:
    for name in list(sealed["dossier"]):
        cut = {**sealed, "dossier": {k: v for k, v in sealed["dossier"].items() if k != name}}
        assert not check_sealed(cut, None, ())[0].holds
    with pytest.raises(ValueError, match="nothing signs it"):
        parse_sealed(json.dumps({**sealed, "note": "approved"}).encode())


def test_a_changed_pdf_and_another_key_are_found(sealed: dict[str, Any]) -> None:
    pdf = bytearray((SAMPLE / "dossier.pdf").read_bytes())
    pdf[len(pdf) // 2] ^= 1
    assert [one.holds for one in check_sealed(sealed, bytes(pdf), ())] == [True, True, False]
    other = seal(sealed["dossier"], b"", b"o" * 32)
    assert not check_sealed(other, None, (get_key(sealed),))[0].holds


def test_another_signer_than_the_run_s_is_found_without_a_key(sealed: dict[str, Any]) -> None:
    """A whole dossier, signed anew by somebody who did not make the run."""
    pdf = (SAMPLE / "dossier.pdf").read_bytes()
    findings = check_sealed(seal(sealed["dossier"], pdf, b"o" * 32), pdf, ())
    assert [one.holds for one in findings] == [True, False, True]
    assert "No signature names the key of the run" in findings[1].sentence
    for named in ({}, {"reproduction": {}}, {"reproduction": 1}):
        unnamed = sealed["dossier"] | named if named else {"kind": sealed["dossier"]["kind"]}
        assert not check_sealed({"dossier": unnamed, "pdf_sha256": ""}, None, ())[1].holds


@pytest.mark.parametrize("signature", ["none", "stale"])
def test_no_digest_protects_a_pdf_that_no_signature_protects(
    sealed: dict[str, Any], signature: str
) -> None:
    forged = (SAMPLE / "dossier.pdf").read_bytes() + b"%approved"
    stale = {"signature": sealed["signature"]} if signature == "stale" else {}
    findings = check_sealed(seal(sealed["dossier"], forged, None) | stale, forged, ())
    assert not findings[0].holds
    assert not findings[2].holds
    assert "No signature protects the PDF" in findings[2].sentence


def test_the_run_gives_the_frozen_dossier_again(
    run: Path, secrets: Path, tmp_path: Path, sealed: dict[str, Any]
) -> None:
    """The same figures, signed by the key of the certificates; the PDF has the same bytes twice."""
    once, twice = (
        write_dossier(ask(run, tmp_path), secrets, tmp_path / name) for name in ("a.pdf", "b.pdf")
    )
    again = parse_sealed(once.json.read_bytes())
    assert all(one.holds for one in recompute(sealed, ask(run, tmp_path)))
    assert get_key(again) == sealed["dossier"]["reproduction"]["signer"]
    assert once.pdf.read_bytes() == twice.pdf.read_bytes()
    assert all(one.holds for one in check_sealed(again, once.pdf.read_bytes(), ()))


def test_a_lie_under_the_right_key_does_not_follow_from_the_run(
    run: Path, tmp_path: Path, sealed: dict[str, Any]
) -> None:
    assert recompute(sealed, ask(run, tmp_path))[0].holds
    sealed["dossier"]["rows"][0]["classes"][0]["wrong"] += 1
    lie = seal(sealed["dossier"], b"", (SAMPLE / "secret").read_bytes())
    assert check_sealed(lie, None, (get_key(sealed),))[0].holds
    (found,) = recompute(lie, ask(run, tmp_path))
    assert not found.holds
    assert "another rows" in found.sentence


def test_the_run_prints_the_pdf_again(run: Path, secrets: Path, tmp_path: Path) -> None:
    """So a PDF that lies is found beside a true JSON file, whoever signed both."""
    options = ask(run, tmp_path)
    written = write_dossier(options, secrets, tmp_path / "a.pdf")
    document, pdf = parse_sealed(written.json.read_bytes()), written.pdf.read_bytes()
    assert [one.holds for one in recompute(document, options, pdf)] == [True, True]
    forged = pdf + b"%approved"
    lie = seal(document["dossier"], forged, (SAMPLE / "secret").read_bytes())
    assert all(one.holds for one in check_sealed(lie, forged, (get_key(document),)))
    assert [one.holds for one in recompute(lie, options, forged)] == [True, False]
    document["dossier"]["reproduction"]["printed_with"] = "reportlab 0.1"
    assert [one.code for one in recompute(document, options, pdf)] == ["run"]


def test_the_images_are_asked_for_where_the_dossier_had_them(
    run: Path, tmp_path: Path, sealed: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="name their folder with --data"):
        recompute(sealed, ask(run, tmp_path, data=None))


def move_label(line: dict[str, Any]) -> None:
    line["class_index"] = (line["class_index"] + 1) % 3


def add_vote(line: dict[str, Any]) -> None:
    line["result"]["certificates"][0]["looks"][-1]["counts"][0] += 1


def raise_radius(line: dict[str, Any]) -> None:
    line["result"]["certificates"][0]["radius"] += 0.1


@pytest.mark.parametrize("tamper", [move_label, add_vote, raise_radius])
def test_a_changed_image_is_refused(run: Path, tamper: Callable[[dict[str, Any]], None]) -> None:
    load_finished_run(run)
    lines = (run / "images.jsonl").read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if n and "result" in json.loads(line))
    line = json.loads(lines[at])
    tamper(line)
    lines[at] = json.dumps(line)
    (run / "images.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(RunNotSound):
        load_finished_run(run)


def test_an_unfinished_run_and_other_results_are_refused(run: Path) -> None:
    results = json.loads((run / "results.json").read_text())
    results["arms"][0]["abstained"] += 1
    (run / "results.json").write_text(json.dumps(results))
    with pytest.raises(RunNotSound, match="does not follow"):
        load_finished_run(run)
    lines = (run / "images.jsonl").read_text().splitlines(keepends=True)
    (run / "images.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(RunNotSound, match="not finished"):
        load_finished_run(run)
    (run / "results.json").unlink()
    with pytest.raises(RunNotSound, match=r"has no results\.json"):
        load_finished_run(run)


def test_other_images_are_refused(run: Path, secrets: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(SAMPLE / "data", tmp_path / "data"))
    one, other = sorted((data / "test" / "platelet").glob("Blood*"))
    one.write_bytes(other.read_bytes())
    with pytest.raises(RunNotSound, match="--data"):
        write_dossier(ask(run, tmp_path, data=data), secrets, tmp_path / "a.pdf")
    assert not (tmp_path / "a.pdf").exists()


def test_nothing_is_computed_where_it_cannot_be_written(run: Path, tmp_path: Path) -> None:
    for out in (tmp_path / "nowhere" / "a.pdf", tmp_path / "a.txt"):
        done = CliRunner().invoke(cli, ["dossier", str(run), "--out", str(out)])
        assert done.exit_code == 2
        assert "--out is" in done.output or "there is no folder" in done.output


def test_the_command_says_what_it_cannot_sign(run: Path, tmp_path: Path) -> None:
    out, own = tmp_path / "a.pdf", tmp_path / "data-dir"
    asked = ["dossier", str(run), "--out", str(out), "--data-dir", str(own)]
    done = CliRunner().invoke(cli, asked)
    assert done.exit_code == 0, done.output
    assert "not signed" in done.output
    verified = CliRunner().invoke(cli, ["verify", str(out)])
    assert verified.exit_code == 1
    assert "no signature that can be read" in verified.output
    assert verified.output.splitlines()[-1].startswith("DOES NOT HOLD: 3 of 3")
    asked = ["verify", str(out), "--run", str(run), "--data-dir", str(own)]
    said = CliRunner().invoke(cli, asked).output
    assert "prints this very PDF" in said
    assert "DOES NOT HOLD: 3 of 5" in said
    assert "without the images" in read_text(out.read_bytes())


def test_the_command_verifies(sealed: dict[str, Any]) -> None:
    asked = ["verify", str(SAMPLE / "dossier.pdf")]
    assert CliRunner().invoke(cli, asked).exit_code == 3
    compared = CliRunner().invoke(cli, [*asked, "--key", get_key(sealed)])
    assert (compared.exit_code, compared.output.splitlines()[-1]) == (0, "HOLDS")
    for other in (SAMPLE / "run" / "results.json", SAMPLE / "README.md"):
        nothing = CliRunner().invoke(cli, ["verify", str(other)])
        assert nothing.exit_code == 2
        assert "no dossier" in nothing.output


def test_a_dossier_is_checked_without_torch_and_reportlab(sealed: dict[str, Any]) -> None:
    """By whoever gets it, on a machine without a worker."""
    program = (
        "import sys; sys.modules |= dict.fromkeys(('torch', 'reportlab', 'open_clip'));"
        "from app.cli.__main__ import cli; cli()"
    )
    command = [sys.executable, "-c", program, "verify", SAMPLE / "dossier.pdf"]
    done = subprocess.run([*command, "--key", get_key(sealed)], capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "HOLDS"), done.stderr


def test_every_page_says_research_use_only_and_none_judges(frozen: Dossier) -> None:
    """Words of approval are in the sentence that denies them, and in the card's own words."""
    pages = read_pages((SAMPLE / "dossier.pdf").read_bytes())
    assert len(pages) >= 4
    assert all("RESEARCH USE ONLY" in page for page in pages)
    text = read_text((SAMPLE / "dossier.pdf").read_bytes())
    assert text.count(NO_JUDGEMENT) == 2
    assert frozen.model is not None
    denied = (NO_JUDGEMENT, frozen.model.intended_use, "proves no distance safe")
    for sentence in denied:
        assert sentence in text
        text = text.replace(sentence, "")
    assert re.findall(JUDGEMENTS, text, re.IGNORECASE) == []


def test_the_pages_show_the_figures_and_digests(frozen: Dossier) -> None:
    text = read_text((SAMPLE / "dossier.pdf").read_bytes())
    question = frozen.results.question
    said = [question.identity.model.sha256, question.listing_sha256, question.key_commitment]
    said += [frozen.reproduction.signer, frozen.reproduction.run_sha256]
    said += [f"{frozen.multiplicity.expected_false:f}", "MIT", *frozen.data.images_by_class]
    assert [one for one in said if one not in text] == []


def test_no_file_of_the_data_is_named() -> None:
    written = (SAMPLE / "dossier.json").read_text() + read_text(
        (SAMPLE / "dossier.pdf").read_bytes()
    )
    assert "BloodImage" not in written
    assert "cut.jpg" not in written
    assert "unsupported" in written, "but why a file was left out is said"


def test_any_number_of_rows_fits_on_pages(frozen: Dossier) -> None:
    """Rows without a right answer, names of any length, and more rows than columns fit."""
    arms, rows = [], []
    for number in range(9):
        for sigma in ("0.1", "0.25"):
            arm, row = frozen.results.arms[0], frozen.rows[0]
            label = f"few-shot+zero-shot ({'a-very-long-prompt-id' * 2}{number})"
            named = row.classes[0].model_copy(update={"class_name": "a very long name " * 11})
            row = row.model_copy(update={"classes": (named,) * 14})
            empty = {"radii_by_image": (None,) * arm.images} if number % 2 else {}
            arms.append(arm.model_copy(update={"label": label, "sigma": Decimal(sigma), **empty}))
            rows.append(row.model_copy(update={"quantiles": ()} if empty else {}))
    order = sorted(range(18), key=lambda at: arms[at].sigma)
    results = frozen.results.model_copy(update={"arms": tuple(arms[at] for at in order)})
    many = frozen.model_copy(update={"results": results, "rows": tuple(rows[at] for at in order)})
    pages = read_pages(print_dossier(many))
    for number in range(9):
        assert any(f"prompt-id{number}" in "".join(page.split()) for page in pages)


def test_the_number_of_false_certificates_is_a_binomial_quantile() -> None:
    """Of 500 at 0.001, more than 3 are false with 0.00172, and more than 4 with 0.00017."""
    assert find_most_false(500, 0.001) == 4
    assert find_most_false(1000, 1e-6) == 1


def test_quantiles_are_radii_themselves() -> None:
    radii = tuple(map(Decimal, ("0.1", "0.2", "0.3", "0.4")))
    assert find_quantiles(radii) == tuple(map(Decimal, ("0.1", "0.1", "0.2", "0.3", "0.4")))
    assert find_quantiles(radii[:1]) == radii[:1] * 5
    assert find_quantiles(()) == ()


def test_worst_classes_are_named_only_where_classes_differ(frozen: Dossier) -> None:
    row = frozen.rows[0]
    alike = [one.model_copy(update={"accuracy": Share.of(1, 2)}) for one in row.classes]
    assert find_worst(row.model_copy(update={"classes": tuple(alike)})) == ()
    alike[1] = alike[1].model_copy(update={"accuracy": Share.of(0, 2)})
    assert find_worst(row.model_copy(update={"classes": tuple(alike)})) == (alike[1],)


def test_a_change_as_long_as_the_radius_is_not_covered(frozen: Dossier) -> None:
    radii = (Decimal("0.5"), Decimal("0.5"), None, Decimal("0.5"))
    arm = frozen.results.arms[0].model_copy(update={"radii_by_image": radii})
    lengths = tuple(map(Decimal, ("0.4", "0.5", "0.1", "0.6")))
    cover = Lengths(id="jpeg-95", title="JPEG", lengths=lengths).cover(arm)
    assert (cover.covered.right, cover.covered.images) == (1, 4)
    assert cover.mean_length == Decimal("0.4")
