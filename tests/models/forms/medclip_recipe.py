"""A small MedCLIP-ViT with weights drawn by name, so that any program can have the same one.

`medclip_reference.py` has them with transformers 4.24, the tests with today's. Needs numpy alone.
"""

import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

EMBED_DIM, CONTEXT_LENGTH, N_CTX = 16, 25, 5
VISION = {
    "image_size": 56,
    "patch_size": 4,
    "embed_dim": 24,
    "depths": [2, 2],
    "num_heads": [2, 4],
    "window_size": 7,
}
TEXT = {
    "vocab_size": 24,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
}
_WORDS = (
    "[PAD] [UNK] [CLS] [SEP] a the image of lung opacity normal chest . , x ray - pneumo ##thorax "
    "##s effusion no heart Heart"
)
VOCAB = tuple(_WORDS.split())
TEXTS = ("A chest X-ray of pneumothorax.", "normal lungs, no Effusion", "héart of the UNKNOWN")
SUFFIXES = ("opacity.", "normal heart.")


def draw(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """The weights of a leaf: those of norms around 1, others around 0; another name, others."""
    values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    norm = name.endswith("weight") and ("norm" in name.lower())
    return np.asarray(float(norm) + 0.15 * values, dtype=np.float32)


def draw_pixels() -> npt.NDArray[np.int16]:
    """Four noisy images, int16 (4, 3, 56, 56), some values outside 0..255."""
    values = np.random.default_rng(7).normal(120, 90, (4, 3, 56, 56))
    return values.round().astype(np.int16)


def draw_ctx() -> npt.NDArray[np.float32]:
    """Context vectors, (n_ctx, width)."""
    return draw("ctx", (N_CTX, TEXT["hidden_size"]))


def list_shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Heads and temperature; the towers' leaves come from whichever module draws them."""
    yield "vision_model.projection_head.weight", (EMBED_DIM, 2 * VISION["embed_dim"])
    yield "text_model.projection_head.weight", (EMBED_DIM, TEXT["hidden_size"])
    yield "logit_scale", ()
