"""The form of CONCH: its checkpoint, and the tokenizer's file of its authors' code beside it.

The checkpoint states no architecture. It is the card's, and that of the authors' configuration file
where this lies beside the weights too.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from models.catalogue.conch_config import ConchConfig, read_published
from models.catalogue.weights import require_equal
from models.forms.files import find_first, load_json, load_tensors, read_bounded
from models.forms.form import Converted, Form, FormRefused, PublishedFiles
from models.loading.state_dict import check_state_dict
from models.vlm.pooled.conch import Conch
from models.vlm.pooled.conch_tokens import FILE, create_conch_tokenizer

_NAMES = ("pytorch_model.bin", "model.safetensors")
_CONFIGS = ("conch_ViT-B-16.json",)
_TENSORS = "conch.safetensors"
_MOST_TOKENIZER_BYTES = 16 * 2**20
_CAPTIONS = ("text_decoder.", "visual.attn_pool_caption.", "visual.ln_caption.")


def recognises(source: PublishedFiles) -> bool:
    """Recognises a folder with the tokenizer's file and weights."""
    return source.find(FILE) is not None and find_first(source.path, _NAMES) is not None


def convert(source: PublishedFiles, folder: Path) -> Converted:
    """See `Form.convert`."""
    path = source.path
    config, said = _read_config(source)
    weights = find_first(path, _NAMES)
    if weights is None:
        raise FormRefused(f"Expected weights in {path}, as one of: {', '.join(_NAMES)}.")
    tokenizer = read_bounded(path / FILE, _MOST_TOKENIZER_BYTES)
    create_conch_tokenizer(
        {FILE: tokenizer},
        vocab_size=config.text_cfg.vocab_size,
        context_length=config.text_cfg.context_length,
    )
    tensors, notes = _leave_out_captions(load_tensors(weights))
    with torch.device("meta"):
        check_state_dict(Conch(config).state_dict(), tensors)
    (folder / ConchConfig.FILE).write_bytes(config.dump())
    (folder / FILE).write_bytes(tokenizer)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / _TENSORS)
    return Converted(read=(weights, path / FILE, *said), notes=notes)


def _read_config(source: PublishedFiles) -> tuple[ConchConfig, tuple[Path, ...]]:
    """Returns the architecture, and the configuration file that was compared with it."""
    description = source.description
    pinned = description.published.model_cfg if description.published else {}
    config = read_published("the card's model_cfg", pinned)
    agreed: list[tuple[str, object, object]] = [
        ("vision_cfg.image_size", description.preprocessing.size, config.vision_cfg.image_size),
        ("text_cfg.context_length", description.context_length, config.text_cfg.context_length),
    ]
    file = find_first(source.path, _CONFIGS)
    if file is not None:
        found = read_published(file.name, load_json(file))
        agreed.append(("embed_dim", config.embed_dim, found.embed_dim))
        for part in ("vision_cfg", "text_cfg"):
            ours, theirs = getattr(config, part), getattr(found, part)
            agreed += [
                (f"{file.name}: {part}.{key}", getattr(ours, key), getattr(theirs, key))
                for key in type(ours).model_fields
            ]
    require_equal({key: (expected, value) for key, expected, value in agreed})
    return config, (() if file is None else (file,))


def _leave_out_captions(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Returns the tensors that features depend on, and a note if there were others."""
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(_CAPTIONS)}
    if len(kept) == len(tensors):
        return kept, ()
    count = len(tensors) - len(kept)
    return kept, (f"{count} tensors that make captions are left out; no feature needs them.",)


FORM = Form(
    name="conch",
    looks_like=f"a folder with {_NAMES[0]} of CONCH, and {FILE} of its authors' code",
    architectures=("conch",),
    recognises=recognises,
    convert=convert,
    hub_files=(),
    hub_weights=_NAMES,
)
