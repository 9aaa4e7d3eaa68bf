"""A small CONCH with weights drawn by name, so that any program can have the same one.

`conch_reference.py` has them with the authors' code, the tests with ours. The tokenizer has the
build of the authors' own, and a few tokens.
"""

import json
import zlib

import numpy as np
import numpy.typing as npt
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

EMBED_DIM, CONTEXT_LENGTH, N_CTX = 32, 40, 5
_MERGES = [("Ġ", "t"), ("i", "s"), ("is", "s"), ("u", "e"), ("Ġt", "iss"), ("Ġtiss", "ue")]
_MARKS = ("<pad>", "<start_of_text>", "<end_of_text>", *(f"<|mark{at}|>" for at in range(5)))
UNUSED = 3  # the first mark that is in no text
VISION = {
    "layers": 2,
    "width": 48,
    "num_heads": 4,
    "patch_size": 16,
    "image_size": 64,
}
TEXTS = ("an H&E image of Adénocarcinoma.", "normal tissue", "tissue " * 36 + "tissue")
SUFFIXES = ("normal tissue.", "invasive ductal carcinoma.")


def create_tokenizer(size: int | None = None) -> bytes:
    """The content of a tokenizer's file, with as many tokens as are asked for."""
    pieces = [*_MARKS, *sorted(pre_tokenizers.ByteLevel.alphabet()), *map("".join, _MERGES)]
    pieces += [f"unused{at}" for at in range((size or len(pieces)) - len(pieces))]
    whole = Tokenizer(models.BPE({piece: at for at, piece in enumerate(pieces)}, list(_MERGES)))
    whole.add_special_tokens([AddedToken(mark, normalized=False) for mark in _MARKS])
    whole.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    whole.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    whole.post_processor = processors.TemplateProcessing(
        single="<start_of_text> $A <end_of_text>",
        special_tokens=[("<start_of_text>", 1), ("<end_of_text>", 2)],
    )
    return whole.to_str().encode()


VOCAB_SIZE = len(_MARKS) + 256 + len(_MERGES)
TEXT = {
    "context_length": CONTEXT_LENGTH,
    "vocab_size": VOCAB_SIZE,
    "width": 32,
    "heads": 4,
    "layers": 2,
    "embed_cls": True,
}


def draw(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """The weights of a leaf: those of norms around 1, others around 0; another name, others."""
    values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    norm = name.endswith("weight") and len(shape) == 1
    return np.asarray(values * 0.1 + norm, dtype=np.float32)


def draw_pixels(rows: int = 3, size: int = VISION["image_size"]) -> npt.NDArray[np.int16]:
    random = np.random.default_rng(7)
    return random.integers(-200, 455, (rows, 3, size, size)).astype(np.int16)


def draw_ctx() -> npt.NDArray[np.float32]:
    return draw("ctx", (N_CTX, TEXT["width"]))


def dump_config() -> str:
    """The configuration file of the authors' code, of this size."""
    captions = {"attentional_pool_caption": True, "n_queries_caption": 8, "output_tokens": True}
    contrast = {"attentional_pool_contrast": True, "n_queries_contrast": 1}
    config = {
        "embed_dim": EMBED_DIM,
        "embed_dim_caption": VISION["width"],
        "vision_cfg": {**VISION, **captions, **contrast, "attn_pooler_heads": 8},
        "text_cfg": {**TEXT, "output_tokens": True},
        "multimodal_cfg": {key: value for key, value in TEXT.items() if key != "embed_cls"},
        "custom_text": True,
    }
    return json.dumps(config)
