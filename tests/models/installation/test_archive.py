"""One model in one archive: the same bytes out, and nothing else in."""

import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from models.catalogue import load_catalogue
from models.catalogue.cards import InvalidCard, load_card
from models.catalogue.weights import DigestMismatch
from models.installation.archive import BundleRefused, add_bundle, is_bundle, write_bundle
from models.testing import create_linear_model, write_linear_model

Member = tuple[tarfile.TarInfo, bytes]


@pytest.fixture
def archive(tmp_path) -> Path:
    write_linear_model(tmp_path / "from", create_linear_model())
    catalogue = load_catalogue(tmp_path / "from")
    write_bundle(catalogue.get("linear"), catalogue.folder("linear"), tmp_path / "linear.tar")
    return tmp_path / "linear.tar"


def read(path: Path) -> list[Member]:
    with tarfile.open(path) as opened:
        return [(member, opened.extractfile(member).read()) for member in opened]


def rewrite(path: Path, change: Callable[[list[Member]], list[Member]]) -> None:
    members = change(read(path))
    with tarfile.open(path, "w") as written:
        for member, content in members:
            written.addfile(member, io.BytesIO(content))


def put(name: str, content: bytes = b"x", **fields: object) -> Callable:
    """Adds a member; `fields` make it a link or a device."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for field, value in fields.items():
        setattr(member, field, value)
    return lambda members: [*members, (member, content)]


def drop(name: str) -> Callable:
    return lambda members: [pair for pair in members if pair[0].name != name]


def alter(name: str, before: bytes, after: bytes) -> Callable:
    def change(members: list[Member]) -> list[Member]:
        changed = []
        for member, content in members:
            if member.name == name:
                assert before in content
                content = content.replace(before, after)
                member.size = len(content)
            changed.append((member, content))
        return changed

    return change


def test_bundle_carries_a_model_to_another_installation(archive, tmp_path):
    assert is_bundle(archive)
    added = add_bundle("linear", archive, tmp_path / "to")
    there, here = load_catalogue(tmp_path / "from"), load_catalogue(tmp_path / "to")
    assert here.get("linear") == there.get("linear") == added.card
    write_bundle(added.card, added.folder, tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == archive.read_bytes()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (put("../evil"), r"plain files with different names .* got '\.\./evil'"),
        (put("/tmp/evil"), "got '/tmp/evil'"),
        (put("a/b"), "got 'a/b'"),
        (put("..\\evil"), "got '"),
        (put("link", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "got 'link'"),
        (put("hard", b"", type=tarfile.LNKTYPE, linkname="card.toml"), "got 'hard'"),
        (put("device", b"", type=tarfile.CHRTYPE), "got 'device'"),
        (put("folder", b"", type=tarfile.DIRTYPE), "got 'folder'"),
        (put("card.toml"), "got 'card.toml'"),
        (put("extra"), "also holds the file 'extra'"),
        (drop("linear.safetensors"), "lacks the file 'linear.safetensors'"),
        (drop("SHA256SUMS"), "lacks the file 'SHA256SUMS'"),
        (drop("card.toml"), "lacks the file 'card.toml'"),
        (alter("card.toml", b"Linear toy", b"Linear"), "SHA256SUMS does not match its card"),
        (alter("card.toml", b"size = 8", b"size ="), "card.toml is not valid"),
        (alter("card.toml", b'id = "linear"', b'id = "other"'), "in the archive; got 'other'"),
    ],
)
def test_archive_that_bundle_did_not_make_is_refused(archive, tmp_path, change, sentence):
    rewrite(archive, change)
    with pytest.raises(BundleRefused, match=sentence):
        add_bundle("linear", archive, tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []


def test_weights_with_one_changed_byte_are_refused(archive, tmp_path):
    content = bytearray(archive.read_bytes())
    content[content.index(b"__metadata__" if b"__metadata__" in content else b"F64") + 1] ^= 1
    archive.write_bytes(content)
    with pytest.raises(DigestMismatch, match=r"linear\.safetensors.* expected SHA-256"):
        add_bundle("linear", archive, tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []


@pytest.mark.parametrize("kept", [0, 100, 700, 2500])
def test_archive_that_is_cut_short_is_refused(archive, tmp_path, kept):
    archive.write_bytes(archive.read_bytes()[:kept])
    with pytest.raises(BundleRefused):
        add_bundle("linear", archive, tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []


def test_bundle_of_wrong_weights_is_not_written(tmp_path):
    card = write_linear_model(tmp_path, create_linear_model())
    file = tmp_path / "linear" / "linear.safetensors"
    file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(DigestMismatch):
        write_bundle(card, tmp_path / "linear", tmp_path / "linear.tar")
    assert not (tmp_path / "linear.tar").exists()


def test_model_that_would_break_the_installation_is_refused(tmp_path):
    """A folder of models with two cards of one id could not be read at all."""
    write_linear_model(tmp_path / "from", create_linear_model(), model_id="bundled-2")
    card = load_card(tmp_path / "from" / "bundled-2" / "card.toml")
    write_bundle(card, tmp_path / "from" / "bundled-2", tmp_path / "bundled.tar")
    with pytest.raises(InvalidCard, match="another card already has the id 'bundled-2'"):
        add_bundle("bundled-2", tmp_path / "bundled.tar", tmp_path / "to")
    write_linear_model(tmp_path / "other", create_linear_model())
    shutil.copytree(tmp_path / "other" / "linear", tmp_path / "to" / "ours")
    linear = load_catalogue(tmp_path / "to")
    write_bundle(linear.get("linear"), linear.folder("linear"), tmp_path / "linear.tar")
    with pytest.raises(InvalidCard, match="another card already has the id 'linear'"):
        add_bundle("linear", tmp_path / "linear.tar", tmp_path / "to")
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["ours"]
