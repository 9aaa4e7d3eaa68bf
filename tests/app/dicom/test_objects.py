"""A rule with a source keeps an object no longer than it must, and reads its header from there."""

import shutil

import pytest

from app.dicom.instance import read_instance
from app.dicom.objects import ObjectAway, Objects
from app.dicom.rules import Rules
from app.dicom.settings import DicomSettings

from .conftest import create_rules


@pytest.fixture
def sourced(free_port) -> Rules:
    """Rules whose source does not answer."""
    url = f"http://127.0.0.1:{free_port}/dicom-web"
    source = {"pacs": {"kind": "dicomweb", "url": url}}
    return create_rules({"source": "pacs"}, sources=source)


@pytest.fixture
def accept(spool, write):
    def send(rules):
        sent = write()
        received = shutil.copy(sent, spool.folder / "incoming" / "a.dcm")
        spool.accept(received, read_instance(sent), rules.rules)
        return spool.find_due("waiting")

    return send


def test_an_object_with_a_source_goes_when_the_service_has_it(spool, accept, sourced):
    objects = Objects(sourced, DicomSettings(), spool)
    task = accept(sourced)
    assert objects.find(task) == spool.object_path(task.object)
    spool.submitted(task, "1" * 32)
    assert list((spool.folder / "objects").iterdir()) == []
    assert spool.count_bytes() == 0
    task = spool.find_due("certifying")
    for ask in (objects.find, objects.read_header):
        with pytest.raises(ObjectAway, match="pacs: no answer by DICOMweb"):
            ask(task)


def test_an_object_without_a_source_stays_until_its_results_are_delivered(spool, accept):
    rules = create_rules()
    objects = Objects(rules, DicomSettings(), spool)
    task = accept(rules)
    assert task.uids is None
    spool.submitted(task, "1" * 32)
    task = spool.find_due("certifying")
    assert objects.read_header(task).PatientID == "1CT1"
    spool.delivered(task, [])
    assert list((spool.folder / "objects").iterdir()) == []


def test_a_source_that_is_no_longer_in_the_rules_is_said(spool, accept, sourced):
    task = accept(sourced)
    spool.submitted(task, "1" * 32)
    with pytest.raises(ObjectAway, match="have no source pacs"):
        Objects(create_rules(), DicomSettings(), spool).find(spool.find_due("certifying"))


def test_a_rule_names_a_source_by_dicomweb_that_is_there():
    move = {"kind": "cmove", "host": "a", "port": 104, "ae_title": "PACS"}
    for sources in ({}, {"pacs": move}):
        with pytest.raises(ValueError, match="pacs is no source by DICOMweb"):
            create_rules({"source": "pacs"}, sources=sources)
