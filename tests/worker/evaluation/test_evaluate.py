"""A whole evaluation against geometry; interrupted, repeated, and refused."""

import csv
import json
import re
from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from worker.contract import CohenParameters, InputImage, StagedParameters, TemplateTarget
from worker.contract.certificate.audit import audit_document
from worker.contract.certificate.signature import create_signing_key, encode_public_key
from worker.contract.witness import WitnessSettings
from worker.evaluation.evaluate import evaluate
from worker.evaluation.latex_table import escape, format_latex
from worker.evaluation.loaded.baselines import Baseline
from worker.evaluation.noiseless import Noiseless
from worker.evaluation.results import (
    PUBLISHED_RADII,
    EvaluationResults,
    create_results,
    find_largest_radius,
)
from worker.evaluation.run_file import RUN_FILE, RunFile, RunNotContinued
from worker.evaluation.run_secret import OLD_FILE, find_run_secret
from worker.evaluation.tables import format_markdown, format_mean_radius, format_ratio
from worker.evaluation.written import write_results
from worker.key_secret import SecretUnusable, commitment
from worker.sampling.table import create_noise_table

DAY = date(2026, 11, 30)
RADII = tuple(map(Decimal, ("0", "0.05", "0.1", "0.2", "0.3", "0.5")))


def run(asked, **options):
    return evaluate(asked, radii=RADII, **options)


def digest_table(sigma: Decimal) -> str:
    return create_noise_table(sigma).sha256


def read_lines(asked) -> list[dict]:
    return [json.loads(line) for line in (asked.folder / RUN_FILE).read_text().splitlines()]


def test_certified_accuracy_never_exceeds_the_true_one(create_evaluation, labelled):
    """Geometry is the oracle: the true radius of an image is its distance to the plane."""
    results = run(create_evaluation())
    distances = labelled.distances.values()
    for arm in results.arms:
        assert arm.images == len(distances) == 12
        for at in arm.at_radius:
            true = sum(distance > at.radius for distance in distances)
            assert at.accuracy.right <= true
            assert at.accuracy.images == 12
    first = results.arms[0]
    assert first.at_radius[1].accuracy.right >= 6, "sigma 0.1 shows what lies well inside"
    assert results.arms[1].at_radius[3].accuracy.right >= 2, "and sigma 0.25 what lies further"


def test_each_image_is_certified_below_its_own_distance(create_evaluation, labelled):
    asked = create_evaluation()
    run(asked)
    for line in read_lines(asked)[1:]:
        distance = labelled.distances[line["file"]]
        for certificate in line["result"]["certificates"]:
            if certificate["outcome"] == "certified":
                assert certificate["radius"] < abs(distance)
                assert (certificate["class_index"] == line["class_index"]) == (distance > 0)


def test_abstentions_and_wrong_classes_count_as_wrong(create_evaluation, labelled):
    """Two images lie almost on the plane, and the labels of two others are wrong."""
    assert sum(abs(distance) < 0.01 for distance in labelled.distances.values()) == 2
    for arm in run(create_evaluation()).arms:
        assert arm.abstained >= 2
        assert arm.wrong == 2
        assert arm.at_radius[0].accuracy.right == 12 - arm.abstained - arm.wrong
        assert arm.clean is not None
        assert (arm.clean.right, arm.clean.images) == (10, 12), "without noise none abstains"


@pytest.mark.long
@pytest.mark.parametrize("procedure", [CohenParameters(n0=50, n=500), StagedParameters(n_max=500)])
def test_the_table_does_not_depend_on_how_many_images_are_under_way(create_evaluation, procedure):
    tables = [
        run(create_evaluation(f"by-{n}", concurrent=n, procedure=procedure)).arms for n in (1, 2, 8)
    ]
    assert tables[0] == tables[1] == tables[2]


class Interrupted(BaseException):
    """Like ctrl-C."""


def stop_after(images: int):
    def on_progress(progress):
        if progress.images >= images:
            raise Interrupted

    return on_progress


@pytest.mark.long
def test_an_interrupted_run_goes_on_and_ends_in_the_same_results(create_evaluation):
    whole = create_evaluation("whole")
    broken = create_evaluation("broken", concurrent=2)
    expected = run(whole)
    for images in (2, 5):
        with pytest.raises(Interrupted):
            run(broken, on_progress=stop_after(images))
        assert len(read_lines(broken)) < 13
    path = broken.folder / RUN_FILE
    path.write_bytes(path.read_bytes() + b'{"place": 11, "fi')  # what a kill cuts short
    found = run(broken)
    assert found.arms == expected.arms
    assert found.question == expected.question
    assert found.cost.samples == expected.cost.samples == 12 * 2 * 850
    assert found.cost.sittings > expected.cost.sittings == 1
    for asked, results in ((whole, expected), (broken, found)):
        write_results(results, asked.folder, written=DAY)
    for name in ("results.csv", "plot.svg"):
        assert (whole.folder / name).read_bytes() == (broken.folder / name).read_bytes()


def test_a_finished_run_certifies_nothing_again(create_evaluation):
    asked = create_evaluation()
    first = run(asked)
    before = (asked.folder / RUN_FILE).read_bytes()
    seen = []
    assert run(asked, on_progress=seen.append) == first
    assert (asked.folder / RUN_FILE).read_bytes() == before
    assert seen[-1].samples == 0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"alpha": Decimal("0.002")}, "a different alpha"),
        ({"sigmas": (Decimal("0.1"),)}, "a different set of noise levels"),
        ({"images": 4}, "a different number of images"),
        (
            {"targets": (TemplateTarget(template="{}", class_names=("below", "above")),)},
            "a different prompting, prompt, class name or template",
        ),
    ],
)
def test_a_run_is_not_continued_under_another_question(create_evaluation, changes, sentence):
    with pytest.raises(Interrupted):
        run(create_evaluation(), on_progress=stop_after(1))
    with pytest.raises(RunNotContinued, match=sentence):
        run(create_evaluation(**changes))


@pytest.mark.parametrize(("fingerprint", "word"), [("a" * 64, "model"), (None, None)])
def test_another_tau_is_another_run_only_of_an_f_that_a_fingerprint_names(
    create_evaluation, fingerprint, word
):
    """Without one, tau is measured in each sitting, and each document has its own."""
    question = create_evaluation().create_question(b"s" * 32)
    questions = [
        question.model_copy(
            update={
                "identity": question.identity.model_copy(
                    update={"fingerprint": fingerprint, "tau": tau}
                )
            }
        )
        for tau in (0.0, 0.001)
    ]
    found = questions[0].find_difference(questions[1])
    assert (found is None) == (word is None)


def test_images_that_changed_are_another_run(create_evaluation, tmp_path):
    asked = create_evaluation()
    with pytest.raises(Interrupted):
        run(asked, on_progress=stop_after(1))
    changed = [file for file in asked.files if file.class_index == 0][::-1]
    others = [file for file in asked.files if file.class_index == 1]
    with pytest.raises(RunNotContinued, match="choice or content of the images"):
        run(create_evaluation(files=[*changed, *others]))


def test_a_file_that_is_no_run_is_left_alone(create_evaluation):
    asked = create_evaluation()
    (asked.folder / RUN_FILE).write_text('{"something": "else"}\n')
    with pytest.raises(RunNotContinued, match="not a run of this version"):
        run(asked)
    assert (asked.folder / RUN_FILE).read_text() == '{"something": "else"}\n'


def test_a_file_that_is_no_image_is_skipped_and_named(create_evaluation, tmp_path):
    """The others get the same certificates as without it, also after an interruption."""
    few = CohenParameters(n0=10, n=20)
    asked = create_evaluation(images=3, procedure=few)
    letter = tmp_path / "letter.png"
    letter.write_text("a letter")
    files = list(asked.files)
    bad = replace(files[1], path=letter, name="above/lettre d'\udce9t\udce9.png")  # Latin-1
    with_bad = create_evaluation("bad", files=[files[0], bad, *files[1:]], procedure=few)
    with pytest.raises(Interrupted):
        run(with_bad, on_progress=stop_after(2))
    results, sound = run(with_bad), run(asked)
    (skipped,) = results.skipped
    assert (skipped.place, skipped.code) == (1, "image_format_unsupported")
    assert skipped.file == r"above/lettre d'\udce9t\udce9.png"
    assert results.arms == sound.arms
    assert results.question.images == 4
    assert EvaluationResults.model_validate_json(results.model_dump_json()) == results
    assert "skipped" not in sound.model_dump_json()
    assert "Of 4 chosen files, 1 could not be decoded" in format_markdown(results, written=DAY)
    with pytest.raises(ValueError, match="none of the 1 images can be used"):
        run(create_evaluation("only", files=[bad]))


def test_results_need_every_image_once(create_evaluation):
    asked = create_evaluation(images=4)
    run(asked)
    question = asked.create_question(b"e" * 32)
    with RunFile(asked.folder / RUN_FILE, question) as stored:
        images = list(stored.images.values())
    noiseless = [Noiseless() for _ in question.rows]
    results = create_results(question, images, radii=RADII, noiseless=noiseless)
    assert results.arms[0].images == 4
    for wrong in (images[1:], [*images, images[0]]):
        with pytest.raises(ValueError, match="each of 4 images once"):
            create_results(question, wrong, radii=RADII, noiseless=noiseless)


def test_every_image_of_a_run_can_be_audited(create_evaluation):
    asked = create_evaluation(images=4, procedure=StagedParameters(n_max=300))
    run(asked)
    header, *lines = read_lines(asked)
    assert len(lines) == 4
    key = create_signing_key(b"e" * 32).public_key()
    for line in lines:
        assert line["result"]["provenance"]["key_commitment"] == header["key_commitment"]
        report = audit_document(line["result"], (encode_public_key(key),), digest_table)
        assert [finding.sentence for finding in report.findings if not finding.holds] == []


def test_the_folder_of_a_run_has_no_secret_and_may_be_moved(create_evaluation, tmp_path):
    """Whoever publishes it gives nothing away, and the machine that began it continues it."""
    asked = create_evaluation(images=2, procedure=CohenParameters(n0=10, n=20))
    (asked.folder / OLD_FILE).unlink()  # as a run begins now
    with pytest.raises(Interrupted):
        run(asked, on_progress=stop_after(1))
    (kept,) = asked.secrets.iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.name == commitment(kept.read_bytes()) == read_lines(asked)[0]["key_commitment"]
    secret = kept.read_bytes()
    assert not [path for path in asked.folder.rglob("*") if secret in _read(path)]
    moved = replace(asked, folder=asked.folder.rename(tmp_path / "moved"))
    assert run(moved).arms[0].images == 2
    kept.unlink()
    with pytest.raises(SecretUnusable, match="Continue the run on the machine that began it"):
        run(moved)


def _read(path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def test_a_secret_that_an_earlier_version_left_in_the_folder_is_moved(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / OLD_FILE).write_bytes(b"o" * 32)
    for _ in range(2):
        found = find_run_secret(tmp_path / "run" / RUN_FILE, tmp_path / "secrets")
        assert found == b"o" * 32
        assert not (tmp_path / "run" / OLD_FILE).exists()
        header = {"key_commitment": commitment(found)}
        (tmp_path / "run" / RUN_FILE).write_text(json.dumps(header) + "\n")


def test_results_say_what_was_run_and_when(create_evaluation, linear_vlm):
    asked = create_evaluation(images=2, procedure=CohenParameters(n0=10, n=20))
    text = format_markdown(run(asked), written=DAY)
    question = asked.create_question(b"e" * 32)
    for said in (
        f"`linear`, SHA-256 `{linear_vlm.card.sha256}`",
        "2 of labelled test, chosen with seed 3",
        question.listing_sha256,
        question.key_commitment,
        f"torch {question.identity.versions['torch']}",
        "written: 2026-11-30",
    ):
        assert said in text


def test_the_latex_table_has_the_figures_of_the_markdown(create_evaluation):
    """Each row has as many cells as the columns that it declares, and no sign that would break."""
    results = run(create_evaluation(procedure=CohenParameters(n0=50, n=200)))
    lines = format_latex(results).splitlines()
    (columns,) = [
        re.search(r"tabular\}\{(\w+)\}", line)[1] for line in lines if "{tabular}{" in line
    ]
    rows = [line.strip().removesuffix(r" \\").split(" & ") for line in lines if " & " in line]
    assert {len(row) for row in rows} == {len(columns)}
    assert len(rows) == 1 + len(results.arms)
    first = results.arms[0]
    assert rows[1][0] == "template"
    assert rows[1][2] == format_ratio(first.abstained, 12)
    assert rows[1][3] == format_mean_radius(first)
    assert rows[1][4] == format_ratio(first.at_radius[0].accuracy.right, 12)
    assert "--" in rows[1], "0.5 is out of reach at sigma 0.1"
    assert escape(r"50% of_a\b & {c}") == r"50\% of\_a\textbackslash{}b \& \{c\}"


def test_results_of_a_version_before_have_the_mean_radius_too(create_evaluation):
    results = run(create_evaluation(images=4))
    stored = json.loads(results.model_dump_json())
    for arm in stored["arms"]:
        del arm["mean_radius"]
    assert EvaluationResults.model_validate_json(json.dumps(stored)) == results


def test_an_attempt_on_an_image_is_counted_once_a_roll(create_evaluation):
    """Two runs under two secrets roll twice for an image, and a certificate says so."""
    first, second = create_evaluation("first", images=2), create_evaluation("second", images=2)
    (second.folder / OLD_FILE).write_bytes(b"f" * 32)
    for asked, attempts in ((first, 1), (first, 1), (second, 2)):
        run(asked)
        for line in read_lines(asked)[1:]:
            assert {c["attempts"] for c in line["result"]["certificates"]} == {attempts}


@pytest.mark.parametrize(
    ("procedure", "largest"),
    [(CohenParameters(n=10_000), "3.199"), (StagedParameters(n_max=10_000), "3.170")],
)
def test_the_largest_radius_is_the_one_that_ten_thousand_samples_can_show(
    create_evaluation, procedure, largest
):
    """Frozen values of CERTIFICATE 3, in units of sigma, for two classes."""
    asked = create_evaluation(procedure=procedure, alpha=Decimal("0.001"))
    question = asked.create_question(b"e" * 32)
    described = InputImage(sha256="0" * 64, height=16, width=16, source="png")
    found = find_largest_radius(question.create_request(described), asked.targets[0], Decimal(1))
    assert found.quantize(Decimal("0.001")) == Decimal(largest)


def test_the_markdown_has_every_arm_and_marks_what_is_out_of_reach(create_evaluation):
    asked = create_evaluation(procedure=CohenParameters(n0=50, n=200))
    results = evaluate(asked, radii=PUBLISHED_RADII)
    write_results(results, asked.folder, written=DAY)
    text = (asked.folder / "results.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| template")]
    assert len(rows) == 2
    assert rows[0].rstrip(" |").endswith("–"), "radius 2.5 at sigma 0.1"
    reach = [float(arm.largest_radius) for arm in results.arms]
    assert [row.count("–") for row in rows] != [0, 0]
    assert reach[0] < reach[1]
    csv = (asked.folder / "results.csv").read_text("utf-8").splitlines()
    assert len(csv) == 1 + 2 * len(PUBLISHED_RADII)
    assert (asked.folder / "plot.png").stat().st_size > 10_000


def test_the_template_is_what_every_other_row_is_compared_with(create_evaluation, linear_vlm):
    """Other words for the two sides are neither's, so that row is right on no image."""
    names = ("below", "above")
    targets = (
        TemplateTarget(template=linear_vlm.card.template, class_names=names),
        TemplateTarget(template="Not below, not above, {}.", class_names=names),
    )
    template, other, *_ = run(create_evaluation(targets=targets)).arms
    assert all(at.paired is None for at in template.at_radius)
    for at, there in zip(other.at_radius, template.at_radius, strict=True):
        assert at.accuracy.right == 0
        assert (at.paired.gained, at.paired.lost) == (0, there.accuracy.right)
        assert at.paired.low <= at.paired.difference == -there.accuracy.share <= at.paired.high
        assert at.paired.p_value == pytest.approx(min(1, 2 * 0.5**there.accuracy.right))


def test_results_are_read_back_as_they_were_written(create_evaluation, linear_vlm):
    asked = create_evaluation(
        images=4, baselines=(Baseline(name="denoised", sigma=Decimal("0.1"), vlm=linear_vlm),)
    )
    results = run(asked)
    write_results(results, asked.folder, written=DAY)
    text = (asked.folder / "results.json").read_bytes()
    assert EvaluationResults.model_validate_json(text) == results
    with (asked.folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["baseline"], row["sigma"]) for row in rows[:: len(RADII)]] == [
        ("", "0.1"),
        ("denoised", "0.1"),
        ("", "0.25"),
    ]
    markdown = (asked.folder / "results.md").read_text("utf-8")
    assert "| denoised | 0.1 | +0.000 (+0.00 to +0.00), p = 1.0 |" in markdown


def test_attacks_on_the_first_images_end_beyond_every_radius(create_evaluation, linear, labelled):
    """R_attack over R is at least 1, and on a plane the undefended change is the distance to it."""
    short = WitnessSettings(steps=10, copies=2, votes=400)
    asked = create_evaluation(attacked=3, witness=short)
    results = run(asked)
    for arm in results.arms:
        found = arm.tightness
        assert (found.images, found.alarms) == (3, 0)
        assert found.certified >= len(found.ratios)
        assert all(ratio > 1 for ratio in found.ratios)
        truth = [abs(labelled.distances[file.shown_name]) for file in asked.files[:3]]
        assert len(found.undefended) == 3
        for distance, true in zip(found.undefended, truth, strict=True):
            assert true <= distance <= 1.3 * true + 2 / 255
    assert any(arm.tightness.ratios for arm in results.arms)
    kept = (asked.folder / "witnesses.jsonl").read_bytes()
    assert run(asked).arms == results.arms  # a later sitting looks for nothing again
    assert (asked.folder / "witnesses.jsonl").read_bytes() == kept
    (asked.folder / "witnesses.jsonl").write_bytes(kept[:-20])  # a kill cut the last line
    assert run(asked).arms == results.arms
    again = (asked.folder / "witnesses.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["place"] for line in again] == [0, 1, 2]
    write_results(results, asked.folder, written=DAY)
    assert "How near attacks came" in (asked.folder / "results.md").read_text("utf-8")
    assert EvaluationResults.model_validate_json((asked.folder / "results.json").read_bytes()) == (
        results
    )


def test_nothing_is_attacked_unless_somebody_asks(create_evaluation):
    asked = create_evaluation(images=3)
    assert all(arm.tightness is None for arm in run(asked).arms)
    assert not (asked.folder / "witnesses.jsonl").exists()
