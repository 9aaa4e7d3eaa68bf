"""The form of BiomedCLIP and UniMed-CLIP: open_clip's towers with a BERT from the Hub.

BiomedCLIP is open_clip's folder. It names its BERT but does not hold that BERT's configuration.
UniMed-CLIP is a checkpoint alone: the card states the architecture, and the vocabulary lies beside
it. The configuration of PubMedBERT, which both name, is known here; any other BERT needs its
`config.json` there.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.catalogue.bert_config import BERT_CONFIG, parse_bert_config
from models.catalogue.cards import ModelDescription
from models.forms.agreement import agree_on_model_cfg, agree_on_preprocessing
from models.forms.bert_files import (
    TOKENIZER_DEFAULT,
    drop_derived,
    spell_bert_config,
    spell_tokenizer,
)
from models.forms.files import find_first, find_weights, get_part, is_bare, load_json, load_tensors
from models.forms.form import Converted, Form, FormRefused, PublishedFiles
from models.forms.open_clip.files import write_open_clip
from models.loading.loading import CONFIG, create_clip
from models.loading.state_dict import check_state_dict
from models.vlm.wordpiece import TOKENIZER_CONFIG, VOCAB, create_tokenizer

_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_NAMES_ON_THE_HUB = ("hf_model_name", "hf_tokenizer_name")
_POSITIONS = "text.transformer.embeddings.position_ids"
_TEXT, _TEXT_OF_UNIMED = "text.", "text_encoder."  # what the text tower is called
# BERT-base with its own vocabulary (Gu et al., 2021). Microsoft renamed it.
_PUBMEDBERT = (
    "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
    "microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract",
)


def recognises(source: PublishedFiles) -> bool:
    """Recognises an open_clip configuration that names a BERT, or weights of such a card."""
    path = source.find_config(CONFIG)
    if path is None:
        return is_bare(source, "open-clip-bert")
    model_cfg = get_part(load_json(path), "model_cfg", CONFIG)
    return "hf_model_name" in get_part(model_cfg, "text_cfg", CONFIG)


def convert(source: PublishedFiles, folder: Path) -> Converted:
    """See `Form.convert`."""
    description, weights = source.description, find_weights(source, _NAMES)
    stated, path = source.find_config(CONFIG), weights.parent
    config = load_json(stated) if stated is not None else {}
    model_cfg = _agree(get_part(config, "model_cfg", CONFIG), description)
    said = get_part(config, "preprocess_cfg", CONFIG)
    notes = agree_on_preprocessing(said, description.preprocessing)
    tokenizer = _read_tokenizer(path)
    bert_file = find_first(path, (BERT_CONFIG, "config.json"))
    bert_config = bert_file.read_bytes() if bert_file else _find_known(path, model_cfg["text_cfg"])
    bert_config = spell_bert_config(bert_config)
    bert = parse_bert_config(bert_config)
    create_tokenizer(
        tokenizer, vocab_size=bert["vocab_size"], context_length=description.context_length
    )
    tensors = _rename_text_tower(load_tensors(weights))
    drop_derived(tensors, _POSITIONS, torch.arange(bert["max_position_embeddings"]))
    with torch.device("meta"):
        clip = create_clip(model_cfg, bert_config=bert_config)
    check_state_dict(clip.state_dict(), tensors)
    write_open_clip(folder, model_cfg, description.preprocessing, tensors)
    for name, content in {BERT_CONFIG: bert_config, **spell_tokenizer(tokenizer)}.items():
        (folder / name).write_bytes(content)
    own = path / TOKENIZER_CONFIG
    read = (weights, stated, path / VOCAB, own if own.is_file() else None, bert_file)
    notes = notes if stated is not None else (_WITHOUT_CONFIG, *notes)
    return Converted(read=tuple(filter(None, read)), notes=notes)


_WITHOUT_CONFIG = "No configuration came with the weights; the architecture is the card's."


def _rename_text_tower(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors as open_clip names them, where UniMed-CLIP's class named them."""
    if any(name.startswith(_TEXT) for name in tensors):
        return tensors
    theirs = _TEXT_OF_UNIMED
    return {
        _TEXT + name.removeprefix(theirs) if name.startswith(theirs) else name: leaf
        for name, leaf in tensors.items()
    }


def _agree(found: dict[str, Any], description: ModelDescription) -> dict[str, Any]:
    """Returns the architecture; names of a BERT or tokenizer on the Hub are not compared."""
    text_cfg = dict(found.get("text_cfg", {}))
    found = {key: value for key, value in found.items() if key != "custom_text"}  # BERT implies it
    names = {key: text_cfg.pop(key) for key in _NAMES_ON_THE_HUB if key in text_cfg}
    model_cfg, _ = agree_on_model_cfg({**found, "text_cfg": text_cfg}, description)
    if "hf_model_name" not in {**model_cfg["text_cfg"], **names}:
        raise FormRefused(f"The weights state no architecture; give their {CONFIG} too.")
    return {**model_cfg, "text_cfg": {**model_cfg["text_cfg"], **names}}


def _read_tokenizer(path: Path) -> dict[str, bytes]:
    if not (path / VOCAB).is_file():
        raise FormRefused(f"Expected {VOCAB}, the vocabulary of the BERT, in {path}.")
    own = path / TOKENIZER_CONFIG
    config = own.read_bytes() if own.is_file() else TOKENIZER_DEFAULT
    return {VOCAB: (path / VOCAB).read_bytes(), TOKENIZER_CONFIG: config}


def _find_known(path: Path, text_cfg: dict[str, Any]) -> bytes:
    name = text_cfg["hf_model_name"]
    if name not in _PUBMEDBERT:
        raise FormRefused(f"Expected config.json of {name}, which states its shape, in {path}.")
    return b'{"model_type": "bert"}'  # the sizes are those of BERT-base


FORM = Form(
    name="open-clip-bert",
    looks_like=f"a folder with {CONFIG} that names a BERT, {' or '.join(_NAMES)}, and {VOCAB}",
    architectures=("open_clip",),
    recognises=recognises,
    convert=convert,
    hub_files=(CONFIG, VOCAB, TOKENIZER_CONFIG),
    hub_weights=_NAMES,
)
