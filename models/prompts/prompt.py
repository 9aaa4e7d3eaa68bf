"""A learned prompt: context vectors before the class name and fixed words after it; no torch.

PromptSmooth's prompt is `[SOS] v_1 … v_M class name . [EOS]`, with M context vectors in the text
tower's embedding space that all classes share (Hussein et al., MICCAI 2024, section 3). A template
is such a prompt too, with the embeddings of its words as vectors, so learning can start from one.
"""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.catalogue.texts import SLOT, check_template

MAX_N_CTX = 64
MAX_WIDTH = 8192
MAX_SUFFIX = 200


@dataclass(frozen=True, kw_only=True, eq=False)
class Prompt:
    """Context vectors `ctx`, float32 (n_ctx, width), and the words that follow the class name.

    Prompts with equal values are equal, whatever their names; `sha256` identifies them.
    """

    ctx: npt.NDArray[np.float32]
    suffix: str = "."

    def __post_init__(self) -> None:
        shape = self.ctx.shape
        if self.ctx.dtype != np.float32 or len(shape) != 2:
            raise ValueError(
                f"Context vectors must be float32 of shape (n_ctx, width); got {self.ctx.dtype} of "
                f"shape {shape}."
            )
        if not (1 <= shape[0] <= MAX_N_CTX and 1 <= shape[1] <= MAX_WIDTH):
            raise ValueError(
                f"A prompt has 1 to {MAX_N_CTX} context vectors of width 1 to {MAX_WIDTH}; "
                f"got {shape[0]} of width {shape[1]}."
            )
        if not np.isfinite(self.ctx).all():
            raise ValueError("Context vectors must be finite numbers; got NaN or infinity.")
        if len(self.suffix) > MAX_SUFFIX or not self.suffix.isprintable():
            raise ValueError(
                f"The words after the class name must be printable and at most {MAX_SUFFIX} "
                "characters long."
            )
        object.__setattr__(self, "ctx", _owned(self.ctx))

    @property
    def n_ctx(self) -> int:
        """The number of context vectors."""
        return int(self.ctx.shape[0])

    @property
    def width(self) -> int:
        """The width of the text tower that the vectors are for."""
        return int(self.ctx.shape[1])

    @property
    def sha256(self) -> str:
        """SHA-256 of the vectors, their shape and the suffix."""
        head = {"dtype": "float32", "shape": list(self.ctx.shape), "suffix": self.suffix}
        canonical = json.dumps(head, sort_keys=True, separators=(",", ":"))
        data = self.ctx.astype("<f4").tobytes()
        return hashlib.sha256(f"promptsmooth prompt 1\n{canonical}\n".encode() + data).hexdigest()

    @property
    def ctx_sha256(self) -> str:
        """SHA-256 of the vectors and their shape only; the suffix does not change it."""
        head = f"promptsmooth ctx 1\n{self.n_ctx}x{self.width}\n"
        return hashlib.sha256(head.encode() + self.ctx.astype("<f4").tobytes()).hexdigest()

    @property
    def half_sha256(self) -> str:
        """SHA-256 of the vectors rounded to float16, and their shape: a copy in half keeps it."""
        head = f"promptsmooth ctx half 1\n{self.n_ctx}x{self.width}\n"
        with np.errstate(over="ignore"):
            half = self.ctx.astype("<f2")
        return hashlib.sha256(head.encode() + half.tobytes()).hexdigest()

    def create_text(self, class_name: str) -> str:
        """Returns the words for a class that follow the context vectors."""
        return class_name + self.suffix


def _owned(ctx: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Returns a read-only copy in C order."""
    copied = np.array(ctx, dtype=np.float32, order="C", copy=True)
    copied.setflags(write=False)
    return copied


def split_template(template: str) -> tuple[str, str]:
    """Returns the words before the class name, where context vectors may start, and the suffix.

    Raises:
        ValueError: the template is not valid, or has no words before the class name.
    """
    before, after = check_template(template).split(SLOT)
    if not before.strip():
        raise ValueError(
            f"A prompt is tuned in the words before the class name, but {template!r} has none."
        )
    return before.strip(), after.rstrip()
