"""An image tower by OpenVINO: the same function in the precision asked for, each row for itself."""

import os
import subprocess
import sys

import pytest
import torch

from models.catalogue import load_catalogue
from models.loading.loading import create_clip, load_vlm
from models.vlm._imports import get_openvino, get_transformers
from models.vlm.compiled import CannotCompile, CompiledVLM
from models.vlm.medclip import MedClipVision
from models.vlm.onednn import use_onednn
from models.vlm.vlm import PixelNormalisation

CPU = torch.device("cpu")
ROWS, SIZE = 24, 32  # three pieces at most
TEXT = {"context_length": 8, "vocab_size": 50, "width": 32, "heads": 2, "layers": 1}
VIT = {"image_size": SIZE, "layers": 2, "width": 128, "patch_size": 8}
RESNET = {"image_size": SIZE, "layers": [1, 1, 1, 1], "width": 16}
TIMM = {"image_size": SIZE, "timm_model_name": "resnet10t", "timm_pool": "avg", "timm_proj": ""}
PRECISIONS = ["fp32", "bf16"]


def has_bf16() -> bool:
    return "BF16" in get_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def create_open_clip_tower(vision: dict) -> torch.nn.Module:
    return create_clip({"embed_dim": 24, "vision_cfg": vision, "text_cfg": TEXT}).visual


def create_swin() -> torch.nn.Module:
    transformers = get_transformers()
    config = transformers.SwinConfig(
        image_size=SIZE, patch_size=2, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4
    )
    return MedClipVision(transformers.SwinModel(config), width=32, embed_dim=24)


TOWERS = {
    "ViT": lambda: create_open_clip_tower(VIT),
    "ResNet": lambda: create_open_clip_tower(RESNET),
    "ResNet of timm": lambda: create_open_clip_tower(TIMM),
    "Swin": create_swin,
}


class Towered:
    """An image tower behind the pixel normalisation: the part of a `VLM` that is compiled."""

    device, embed_dim, logit_scale, text_width = CPU, 24, 100.0, 0

    def __init__(self, tower: torch.nn.Module) -> None:
        card = load_catalogue().get("bundled-2")
        preprocessing = card.preprocessing.model_copy(update={"size": SIZE})
        self.card = card.model_copy(
            update={"preprocessing": preprocessing, "batch_size": {"cpu": ROWS, "cuda": ROWS}}
        )
        self.image_tower = tower.eval().requires_grad_(False)
        self.normalise = PixelNormalisation(preprocessing, CPU)

    def encode_images(self, pixels):
        features = self.image_tower(self.normalise(pixels))
        return torch.nn.functional.normalize(features, dim=-1)


def create_towered(name: str) -> Towered:
    torch.manual_seed(0)
    return Towered(TOWERS[name]())


def sample_pixels(rows: int = ROWS) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    shape = (rows, 3, SIZE, SIZE)
    return torch.randint(-255, 511, shape, dtype=torch.int16, generator=generator)


@pytest.fixture(params=PRECISIONS)
def precision(request) -> str:
    if request.param == "bf16" and not has_bf16():
        pytest.skip("this processor has no bf16 arithmetic")
    return request.param


@pytest.mark.parametrize("name", TOWERS)
@torch.inference_mode()
def test_features_are_those_of_torch_but_for_rounding(name, precision):
    base = create_towered(name)
    pixels = sample_pixels()
    found = CompiledVLM(base, precision).encode_images(pixels)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.norm(dim=1), torch.ones(ROWS))
    cosines = (found * base.encode_images(pixels)).sum(dim=1)
    assert cosines.min() > (1 - 1e-5 if precision == "fp32" else 0.99)


@pytest.mark.parametrize("name", TOWERS)
@torch.inference_mode()
def test_a_row_depends_on_nothing_but_its_pixels(name, precision):
    """Not on its place, its neighbours, the compilation, the threads or the piece, in any bit."""
    compiled = CompiledVLM(create_towered(name), precision, threads=2)
    pixels = sample_pixels()
    features = compiled.encode_images(pixels)
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(2))
    changed = pixels.clone()
    changed[ROWS // 2 :] = 5 - changed[ROWS // 2 :]
    for one in (compiled, *(compiled.compile_again(threads=n) for n in (1, 2, 3))):
        assert torch.equal(one.encode_images(pixels), features)
        assert torch.equal(one.encode_images(pixels[order]), features[order])
        assert torch.equal(one.encode_images(changed)[: ROWS // 2], features[: ROWS // 2])


@torch.inference_mode()
def test_a_batch_of_another_shape_is_cut_and_padded_to_the_one_there_is(precision):
    compiled = CompiledVLM(create_towered("ViT"), precision, threads=2)
    pixels = sample_pixels(2 * ROWS + 1)
    together = compiled.encode_images(pixels)
    for place in (0, ROWS // 2, ROWS - 1, ROWS, 2 * ROWS):
        assert torch.equal(compiled.encode_images(pixels[place : place + 1])[0], together[place])
    assert compiled.encode_images(pixels[:0]).shape == (0, 24)


@torch.inference_mode()
def test_a_settled_model_has_the_features_that_it_had(precision):
    compiled = CompiledVLM(create_towered("ViT"), precision)
    pixels = sample_pixels()
    first = compiled.encode_images(pixels)
    kept = first.clone()
    compiled.settle()
    assert torch.equal(first, kept)
    assert torch.equal(compiled.encode_images(pixels), kept)
    compiled.settle()
    assert torch.equal(compiled.compile_again(threads=1).encode_images(pixels), kept)


# In a process of its own, so that nothing else allocates.
CONVERTING = """
import gc, torch
from models.catalogue import load_catalogue
from models.loading.loading import load_vlm
from models.loading.memory_growth import measure_growth
from models.vlm import compiled

catalogue, cpu = load_catalogue(), torch.device("cpu")
card = catalogue.get("bundled-2")
vlm = load_vlm(card, catalogue.folder(card.id), cpu)

def convert(times):
    for _ in range(times):
        compiled.convert(vlm, 4, torch.int16)
    gc.collect()
    compiled._trim_heap()
    return vlm

convert(2)  # what the first ones allocate stays for the others
print(measure_growth(lambda: convert(10), cpu)[1].growth_bytes)
"""


def test_converting_again_takes_no_further_memory():
    """torch keeps what it traced: 4 MB of this tower each time, until the process ends."""
    ended = subprocess.run(
        [sys.executable, "-c", CONVERTING], capture_output=True, text=True, check=True
    )
    assert int(ended.stdout) < 10e6


@torch.inference_mode()
def test_features_stay_when_the_next_batch_runs():
    compiled = CompiledVLM(create_towered("ViT"), "fp32")
    pixels = sample_pixels()
    first = compiled.encode_images(pixels)
    kept = first.clone()
    compiled.encode_images(pixels.flip(0))
    assert torch.equal(first, kept)


@torch.inference_mode()
def test_a_tower_whose_layers_were_replaced_is_compiled_as_it_was():
    base = create_towered("ViT")
    pixels = sample_pixels()
    plain = CompiledVLM(base, "fp32").encode_images(pixels)
    use_onednn(base.image_tower, CPU)
    torch.testing.assert_close(CompiledVLM(base, "fp32").encode_images(pixels), plain)


def test_the_precisions_are_two_fs_with_kernels_of_their_own():
    if not has_bf16():
        pytest.skip("this processor has no bf16 arithmetic")
    base = create_towered("ViT")
    fp32, bf16 = (CompiledVLM(base, precision) for precision in PRECISIONS)
    assert (fp32.precision, bf16.precision) == ("fp32", "bf16")
    assert fp32.kernels.startswith("openvino 2")
    assert "_f32" in fp32.kernels
    assert "_bf16" not in fp32.kernels
    assert "_bf16" in bf16.kernels
    assert bf16.packed_bytes * 2 == fp32.packed_bytes
    pixels = sample_pixels()
    assert not torch.equal(fp32.encode_images(pixels), bf16.encode_images(pixels))


def test_bf16_is_refused_where_the_processor_has_none():
    if has_bf16():
        pytest.skip("this processor has bf16 arithmetic")
    with pytest.raises(CannotCompile, match="no bf16"):
        CompiledVLM(create_towered("ViT"), "bf16")


class Foreign(torch.nn.Module):
    def forward(self, inputs):
        return torch.linalg.eigvals(inputs[:, 0, :4, :4]).real


def test_a_tower_with_an_operation_that_openvino_lacks_is_refused():
    with pytest.raises(CannotCompile, match="linalg_eigvals"):
        CompiledVLM(Towered(Foreign()), "fp32")


@pytest.mark.long
def test_nothing_reports_that_openvino_is_used():
    code = (
        "import sys, torch\n"
        "from models.catalogue import load_catalogue\n"
        "from models.loading.loading import load_vlm\n"
        "c = load_catalogue()\n"
        "card, folder = c.get('bundled-2'), c.folder('bundled-2')\n"
        "load_vlm(card, folder, torch.device('cpu'), compiled='fp32')\n"
        "names = [n for n, m in sys.modules.items() if m is not None]\n"
        "print([n for n in names if 'telemetry' in n or n.startswith('openvino.tools.ovc')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@torch.inference_mode()
def test_a_loaded_model_keeps_its_texts_with_torch():
    catalogue = load_catalogue()
    card, folder = catalogue.get("bundled-2"), catalogue.folder("bundled-2")
    base, compiled = (load_vlm(card, folder, CPU, compiled=one) for one in (None, "fp32"))
    assert (compiled.card, compiled.embed_dim) == (card, base.embed_dim)
    texts = ["A chest X-ray image.", "A hand."]
    assert torch.equal(compiled.encode_texts(texts), base.encode_texts(texts))
    ctx = base.embed_text("An image of")
    assert torch.equal(compiled.embed_text("An image of"), ctx)
    assert torch.equal(compiled.encode_prompts(ctx, texts), base.encode_prompts(ctx, texts))


def test_a_gradient_is_that_of_the_tower_by_torch():
    catalogue = load_catalogue()
    card, folder = catalogue.get("bundled-2"), catalogue.folder("bundled-2")
    compiled = load_vlm(card, folder, CPU, compiled="fp32")
    size = card.preprocessing.size
    levels = torch.full((1, 3, size, size), 90.0, requires_grad=True)
    twin = levels.detach().clone().requires_grad_()
    compiled.encode_levels(levels)[0, 0].backward()
    compiled.base.encode_levels(twin)[0, 0].backward()
    assert levels.grad.abs().max() > 0
    assert torch.equal(levels.grad, twin.grad)
    whole = compiled.encode_images(levels.detach().to(torch.int16))
    torch.testing.assert_close(whole, compiled.encode_levels(twin).detach(), atol=1e-5, rtol=1e-4)
