"""The image tower by oneDNN: the same function, the same tensors, and each row for itself."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from models.loading.loading import create_clip
from models.vlm._imports import get_open_clip
from models.vlm.onednn import KERNELS, find_kernels, use_onednn

CPU = torch.device("cpu")
CONFIG = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 128, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 50, "width": 32, "heads": 2, "layers": 1},
}

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(),
    reason="this torch has no oneDNN (make setup, on x86-64)",
)


def create_towers() -> tuple[nn.Module, nn.Module]:
    """The same random tower twice: as it is, and by oneDNN."""
    torch.manual_seed(0)
    clip = create_clip(CONFIG).eval().requires_grad_(False)
    twin = create_clip(CONFIG).eval().requires_grad_(False)
    twin.load_state_dict(clip.state_dict())
    use_onednn(twin.visual, CPU)
    return clip.visual, twin.visual


def sample_inputs(rows: int) -> torch.Tensor:
    return torch.randn((rows, 3, 32, 32), generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def test_features_are_those_of_the_tower_as_it_was():
    plain, fast = create_towers()
    assert (find_kernels(plain), find_kernels(fast)) == ("torch", KERNELS)
    inputs = sample_inputs(9)
    torch.testing.assert_close(fast(inputs), plain(inputs), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("rows", [16, 64])  # not 7: torch projects the last features itself
def test_a_row_depends_neither_on_its_place_nor_on_its_neighbours(rows):
    _, fast = create_towers()
    inputs = sample_inputs(rows)
    features = fast(inputs)
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(2))
    assert torch.equal(fast(inputs[order]), features[order])
    changed = inputs.clone()
    changed[rows // 2 :] = 1e3
    assert torch.equal(fast(changed)[: rows // 2], features[: rows // 2])
    assert torch.equal(fast(inputs), features)


def test_parameters_stay_where_they_are_under_their_names():
    torch.manual_seed(0)
    visual = create_clip(CONFIG).visual
    before = {name: leaf.data_ptr() for name, leaf in visual.named_parameters()}
    use_onednn(visual, CPU)
    assert {name: leaf.data_ptr() for name, leaf in visual.named_parameters()} == before


def test_another_device_keeps_its_own_kernels():
    visual = create_clip(CONFIG).visual
    use_onednn(visual, torch.device("cuda"))
    assert find_kernels(visual) == "torch"


def test_attention_that_is_not_the_towers_own_is_left_alone_or_refused():
    transformer = get_open_clip().transformer
    block = transformer.ResidualAttentionBlock(64, 2, batch_first=False)
    use_onednn(block, CPU)
    assert type(block.attn) is nn.MultiheadAttention
    block = transformer.ResidualAttentionBlock(64, 2).eval()
    use_onednn(block, CPU)
    with pytest.raises(NotImplementedError, match="mask"):
        block(torch.zeros(1, 3, 64), attn_mask=torch.zeros(3, 3))


def test_a_precision_without_a_kernel_on_this_cpu_stays_with_torch():
    """On a CPU without AVX-512, oneDNN multiplies no bf16."""
    program = (
        "import torch\n"
        "from models.vlm.onednn import find_kernels, use_onednn\n"
        "layer = torch.nn.Sequential(torch.nn.Linear(8, 8)).bfloat16()\n"
        "use_onednn(layer, torch.device('cpu'))\n"
        "print(find_kernels(layer), layer(torch.ones(1, 8, dtype=torch.bfloat16)).isfinite().all())"
    )
    old_cpu = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", program], env=old_cpu, stdout=-1, check=True)
    assert done.stdout == b"torch tensor(True)\n"
