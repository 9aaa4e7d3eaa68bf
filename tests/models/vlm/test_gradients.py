"""A gradient through each image tower: right, and without a change of what f computes."""

import pytest
import torch

from models.catalogue import load_catalogue
from models.loading.loading import load_vlm
from models.testing import create_linear_model, write_linear_model
from models.vlm.denoised import DenoisedVLM, Denoiser
from models.vlm.onednn import _multiply

CPU = torch.device("cpu")
onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN"
)


@onednn
@pytest.mark.parametrize("shape", [(5, 24), (2, 7, 24)])
def test_a_product_by_onednn_has_the_gradient_of_a_linear_layer(shape):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator)
    weight, bias = torch.randn(16, 24, generator=generator), torch.randn(16, generator=generator)
    upstream = torch.randn((*shape[:-1], 16), generator=generator)
    gradients = []
    for function in (torch.nn.functional.linear, _multiply):
        leaf = x.clone().requires_grad_()
        function(leaf, weight, bias).backward(upstream)
        gradients.append(leaf.grad)
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-5, rtol=1e-5)


@onednn
def test_a_product_is_the_same_with_and_without_a_gradient():
    generator = torch.Generator().manual_seed(1)
    x, weight = torch.randn(5, 24, generator=generator), torch.randn(16, 24, generator=generator)
    with torch.inference_mode():
        plain = _multiply(x, weight, None)
    assert torch.equal(_multiply(x.clone().requires_grad_(), weight, None).detach(), plain)


@pytest.fixture(params=["bundled", "linear", "denoised"])
def vlm(request, tmp_path):
    """One of each kind of tower at hand; the denoiser's leaves images as they are."""
    if request.param == "bundled":
        catalogue = load_catalogue(None)
        card = catalogue.get("bundled-2")
        return load_vlm(card, catalogue.folder("bundled-2"), CPU)
    card = write_linear_model(tmp_path, create_linear_model(size=8))
    linear = load_vlm(card, tmp_path / "linear", CPU)
    if request.param == "linear":
        return linear
    denoiser = Denoiser(width=4, layers=2)
    torch.nn.init.dirac_(denoiser.filter.weight, groups=3)
    return DenoisedVLM(linear, denoiser)


def test_whole_levels_have_the_features_that_f_gives_them(vlm):
    size = vlm.card.preprocessing.size
    generator = torch.Generator().manual_seed(2)
    pixels = torch.randint(-40, 300, (6, 3, size, size), generator=generator, dtype=torch.int16)
    features = vlm.encode_images(pixels)
    levels = pixels.to(torch.float32).requires_grad_()
    found = vlm.encode_levels(levels)
    torch.testing.assert_close(found.detach(), features, atol=1e-5, rtol=1e-5)
    found[:, 0].sum().backward()
    assert levels.grad.abs().amax(dim=(1, 2, 3)).min() > 0


def test_the_gradient_of_the_plane_is_its_normal(tmp_path):
    model = create_linear_model(size=8)
    card = write_linear_model(tmp_path, model)
    vlm = load_vlm(card, tmp_path / "linear", CPU)
    levels = torch.full((1, 3, 8, 8), 90.0).requires_grad_()
    features = vlm.encode_levels(levels)
    (features[0, 1] - features[0, 0]).backward()
    normal = torch.from_numpy(model.weight).to(torch.float32)
    cosine = torch.nn.functional.cosine_similarity(levels.grad.flatten(), normal.flatten(), dim=0)
    assert cosine.item() == pytest.approx(1.0, abs=1e-5)
