"""The form of BiomedCLIP: open_clip's folder, with a BERT of the hub's for a text tower.

The folder names that BERT without bringing its configuration. For PubMedBERT, which BiomedCLIP
names, the configuration is known here; for another it is `config.json` in the folder.
"""

import json
from pathlib import Path
from typing import Any

import torch

from models.bert_config import BERT_CONFIG, parse_bert_config
from models.cards import ModelDescription
from models.forms.agreement import agree_on_model_cfg, agree_on_preprocessing
from models.forms.bert_files import TOKENIZER_DEFAULT, drop_derived
from models.forms.files import find_first, load_json, load_tensors, require_weights
from models.forms.form import Converted, Form, FormRefused, Source
from models.forms.open_clip_files import write_open_clip
from models.loading import CONFIG, create_clip
from models.state_dict import check_state_dict
from models.wordpiece import TOKENIZER_CONFIG, VOCAB, create_tokenizer

_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_NAMES_ON_THE_HUB = ("hf_model_name", "hf_tokenizer_name")
_POSITIONS = "text.transformer.embeddings.position_ids"
# BERT-base with a vocabulary of its own (Gu et al., 2021). Microsoft renamed it.
_PUBMEDBERT = (
    "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
    "microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract",
)
_PUBMEDBERT_CONFIG = {
    "model_type": "bert",
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}


def recognises(source: Source) -> bool:
    """A folder with a configuration of open_clip's that names a BERT."""
    path = source.path / CONFIG
    if not path.is_file():
        return False
    text_cfg = load_json(path).get("model_cfg", {}).get("text_cfg", {})
    return "hf_model_name" in text_cfg


def convert(source: Source, folder: Path) -> Converted:
    """See `Form.convert`."""
    path, description = source.path, source.description
    config = load_json(path / CONFIG)
    model_cfg = _agree(config["model_cfg"], description)
    agree_on_preprocessing(config.get("preprocess_cfg", {}), description.preprocessing)
    tokenizer = _read_tokenizer(path)
    bert_file = find_first(path, (BERT_CONFIG, "config.json"))
    bert_config = bert_file.read_bytes() if bert_file else _find_known(path, model_cfg["text_cfg"])
    bert = parse_bert_config(bert_config)
    create_tokenizer(
        tokenizer, vocab_size=bert["vocab_size"], context_length=description.context_length
    )
    weights = require_weights(path, _NAMES)
    tensors = load_tensors(weights)
    drop_derived(tensors, _POSITIONS, torch.arange(bert["max_position_embeddings"]))
    with torch.device("meta"):
        clip = create_clip(model_cfg, bert_config=bert_config)
    check_state_dict(clip.state_dict(), tensors)
    write_open_clip(folder, model_cfg, description.preprocessing, tensors)
    for name, content in {BERT_CONFIG: bert_config, **tokenizer}.items():
        (folder / name).write_bytes(content)
    small = (path / VOCAB, path / TOKENIZER_CONFIG)
    read = (weights, path / CONFIG, *(file for file in small if file.is_file()))
    return Converted(read=read + ((bert_file,) if bert_file else ()))


def _agree(found: dict[str, Any], description: ModelDescription) -> dict[str, Any]:
    """The architecture. The names of a BERT and a tokenizer on the hub decide nothing here."""
    text_cfg = dict(found["text_cfg"])
    names = {key: text_cfg.pop(key) for key in _NAMES_ON_THE_HUB if key in text_cfg}
    model_cfg, _ = agree_on_model_cfg({**found, "text_cfg": text_cfg}, description)
    return {**model_cfg, "text_cfg": {**model_cfg["text_cfg"], **names}}


def _read_tokenizer(path: Path) -> dict[str, bytes]:
    if not (path / VOCAB).is_file():
        raise FormRefused(f"{VOCAB}, the vocabulary of the BERT, was expected in {path}.")
    own = path / TOKENIZER_CONFIG
    config = own.read_bytes() if own.is_file() else TOKENIZER_DEFAULT
    return {VOCAB: (path / VOCAB).read_bytes(), TOKENIZER_CONFIG: config}


def _find_known(path: Path, text_cfg: dict[str, Any]) -> bytes:
    name = text_cfg["hf_model_name"]
    if name not in _PUBMEDBERT:
        raise FormRefused(f"config.json of {name} was expected in {path}: it is a BERT's shape.")
    return (json.dumps(_PUBMEDBERT_CONFIG, indent=1) + "\n").encode()


FORM = Form(
    name="open-clip-bert",
    looks_like=f"a folder with {CONFIG} that names a BERT, {' or '.join(_NAMES)}, and {VOCAB}",
    architectures=("open_clip",),
    recognises=recognises,
    convert=convert,
    hub_files=(CONFIG, VOCAB, TOKENIZER_CONFIG),
    hub_weights=_NAMES,
)
