"""Tests of a compiled model that a row's features are its own, before its votes count.

Samples of a certificate must be independent (CERTIFICATE 3), so a row may depend neither on its
place in the batch nor on its neighbours.
"""

import numpy as np
import torch
from torch import Tensor

from models.loading.trial import check_distinct
from models.vlm.compiled import CannotCompile, CompiledVLM
from models.vlm.denoised import find_compiled
from models.vlm.vlm import VLM
from worker.engine.shelf.fingerprint import create_probe_batch

_SEED = 20240601
_FAR = 600  # levels beyond black and white: further than noise of use reaches


def check_compiled(vlm: VLM) -> None:
    """Passes if the features of a row are the same bits wherever OpenVINO computes them.

    Half the rows of a batch move to other places, beside extreme rows. Their features must not
    change, neither here nor in a second compilation with another number of threads; nor must the
    logits of an ONNX network, which features hide where softmax saturates. A model that passes is
    settled (`CompiledVLM.settle`).

    Raises:
        CannotCompile: a bit changed.
        NetworkRefused: an ONNX network gives so few different answers that a change would not show.
    """
    compiled = find_compiled(vlm)
    if compiled is None:
        raise TypeError("expected a model whose image tower is compiled")
    card = compiled.card
    _compare_rows(compiled, _create_rows(card.batch_size["cpu"], card.preprocessing.size))
    compiled.settle()


def _compare_rows(compiled: CompiledVLM, pixels: Tensor) -> None:
    """The comparison, after which nothing holds the second compilation."""
    found = compiled.encode_raw(pixels)
    if not compiled.card.has_texts:
        check_distinct(found)
    threads = torch.get_num_threads()
    again = compiled.compile_again(threads=2 if threads == 1 else threads // 2)
    moved, wanted = _rearrange(pixels), found.flip(0)[::2]
    for one in (compiled, again):
        if not torch.equal(one.encode_raw(moved)[::2], wanted):
            raise CannotCompile(
                "a row's features depend on its place, its neighbours, the compilation or the "
                "number of threads, so OpenVINO may not count with this model here"
            )


def _create_rows(rows: int, size: int) -> Tensor:
    """The fixed batch of fingerprints, from dark to bright; int16 (rows, 3, size, size)."""
    brightness = torch.linspace(-150, 150, rows).round().to(torch.int16)
    return create_probe_batch(rows, size) + brightness[:, None, None, None]


def _rearrange(pixels: Tensor) -> Tensor:
    """Every second row is the one at the mirrored place; the others are extreme."""
    changed = pixels.flip(0)
    noise = np.random.Generator(np.random.Philox(_SEED))
    for at in range(1, len(changed), 2):
        match at // 2 % 6:
            case 0:
                changed[at] = 255 - changed[at]
            case 1 | 2 | 3 | 4 as kind:
                changed[at] = (0, 255, -_FAR, 255 + _FAR)[kind - 1]
            case _:
                drawn = noise.integers(-_FAR, 255 + _FAR, changed[at].shape, dtype=np.int16)
                changed[at] = torch.from_numpy(drawn)
    return changed
