"""The small files of a published BERT in one spelling; tensors that follow from an architecture."""

from collections.abc import Mapping

import torch
from torch import Tensor

from models.catalogue.bert_config import parse_bert_config
from models.catalogue.weights import StateDictMismatch
from models.forms.canonical import dump_canonical
from models.vlm.wordpiece import TOKENIZER_CONFIG, VOCAB, parse_tokenizer_config

# A BERT that is published with `vocab.txt` alone: transformers then lower-cases.
TOKENIZER_DEFAULT = b'{"do_lower_case": true, "tokenizer_class": "BertTokenizer"}\n'
# What transformers assumes where a configuration says nothing (BertConfig): BERT-base.
_BERT = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}
# What `models.vlm.wordpiece` reads of a tokenizer's configuration, and takes where nothing is said.
_TOKENIZER = {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}


def spell_bert_config(content: bytes) -> bytes:
    """The one spelling of a BERT's configuration: what shapes it, defaults written out.

    Raises:
        WeightsError: no configuration of a plain BERT.
    """
    return dump_canonical({**_BERT, **parse_bert_config(content)})


def spell_tokenizer(contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """The one spelling of a tokenizer's two files, which `models.vlm.wordpiece` reads the same.

    Raises:
        WeightsError: another kind of tokenizer, or no JSON.
    """
    config = parse_tokenizer_config(contents[TOKENIZER_CONFIG])
    read = {key: config.get(key, default) for key, default in _TOKENIZER.items()}
    lines = contents[VOCAB].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return {
        VOCAB: lines if lines.endswith(b"\n") else lines + b"\n",
        TOKENIZER_CONFIG: dump_canonical({"tokenizer_class": "BertTokenizer", **read}),
    }


def drop_derived(tensors: dict[str, Tensor], leaf: str, expected: Tensor) -> None:
    """Removes a tensor that follows from the architecture, where it is there.

    Raises:
        StateDictMismatch: it has other values, so this is another architecture.
    """
    found = tensors.pop(leaf, None)
    if found is None:
        return
    if found.numel() != expected.numel() or not torch.equal(found.flatten(), expected.flatten()):
        raise StateDictMismatch(
            leaf,
            expected=f"the {expected.numel()} numbers that follow from the architecture",
            found=f"others, {found.dtype} of shape {tuple(found.shape)}",
        )
