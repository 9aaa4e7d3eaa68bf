"""Packs one model into an archive for machines without a network, and adds it from there.

The archive is a tar file with plain names only: SHA256SUMS, which `sha256sum --check` reads,
card.toml and the files that the card names. The same model always gives the same bytes.
"""

import hashlib
import io
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.catalogue import load_catalogue
from models.catalogue.cards import ModelCard, parse_card
from models.catalogue.weights import check_weights
from models.files.whole_file import replace_whole
from models.installation.add import Added
from models.installation.folder import CARD, begin_folder, format_model_card
from models.installation.trial import try_added

SUMS = "SHA256SUMS"
_MAX_TEXT_BYTES = 2**20


class BundleRefused(ValueError):
    """An archive is damaged, or was not made by `models bundle`."""


def write_bundle(card: ModelCard, folder: Path, out: Path) -> None:
    """Writes the archive whole or not at all.

    Raises:
        WeightsError: a file of the model is missing or is not the one the card names.
    """
    check_weights(card, folder)
    text = format_model_card(card).encode()
    with replace_whole(out) as begun, tarfile.open(begun, "w") as archive:
        _put(archive, SUMS, _format_sums(card, text))
        _put(archive, CARD, text)
        for file in card.files:
            with (folder / file.name).open("rb") as stream:
                archive.addfile(_create_member(file.name, file.size_bytes), stream)


def is_bundle(path: Path) -> bool:
    """Whether a file is a tar archive."""
    return path.is_file() and tarfile.is_tarfile(path)


def add_bundle(model_id: str, path: Path, models: Path) -> Added:
    """Adds the model in an archive to the models folder after checking every checksum.

    Raises:
        BundleRefused: the file is not such an archive, has a name that is not plain, has a file too
            many or too few, or holds a model with another id.
        WeightsError: a file does not match its checksum or does not load.
        ModelTaken: the id already has a folder.
        InvalidCard: the id belongs to a model that ships or is elsewhere in the folder.
    """
    with begin_folder(models, model_id) as folder:
        with _refusing(path), tarfile.open(path, "r:") as archive:
            members = _list_members(archive)
            card = _read_card(archive, members, model_id)
            _extract(archive, members, card, folder)
        load_catalogue(models).check_addition(card, folder / CARD)
        check_weights(card, folder)
        try_added(card, folder)
    return Added(card=card, folder=models / card.id)


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError) as error:
        raise BundleRefused(
            f"{path} is damaged or truncated, or was not made by models bundle: {error}."
        ) from error


def _list_members(archive: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    """Returns the members by name: plain files in one folder, with different names."""
    members: dict[str, tarfile.TarInfo] = {}
    for member in archive:
        plain = member.isreg() and not member.issparse() and _is_plain(member.name)
        if not plain or member.name in members:
            raise BundleRefused(
                f"Expected plain files with different names in the archive; got {member.name!r}."
            )
        members[member.name] = member
    return members


def _is_plain(name: str) -> bool:
    return name not in ("", ".", "..") and "/" not in name and "\\" not in name


def _read_card(
    archive: tarfile.TarFile, members: dict[str, tarfile.TarInfo], model_id: str
) -> ModelCard:
    text = _read_text(archive, members, CARD)
    try:
        card = parse_card(text.decode())
    except ValueError as error:
        raise BundleRefused(f"The archive's {CARD} is not valid: {error}") from error
    if card.id != model_id:
        raise BundleRefused(f"Expected the model {model_id!r} in the archive; got {card.id!r}.")
    expected = {SUMS, CARD, *(file.name for file in card.files)}
    if other := sorted(expected ^ members.keys()):
        state = "lacks" if other[0] in expected else "also holds"
        raise BundleRefused(f"The archive {state} the file {other[0]!r}.")
    if _read_text(archive, members, SUMS) != _format_sums(card, text):
        raise BundleRefused(f"The archive's {SUMS} does not match its {CARD}: it was changed.")
    return card


def _read_text(archive: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str) -> bytes:
    member = members.get(name)
    if member is None or member.size > _MAX_TEXT_BYTES:
        raise BundleRefused(f"The archive lacks the file {name!r}, or it is too large.")
    stream = archive.extractfile(member)
    return stream.read() if stream is not None else b""


def _extract(
    archive: tarfile.TarFile,
    members: dict[str, tarfile.TarInfo],
    card: ModelCard,
    folder: Path,
) -> None:
    for name in (CARD, *(file.name for file in card.files)):
        stream = archive.extractfile(members[name])
        with (folder / name).open("xb") as out:
            if stream is not None:
                shutil.copyfileobj(stream, out)


def _format_sums(card: ModelCard, card_text: bytes) -> bytes:
    sums = [(hashlib.sha256(card_text).hexdigest(), CARD)]
    sums += [(file.sha256, file.name) for file in card.files]
    return "".join(f"{sha256}  {name}\n" for sha256, name in sums).encode()


def _create_member(name: str, size_bytes: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size_bytes
    member.mode = 0o644
    return member


def _put(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    archive.addfile(_create_member(name, len(content)), io.BytesIO(content))
