"""Writes a published BERT's small files in canonical form and drops its derivable tensors."""

from collections.abc import Mapping

import torch
from torch import Tensor

from models.catalogue.bert_config import parse_bert_config
from models.catalogue.weights import StateDictMismatch
from models.forms.canonical import dump_canonical
from models.vlm.wordpiece import TOKENIZER_CONFIG, VOCAB, parse_tokenizer_config

# For a BERT published with `vocab.txt` alone: transformers lower-cases texts in that case.
TOKENIZER_DEFAULT = b'{"do_lower_case": true, "tokenizer_class": "BertTokenizer"}\n'
# The values that transformers assumes for missing keys (BertConfig): BERT-base.
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
# The keys that `models.vlm.wordpiece` reads from a tokenizer's configuration, with its defaults.
_TOKENIZER = {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}


def spell_bert_config(content: bytes) -> bytes:
    """Returns the canonical form of a BERT's configuration: its shape, with defaults written out.

    Raises:
        WeightsError: the content is not the configuration of a plain BERT.
    """
    return dump_canonical({**_BERT, **parse_bert_config(content)})


def spell_tokenizer(contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """Returns a tokenizer's two files in canonical form; `models.vlm.wordpiece` reads both alike.

    Raises:
        WeightsError: the tokenizer is of another kind, or its configuration is not JSON.
    """
    config = parse_tokenizer_config(contents[TOKENIZER_CONFIG])
    read = {key: config.get(key, default) for key, default in _TOKENIZER.items()}
    lines = contents[VOCAB].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return {
        VOCAB: lines if lines.endswith(b"\n") else lines + b"\n",
        TOKENIZER_CONFIG: dump_canonical({"tokenizer_class": "BertTokenizer", **read}),
    }


def drop_derived(tensors: dict[str, Tensor], leaf: str, expected: Tensor) -> None:
    """Removes a tensor, if present, whose values follow from the architecture.

    Raises:
        StateDictMismatch: the tensor has other values, so the architecture is another one.
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
