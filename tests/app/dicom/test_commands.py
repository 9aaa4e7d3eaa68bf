"""What an operator asks a spool on the command line."""

import json
import shutil
import threading

import pytest
from typer.testing import CliRunner

from app.cli.__main__ import cli
from app.dicom.documents.pseudonyms import Pseudonyms
from app.dicom.instance import read_instance
from app.dicom.program import serve, work
from app.dicom.settings import DicomSettings
from app.dicom.spool import Spool
from app.server.audit_log.check import Whole, check_files
from models.files.audit_log import list_files

from .conftest import create_rules


@pytest.fixture
def ask(monkeypatch, tmp_path):
    """Runs `promptsmooth dicom` on the spool; its exit status and what it says."""
    monkeypatch.setenv("PROMPTSMOOTH_DICOM_SPOOL", str(tmp_path / "spool"))

    def run(*words):
        done = CliRunner().invoke(cli, ["dicom", *words])
        return done.exit_code, done.output

    return run


def test_a_dead_letter_is_seen_set_going_and_erased(ask, tmp_path, write):
    assert "there is no spool" in ask("status")[1]
    spool = Spool(tmp_path / "spool", most_bytes=10**6)
    sent = write(StudyInstanceUID="1.2.3")
    received = shutil.copy(sent, spool.folder / "incoming" / "a.dcm")
    spool.accept(received, read_instance(sent), create_rules().rules)
    spool.give_up(spool.find_due("waiting"), "the service refused it: image_broken")
    status, said = ask("status")
    assert status == 1
    assert "dead 1" in said
    assert "the service refused it: image_broken" in said
    (row,) = json.loads(ask("status", "--json")[1])["troubled"]
    assert (row["rule"], row["state"]) == ("ct", "dead")
    assert ask("retry") == (0, "1 tasks go on\n")
    status, said = ask("status")
    assert (status, "waiting 1" in said) == (0, True)
    assert ask(*("erase", "--study", "1.2.4")) == (0, "0 tasks erased\n")
    assert ask(*("erase", "--study", "1.2.3")) == (0, "1 tasks erased\n")
    assert list((spool.folder / "objects").iterdir()) == []
    spool.close()


def test_a_spool_is_drained_and_filled_again(ask, tmp_path, write):
    spool = Spool(tmp_path / "spool", most_bytes=10**6)
    assert ask(*("drain", "--wait")) == (0, "drained\n")
    assert spool.is_draining()
    assert ask("resume") == (0, "resumed\n")
    assert not spool.is_draining()
    spool.close()


def test_a_pseudonym_is_found_again_by_who_has_the_salt(ask, monkeypatch, tmp_path):
    status, said = ask("pseudonym", "4711")
    assert (status, "PSEUDONYM_SALT_FILE" in said) == (2, True)
    (tmp_path / "salt").write_bytes(b"0123456789abcdef")
    monkeypatch.setenv("PROMPTSMOOTH_DICOM_PSEUDONYM_SALT_FILE", str(tmp_path / "salt"))
    assert ask("pseudonym", "4711") == (
        0,
        f"{Pseudonyms(b'0123456789abcdef').name_patient('4711')}\n",
    )
    assert ask("pseudonym", "4711", "--issuer", "NORTH") == (
        0,
        f"{Pseudonyms(b'0123456789abcdef').name_patient('4711', 'NORTH')}\n",
    )


def test_what_is_erased_is_in_the_audit_log(ask, monkeypatch, tmp_path):
    Spool(tmp_path / "spool", most_bytes=10**6).close()
    monkeypatch.setenv("PROMPTSMOOTH_DICOM_AUDIT_LOG", str(tmp_path / "audit"))
    assert ask("erase", "--study", "1.2.3")[0] == 0
    (path,) = list_files(tmp_path / "audit")
    assert json.loads(path.read_text())["action"] == "dicom.erased"
    assert "1.2.3" not in path.read_text()
    assert isinstance(check_files([path]), Whole)


def test_the_doctor_says_what_a_node_lacks_and_what_to_do(ask, monkeypatch, tmp_path, free_port):
    (tmp_path / "rules.toml").write_text(
        f"""
        [destinations.stow]
        kind = "stow"
        url = "http://127.0.0.1:{free_port}/dicom-web"
        [destinations.store]
        kind = "cstore"
        host = "127.0.0.1"
        port = {free_port}
        ae_title = "PACS"
        [[rules]]
        name = "ct"
        request = {{ sigma = ["0.25"] }}
        pseudonymise = true
        send_to = ["stow", "store"]
        """
    )
    monkeypatch.setenv("PROMPTSMOOTH_DICOM_RULES", str(tmp_path / "rules.toml"))
    monkeypatch.setenv("PROMPTSMOOTH_DICOM_SERVER", f"http://127.0.0.1:{free_port}")
    status, said = ask("doctor", "--json")
    assert status == 1
    found = {check["name"]: check for check in json.loads(said)}
    failing = {name for name, check in found.items() if check["verdict"] == "fails"}
    assert failing == {
        "node's callers",
        "node's rules",
        "destination stow",
        "destination store",
        "node's service",
    }
    assert all(found[name]["do"] for name in failing)
    monkeypatch.setenv("PROMPTSMOOTH_DICOM_PORT", "many")
    status, said = ask("doctor")
    assert (status, "port cannot be used" in said) == (1, True)


def test_settings_that_cannot_be_used_are_a_sentence(ask, monkeypatch):
    for name, value, sentence in (
        ("CALLING_AE", '["seventeen letters"]', "calling_ae"),
        ("CALLING_NETWORKS", '["10.0.0.0/99"]', "calling_networks"),
        ("TLS_KEY", "server.key", "tls_certificate and tls_key go together"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(f"PROMPTSMOOTH_DICOM_{name}", value)
            status, said = ask("serve")
            assert status == 2
            assert sentence in said.lower()


def test_a_node_that_nobody_may_send_to_does_not_start(tmp_path):
    with pytest.raises(ValueError, match="names nobody"):
        serve(DicomSettings(spool=tmp_path), None, on_ready=print)


def test_a_node_that_cannot_say_that_it_is_ready_ends_whole(tmp_path):
    rules = tmp_path / "rules.toml"
    rules.write_text(
        '[destinations.pacs]\nkind = "stow"\nurl = "http://127.0.0.1:9/dicom-web"\n[[rules]]\n'
        'name = "ct"\nrequest = { sigma = ["0.25"] }\nsend_to = ["pacs"]\n'
    )
    settings = DicomSettings(rules=rules, spool=tmp_path / "spool", calling_ae=("A",), port=0)
    before, ended = set(threading.enumerate()), threading.Event()

    def say(_):
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        serve(settings, ended, on_ready=say)
    assert ended.is_set()
    assert not [one for one in set(threading.enumerate()) - before if not one.daemon]


def test_a_step_that_raises_does_not_end_its_worker():
    ended, steps = threading.Event(), []

    class Worker:
        def step(self):
            steps.append(1)
            if len(steps) == 2:
                ended.set()
            raise RuntimeError

    work(Worker(), ended, pause_s=0)
    assert len(steps) == 2
