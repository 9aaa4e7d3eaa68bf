"""A small file of tensors whose configuration asks for a huge model."""

import json
import resource
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.catalogue import load_catalogue
from models.catalogue.cards import ModelCard
from models.catalogue.keep_config import KeepConfig
from models.catalogue.medclip_config import MedClipConfig
from models.catalogue.weights import StateDictMismatch
from models.installation.folder import describe_file
from models.loading.loading import load_vlm

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "lung")
TEXT = {"vocab_size": len(WORDS), "hidden_size": 2**12, "num_attention_heads": 1}
HUGE = TEXT | {"num_hidden_layers": 64, "intermediate_size": 2**16}  # more than 100 GB


@pytest.mark.parametrize(
    ("model", "config"),
    [
        ("medclip-vit", MedClipConfig.model_validate({"text": HUGE})),
        ("keep", KeepConfig.model_validate({"text": HUGE, "embed_dim": 2**12})),
    ],
)
def test_an_architecture_is_compared_with_the_tensors_before_it_takes_memory(
    tmp_path, model, config
):
    described = load_catalogue().describe(model)
    (tmp_path / config.FILE).write_bytes(config.dump())
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({}))
    save_file({"logit_scale": torch.ones(())}, tmp_path / "forged.safetensors")
    files = tuple(map(describe_file, sorted(tmp_path.iterdir())))
    card = ModelCard(**described.model_dump() | {"files": files})
    refuse_without_memory(card, tmp_path, "found no such tensor")


def test_towers_of_open_clip_are_compared_before_they_take_memory(tmp_path, tiny_clip):
    text = tiny_clip.config["text_cfg"] | {"width": 2**12, "layers": 512}  # more than 400 GB
    card = replace(tiny_clip, config=tiny_clip.config | {"text_cfg": text}).write(tmp_path)
    refuse_without_memory(card, tmp_path, r"expected floating point of shape .4096,.")


def refuse_without_memory(card: ModelCard, folder: Path, said: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(StateDictMismatch, match=said):
        load_vlm(card, folder, torch.device("cpu"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19  # kilobytes
