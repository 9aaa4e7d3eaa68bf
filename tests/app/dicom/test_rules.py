"""Rules say what is taken, why not, and which images of a series."""

import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydicom import dcmread
from pydicom.uid import (
    Comprehensive3DSRStorage,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)
from typer.testing import CliRunner

from app.cli.__main__ import cli
from app.dicom.instance import Instance, InstanceUnreadable, read_instance
from app.dicom.rules import RulesInvalid, load_rules, load_sources

from .conftest import create_rules

SLICE = Instance(
    sop_class_uid=str(CTImageStorage),
    sop_instance_uid="1.2.3",
    study_uid="1.2",
    series_uid="1.2.1",
    modality="CT",
    body_part="CHEST",
    series_description="Lung 1.0 B60f",
    number=4,
)
GUIDE = Path(__file__).parents[3] / "docs" / "pacs.md"
FILE = """
unmatched = "refuse"
[destinations.pacs]
kind = "stow"
url = "https://pacs.hospital.example/dicom-web"
[[rules]]
name = "chest-ct"
match = { modality = ["CT"] }
request = { sigma = ["0.25"], alpha = "0.0005", joint = true }
every = 2
send_to = ["pacs"]
"""


@pytest.mark.parametrize(
    ("match", "objection"),
    [
        ({}, None),
        ({"modality": ["MR", "ct"]}, None),
        ({"modality": ["MR"]}, "its modality is CT, not MR"),
        ({"body_part": ["HEAD", "NECK"]}, "its body part is CHEST, not HEAD or NECK"),
        ({"sop_class": [str(CTImageStorage)], "calling_ae": ["CT1"]}, None),
        ({"calling_ae": ["CT2"]}, "its calling AE is CT1, not CT2"),
        ({"series_description": ["*bone*", "lung*"]}, None),
        ({"series_description": ["*bone*"]}, "its series description does not match *bone*"),
    ],
)
def test_a_rule_says_why_it_does_not_take_an_image(match, objection):
    (rule,) = create_rules({"match": match}).rules
    assert rule.find_objection(SLICE, "CT1") == objection


def test_every_kth_image_is_taken_by_its_number():
    (rule,) = create_rules({"every": 3}).rules
    taken = [
        number
        for number in range(1, 11)
        if not rule.find_objection(Instance(**{**vars(SLICE), "number": number}), "CT1")
    ]
    assert taken == [1, 4, 7, 10]


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [
        ({"middle": True}, {5}),
        ({"at_most": 3}, {1, 4, 7}),
        ({"at_most": 99}, set(range(1, 11))),
        ({"at_most": 2, "every": 3}, {1, 7}),
        ({"at_most": 1}, {1}),
    ],
)
def test_a_choice_is_spread_over_the_series_whatever_order_it_came_in(choice, chosen):
    (rule,) = create_rules(choice).rules
    numbers = [7, 1, 10, 2, 9, 3, 8, 4, 6, 5]
    found = {numbers[place] for place in rule.choose(numbers)}
    assert found == ({6} if choice == {"middle": True} else chosen)


def test_a_frame_is_chosen_where_there_are_several():
    middle, third, none = create_rules(
        {"frame": "middle"}, {"name": "b", "frame": 2}, {"name": "c"}
    ).rules
    assert [rule.choose_frame(9) for rule in (middle, third, none)] == [4, 2, None]
    assert middle.choose_frame(1) is None


def test_another_rule_has_another_digest():
    first, same = create_rules().rules[0], create_rules().rules[0]
    other = create_rules({"request": {"sigma": ["0.5"]}}).rules[0]
    assert first.digest == same.digest != other.digest


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ({"request": {"sigma": ["0"]}}, "sigma"),
        ({"request": {"sigma": ["0.25"], "frame": 3}}, "frame is not for a rule's request"),
        ({"request": {"sigma": ["0.25"], "colour": "red"}}, "colour"),
        ({"middle": True, "at_most": 3}, "leave at_most out"),
        ({"send_to": ["elsewhere"]}, "sends to elsewhere, which is not there"),
        ({"send_to": []}, "send_to"),
        ({"frame": -1}, "frame"),
        ({"taste": "sweet"}, "taste"),
    ],
)
def test_what_a_rule_cannot_mean_is_refused(rule, sentence):
    with pytest.raises(ValidationError, match=sentence):
        create_rules(rule)


def test_a_file_of_rules_is_read_and_its_faults_are_placed(tmp_path):
    path = tmp_path / "rules.toml"
    path.write_text(FILE)
    found = load_rules(path)
    assert (found.unmatched, found.rules[0].fields["joint"]) == ("refuse", "true")
    for text, sentence in (
        (FILE.replace('"0.25"', '"0"'), r"rules.0: sigma"),
        (FILE.replace('"stow"', '"fax"'), r"destinations.pacs"),
        ("=", "no TOML"),
    ):
        path.write_text(text)
        with pytest.raises(RulesInvalid, match=sentence):
            load_rules(path)
    with pytest.raises(RulesInvalid, match="cannot be read"):
        load_rules(tmp_path / "none.toml")


def test_the_rules_of_the_guide_can_be_used(tmp_path):
    rules, cine, sources, dcm4chee = re.findall(r"```toml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    path = tmp_path / "rules.toml"
    path.write_text(rules + cine + sources)
    found = load_rules(path)
    assert list(found.rules[1].choose_frames(12)) == [0, 5, 10]
    assert set(found.destinations) == {"pacs", "archive"}
    assert {name: one.kind for name, one in found.sources.items()} == {
        "pacs": "dicomweb",
        "archive": "cmove",
    }
    assert found.rules[0].codes["pneumonia"].scheme == "SCT"
    path.write_text(dcm4chee)
    assert set(load_sources(path)) == {"archive"}


def test_the_command_says_what_would_happen_and_why(tmp_path, write):
    path = tmp_path / "rules.toml"
    path.write_text(FILE)

    def check(*more: object) -> str:
        command = ["dicom", "rules", "--check", path, *more]
        done = CliRunner().invoke(cli, list(map(str, command)))
        assert done.exit_code == 0, done.output
        return done.output

    assert "1 rules can be used" in check()
    said = check("--with", write(InstanceNumber=3))
    assert "chest-ct: takes it" in said
    assert "certifies every 2th image of its series" in said
    assert "results go to pacs" in said
    other = check("--with", write("b", Modality="MR"))
    assert "chest-ct: its modality is MR, not CT" in other
    assert "no rule takes it: the node would refuse it" in other


def test_an_object_is_described_by_its_header_alone(write):
    found = read_instance(write(SeriesDescription="Lung", BodyPartExamined="CHEST"))
    assert (found.modality, found.body_part, found.series_description) == ("CT", "CHEST", "Lung")
    assert (found.number, found.frames) == (1, 1)


@pytest.mark.parametrize("content", [b"", b"\x00" * 128 + b"DICM", b"\x00" * 5000, b"not an image"])
def test_what_is_no_object_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "x.dcm"
    path.write_bytes(content)
    with pytest.raises(InstanceUnreadable):
        read_instance(path)


def test_a_deflated_object_is_read_unless_it_would_fill_the_memory(write):
    path = write()
    with pytest.raises(InstanceUnreadable, match="when it is inflated"):
        read_instance(deflate(path, zeros=300 * 2**20))
    assert read_instance(deflate(path, zeros=2**20)).modality == "CT"


def deflate(path: Path, zeros: int) -> Path:
    """The object deflated, with so many bytes of zeros after it in a private element."""
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    made = path.with_suffix(".deflated")
    dataset.save_as(made)
    content = made.read_bytes()
    head = content[: 144 + int.from_bytes(content[140:144], "little")]
    inflated = zlib.decompress(content[len(head) :], -zlib.MAX_WBITS)
    element = struct.pack("<HH2sHI", 0x7FE1, 0x1010, b"OB", 0, zeros)
    packing = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packing.compress(inflated + element)
    for _ in range(zeros // 2**20):
        packed += packing.compress(bytes(2**20))
    made.write_bytes(head + packed + packing.flush())
    return made


def test_an_object_without_its_uids_is_refused(write):
    with pytest.raises(InstanceUnreadable, match="UIDs"):
        read_instance(write(SeriesInstanceUID=""))


def test_no_rule_takes_what_is_no_image_or_what_a_node_wrote():
    (rule,) = create_rules().rules
    assert rule.find_objection(SLICE, "CT1") is None
    report = replace(SLICE, sop_class_uid=str(Comprehensive3DSRStorage))
    assert rule.find_objection(report, "CT1") == "it is no image"
    capture = replace(SLICE, sop_class_uid=str(SecondaryCaptureImageStorage), is_result=True)
    assert rule.find_objection(capture, "CT1") == "it is a result of a node"
