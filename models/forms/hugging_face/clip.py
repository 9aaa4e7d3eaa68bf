"""The form of PLIP and PubMedCLIP: a folder saved by transformers' CLIPModel, or its weights."""

from pathlib import Path

from models.forms.agreement import agree_on_model_cfg
from models.forms.files import (
    INDEX,
    find_weights,
    is_bare,
    list_shards,
    load_json,
    load_tensors,
)
from models.forms.form import Converted, Form, FormRefused, PublishedFiles
from models.forms.hugging_face.clip_config import convert_config
from models.forms.hugging_face.clip_tensors import convert_clip
from models.forms.hugging_face.processor import PROCESSORS, agree_on_processor
from models.forms.hugging_face.tokenizer import TOKENIZER_FILES, agree_on_tokenizer
from models.forms.open_clip.files import write_open_clip

_CONFIG = "config.json"
_NAMES = (
    "model.safetensors",
    "pytorch_model.bin",
    f"model.safetensors{INDEX}",
    f"pytorch_model.bin{INDEX}",
)


def recognises(source: PublishedFiles) -> bool:
    """Recognises a CLIPModel's configuration, or bare weights whose description names this form."""
    config = source.find_config(_CONFIG)
    if config is not None:
        return load_json(config).get("model_type") == "clip"
    return is_bare(source, "hf-clip")


def convert(source: PublishedFiles, folder: Path) -> Converted:
    """See `Form.convert`."""
    config = source.find_config(_CONFIG)
    weights = find_weights(source, _NAMES)
    found = convert_config(load_json(config)) if config is not None else {}
    model_cfg, _ = agree_on_model_cfg(found, source.description)
    if not model_cfg:
        raise FormRefused(f"{weights} does not state its architecture; give its config.json too.")
    processors = tuple(path for name in PROCESSORS if (path := source.find(name)) is not None)
    for path in processors:
        agree_on_processor(path.name, load_json(path), source.description.preprocessing)
    tokenizer = agree_on_tokenizer(source.path) if source.path.is_dir() else ()
    tensors = convert_clip(load_tensors(weights), model_cfg)
    write_open_clip(folder, model_cfg, source.description.preprocessing, tensors)
    index = (weights,) if weights.name.endswith(INDEX) else ()
    read = (*list_shards(weights), *index, *((config,) if config else ()), *processors, *tokenizer)
    said = {_WITHOUT_CONFIG: config, _WITHOUT_PROCESSOR: processors, _WITHOUT_TOKENIZER: tokenizer}
    notes = tuple(sentence for sentence, found in said.items() if not found)
    return Converted(read=read, notes=notes)


_WITHOUT_CONFIG = "No configuration came with the weights; the architecture is the card's."
_WITHOUT_PROCESSOR = f"No {PROCESSORS[0]} came with the weights; the preprocessing is the card's."
_WITHOUT_TOKENIZER = "No tokenizer came with the weights; CLIP's own tokenizer is used."


FORM = Form(
    name="hf-clip",
    looks_like=f"a folder with CLIPModel's {_CONFIG} and {' or '.join(_NAMES[:2])}",
    architectures=("open_clip",),
    recognises=recognises,
    convert=convert,
    hub_files=(_CONFIG, *PROCESSORS, *TOKENIZER_FILES),
    hub_weights=_NAMES,
)
