"""The form of MedCLIP: a zip archive with `pytorch_model.bin`; its tokenizer comes separately.

`vocab.txt` of Bio_ClinicalBERT and an optional `tokenizer_config.json` are looked for inside the
archive and then beside it. A folder with the unpacked archive works as well.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from models.catalogue.medclip_config import MedClipConfig
from models.forms.archive import read_members
from models.forms.bert_files import TOKENIZER_DEFAULT, drop_derived, spell_tokenizer
from models.forms.files import strip_prefixes
from models.forms.form import Converted, Form, FormRefused, PublishedFiles
from models.loading.pickled import parse_pickle
from models.loading.state_dict import check_state_dict
from models.vlm.medclip import MedClip
from models.vlm.wordpiece import TOKENIZER_CONFIG, VOCAB, create_tokenizer

_TENSORS = "pytorch_model.bin"
_TOKENIZER = (VOCAB, TOKENIZER_CONFIG)


def recognises(source: PublishedFiles) -> bool:
    """Recognises a zip archive that torch did not write, or the folder of its unpacked files."""
    path = source.path
    if path.is_dir():
        return (path / _TENSORS).is_file() and not (path / "config.json").exists()
    return path.suffix == ".zip"


def convert(source: PublishedFiles, folder: Path) -> Converted:
    """See `Form.convert`."""
    config = MedClipConfig(context_length=source.description.context_length)
    return convert_medclip(source, folder, config)


def convert_medclip(source: PublishedFiles, folder: Path, config: MedClipConfig) -> Converted:
    """Writes the tensors under their published names, the architecture and the tokenizer.

    Tensors that follow from the architecture (positions) are compared with it and left out.

    Raises:
        FormRefused: a file is missing.
        WeightsError: a file is damaged, a tensor is missing, unexpected or of another shape, or the
            vocabulary belongs to another BERT.
    """
    contents, read = _read(source.path)
    for name in (_TENSORS, VOCAB):
        if name not in contents:
            raise FormRefused(_explain(source.path, name))
    contents = {TOKENIZER_CONFIG: TOKENIZER_DEFAULT, **contents}
    create_tokenizer(
        contents, vocab_size=config.text.vocab_size, context_length=config.context_length
    )
    tensors = strip_prefixes(parse_pickle(_TENSORS, contents.pop(_TENSORS)))
    _drop_positions(tensors, config)
    with torch.device("meta"):
        check_state_dict(MedClip(config).get_published_state(), tensors)
    for name, content in {MedClipConfig.FILE: config.dump(), **spell_tokenizer(contents)}.items():
        (folder / name).write_bytes(content)
    own = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
    save_file(own, folder / "medclip.safetensors")
    return Converted(read=read, notes=() if TOKENIZER_CONFIG in _names(read) else (_LOWER_CASED,))


_LOWER_CASED = (
    f"{VOCAB} came without {TOKENIZER_CONFIG}, so texts are lower-cased, as in transformers."
)


def _explain(path: Path, name: str) -> str:
    beside = "inside the archive or beside it" if path.is_file() else "in the folder"
    what = "the vocabulary of Bio_ClinicalBERT" if name == VOCAB else "the weights of MedCLIP"
    return f"Expected {name}, {what}, {beside}; {path} does not have it."


def _names(paths: tuple[Path, ...]) -> set[str]:
    return {path.name for path in paths}


def _drop_positions(tensors: dict[str, Tensor], config: MedClipConfig) -> None:
    positions = torch.arange(config.text.max_position_embeddings)
    drop_derived(tensors, "text_model.model.embeddings.position_ids", positions)
    index = create_relative_position_index(config.vision.window_size)
    for stage, depth in enumerate(config.vision.depths):
        for block in range(depth):
            place = f"vision_model.model.encoder.layers.{stage}.blocks.{block}.attention.self"
            drop_derived(tensors, f"{place}.relative_position_index", index)


def create_relative_position_index(window: int) -> Tensor:
    """Returns the row of the bias table for each pair of places in a window, (window², window²).

    Source: Liu et al., Swin Transformer, ICCV 2021, section 3.2.
    """
    at = torch.arange(window * window)
    down = (at // window)[:, None] - (at // window)[None, :] + window - 1
    right = (at % window)[:, None] - (at % window)[None, :] + window - 1
    return down * (2 * window - 1) + right


def _read(path: Path) -> tuple[dict[str, bytes], tuple[Path, ...]]:
    """Returns the contents of the wanted files by plain name, and the files that were read."""
    if path.is_dir():
        files = [path / name for name in (_TENSORS, *_TOKENIZER) if (path / name).is_file()]
        return {file.name: file.read_bytes() for file in files}, tuple(files)
    inside = read_members(path, (_TENSORS, *_TOKENIZER))
    beside = [path.parent / name for name in _TOKENIZER if name not in inside]
    files = [file for file in beside if file.is_file()] if VOCAB not in inside else []
    return inside | {file.name: file.read_bytes() for file in files}, (path, *files)


FORM = Form(
    name="medclip",
    looks_like=f"MedCLIP's zip with {_TENSORS}, and {VOCAB} of Bio_ClinicalBERT in it or beside it",
    architectures=("medclip",),
    recognises=recognises,
    convert=convert,
    hub_files=(),
    hub_weights=(),
)
