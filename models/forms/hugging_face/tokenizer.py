"""Checks that a published CLIPModel has CLIP's own tokenizer, which open_clip brings.

Ids and merges decide which rows of the embedding a text reads, and tensors do not show them.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from models.catalogue.weights import ConfigMismatch, UnreadableWeights
from models.forms.files import get_part, load_json
from models.vlm._imports import get_open_clip

VOCAB, MERGES = "vocab.json", "merges.txt"
WHOLE, CONFIG = "tokenizer.json", "tokenizer_config.json"
TOKENIZER_FILES = (VOCAB, MERGES, WHOLE, CONFIG)
_MAX_BYTES = 8 * 2**20  # CLIP's tokenizer.json has about 2 MB
_MARKS = {"<|startoftext|>": "<start_of_text>", "<|endoftext|>": "<end_of_text>"}


def agree_on_tokenizer(folder: Path) -> tuple[Path, ...]:
    """Passes if the tokenizer's files in a folder are CLIP's; returns those that were read.

    Raises:
        ConfigMismatch: an id or a merge differs, or texts are prepared differently.
        UnreadableWeights: a file does not have the expected form.
    """
    present = tuple(folder / name for name in TOKENIZER_FILES if (folder / name).is_file())
    if not present:
        return ()
    clip = get_open_clip().SimpleTokenizer()
    ids = {token: at for token, at in clip.encoder.items() if token not in _MARKS.values()}
    ids |= {theirs: clip.encoder[ours] for theirs, ours in _MARKS.items()}
    merges = [" ".join(pair) for pair in clip.bpe_ranks]  # in the order of their ranks
    for path in present:
        match path.name:
            case "vocab.json":
                _agree_on_ids(VOCAB, load_json(path, _MAX_BYTES), ids)
            case "merges.txt":
                read = list(_read_merges(path))[: len(merges)]  # CLIPTokenizer reads no more
                _agree_on_merges(MERGES, read, merges)
            case "tokenizer.json":
                _agree_on_whole(load_json(path, _MAX_BYTES), ids, merges)
            case "tokenizer_config.json":
                _agree_on_config(load_json(path))
    return present


def _read_merges(path: Path) -> Iterator[str]:
    with path.open("rb") as stream:
        content = stream.read(_MAX_BYTES + 1)
    try:
        lines = content.decode().split("\n")
    except UnicodeDecodeError as error:
        raise UnreadableWeights(path.name, f"it is not UTF-8: {error}") from error
    return (line for line in lines if line.strip() and not line.startswith("#version"))


def _agree_on_whole(found: Mapping[str, Any], ids: Mapping[str, int], merges: list[str]) -> None:
    model = get_part(found, "model", WHOLE)
    _agree_on_ids(WHOLE, get_part(model, "vocab", WHOLE), ids)
    listed = model.get("merges")
    if not isinstance(listed, list):
        raise UnreadableWeights(WHOLE, "model.merges must be a list")
    joined = [" ".join(map(str, pair)) if isinstance(pair, list) else str(pair) for pair in listed]
    _agree_on_merges(WHOLE, joined, merges)
    normaliser = json.dumps(found.get("normalizer"))
    if '"Lowercase"' not in normaliser:
        raise ConfigMismatch(
            f"{WHOLE}: normalizer", expected="one with Lowercase", found=normaliser[:80]
        )


def _agree_on_config(found: Mapping[str, Any]) -> None:
    kind = str(found.get("tokenizer_class") or "CLIPTokenizer")
    if not kind.startswith("CLIPTokenizer"):
        raise ConfigMismatch(f"{CONFIG}: tokenizer_class", expected="CLIPTokenizer", found=kind)
    if found.get("do_lower_case", True) is not True:
        raise ConfigMismatch(f"{CONFIG}: do_lower_case", expected="True", found="False")


def _agree_on_ids(name: str, found: Mapping[str, Any], expected: Mapping[str, int]) -> None:
    for token in sorted(found.keys() | expected.keys(), key=lambda t: expected.get(t, -1)):
        if found.get(token) != expected.get(token):
            raise ConfigMismatch(
                f"{name}: the id of {token[:40]!r}",
                expected=_say(expected.get(token)),
                found=_say(found.get(token)),
            )


def _agree_on_merges(name: str, found: list[str], expected: list[str]) -> None:
    for at in range(max(len(found), len(expected))):
        here, wanted = (rows[at] if at < len(rows) else None for rows in (found, expected))
        if here != wanted:
            raise ConfigMismatch(f"{name}: merge {at + 1}", expected=_say(wanted), found=_say(here))


def _say(value: object) -> str:
    return "none" if value is None else repr(value)[:60]
