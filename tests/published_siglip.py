"""A SigLIP as transformers saves it, with random weights, and what its own classes compute."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sentencepiece
import torch

from models.catalogue.cards import ModelDescription, parse_description
from models.vlm._imports import get_transformers

SENTENCES = (
    "a chest x-ray of the heart, normal lung and no opacity",
    "pleural effusion in the left lung",
    "an H&E image patch of adenocarcinoma",
    "benign tissue: no tumour; magnified 40 times",
    "a photo of an MRI of the brain",
)
_MOST = 120
TEXTS = ("A chest X-ray of the heart.", "a photo of  Pleural effusion", "x", "40 mm_▁Hg (left)")
SMALL_TEXT = {
    "vocab_size": 160,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 48,
}
SMALL_VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 14,
}
CARD = """
id = "small-siglip"
name = "Small SigLIP"
description = "Random weights."
intended_use = "Tests."
licence = "Apache-2.0"
source = "this test"
architecture = "siglip"
context_length = 48
class_names = ["normal lung", "pleural effusion"]
template = "a photo of {}"
batch_size = { cpu = 16 }

[preprocessing]
size = 28
resize = "squash"
interpolation = "bilinear"
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]

[published]
form = "hf-siglip"

[published.model_cfg.text_config]
vocab_size = 160
hidden_size = 32
intermediate_size = 48
num_hidden_layers = 2
num_attention_heads = 4
max_position_embeddings = 48

[published.model_cfg.vision_config]
hidden_size = 32
intermediate_size = 48
num_hidden_layers = 2
num_attention_heads = 4
image_size = 28
patch_size = 14
"""


def describe() -> ModelDescription:
    return parse_description(CARD)


def train_pieces(size: int) -> bytes:
    """A SentencePiece model with exactly so many tokens; those beyond the sentences' are unused."""
    needed = _count_pieces(_train(_MOST))
    content = _train(size, [f"unused{at}" for at in range(size - needed)])
    assert _count_pieces(content) == size
    return content


def _train(size: int, unused: Sequence[str] = ()) -> bytes:
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([sentence.lower() for sentence in SENTENCES] * 4),
        model_writer=out,
        vocab_size=size,
        user_defined_symbols=list(unused),
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        add_dummy_prefix=False,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return out.getvalue()


def _count_pieces(content: bytes) -> int:
    count: int = sentencepiece.SentencePieceProcessor(model_proto=content).get_piece_size()
    return count


def create_model(text: dict[str, Any], vision: dict[str, Any]) -> Any:
    transformers = get_transformers()
    torch.manual_seed(5)
    config = transformers.SiglipConfig(text_config=text, vision_config=vision)
    model = transformers.SiglipModel(config).eval()
    with torch.no_grad():
        model.logit_scale.fill_(2.3)
        model.logit_bias.fill_(-9.0)
    return model


def write_siglip(
    folder: Path,
    text: dict[str, Any] | None = None,
    vision: dict[str, Any] | None = None,
    *,
    pieces: bytes | None = None,
    **saving: Any,
) -> Any:
    """Writes the folder as its own library does, and returns its own model."""
    transformers = get_transformers()
    model = create_model(text or SMALL_TEXT, vision or SMALL_VISION)
    model.save_pretrained(folder, **saving)
    vocab = folder / "trained.model"
    vocab.write_bytes(pieces or train_pieces((text or SMALL_TEXT)["vocab_size"]))
    tokenizer = transformers.SiglipTokenizer(str(vocab))
    side = (vision or SMALL_VISION)["image_size"]
    processor = transformers.SiglipImageProcessor(size={"height": side, "width": side}, resample=2)
    tokenizer.save_pretrained(folder)
    processor.save_pretrained(folder)
    vocab.unlink()
    return model


def load_tokenizer(folder: Path) -> Any:
    return get_transformers().SiglipTokenizer.from_pretrained(folder)


@torch.no_grad()
def compute_text_features(model: Any, tokenizer: Any, texts: Any, length: int) -> torch.Tensor:
    ids = tokenizer(list(texts), padding="max_length", max_length=length, return_tensors="pt")
    found = model.get_text_features(input_ids=ids["input_ids"])
    return torch.nn.functional.normalize(found.pooler_output, dim=-1)


@torch.no_grad()
def compute_image_features(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    found = model.get_image_features(pixel_values=(pixels.float() / 255 - 0.5) / 0.5)
    return torch.nn.functional.normalize(found.pooler_output, dim=-1)
