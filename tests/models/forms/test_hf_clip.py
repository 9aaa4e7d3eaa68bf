"""CLIPModel of transformers, saved as it is published, added, loaded: the same features."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from models.catalogue import load_catalogue
from models.catalogue.text_width import find_text_width
from models.catalogue.weights import ConfigMismatch, StateDictMismatch, UnreadableWeights
from models.forms.form import FormRefused
from models.forms.hugging_face.clip_config import convert_config
from models.forms.hugging_face.clip_tensors import DROPPED, convert_clip, list_leaves
from models.installation.add import add_model
from models.loading.activation import swapped_activation
from models.loading.loading import load_vlm
from models.loading.memory_growth import Growth, measure_growth
from models.loading.trial import FeaturesUnusable
from models.prompts.imported import ImportRefused, check_fits
from models.prompts.prompt import Prompt

CPU = torch.device("cpu")
TEXTS = ["An H&E image patch of necrosis.", "a", "smooth muscle, near its border"]
NAMES = ["necrosis.", "colorectal adenocarcinoma epithelium.", "fat."]


def encode_images(model, vlm, pixels: torch.Tensor) -> torch.Tensor:
    """The reference's image features, of unit length."""
    with torch.no_grad():
        pooled = model.vision_model(pixel_values=vlm.normalise(pixels)).pooler_output
        return functional.normalize(model.visual_projection(pooled), dim=-1)


def encode_texts(model, vlm, texts: list[str]) -> torch.Tensor:
    """The reference's text features, of unit length, of the same tokens."""
    with torch.no_grad():
        pooled = model.text_model(input_ids=vlm.tokenizer(texts).long()).pooler_output
        return functional.normalize(model.text_projection(pooled), dim=-1)


def encode_prompt(model, vlm, ctx: torch.Tensor, text: str) -> torch.Tensor:
    """`[SOS] v_1 … v_M class name . [EOS]` (PromptSmooth, section 3) through the reference's parts.

    No padding: exactly the vectors and tokens of the prompt, each seeing those before it.
    """
    text_model = model.text_model
    tokens = [vlm.tokenizer.sot_token_id, *vlm.tokenizer.encode(text), vlm.tokenizer.eot_token_id]
    words = text_model.embeddings.token_embedding(torch.tensor(tokens))
    embeddings = torch.cat([words[:1], ctx, words[1:]])[None]
    length = embeddings.shape[1]
    causal = torch.full((length, length), float("-inf")).triu(1)[None, None]
    with torch.no_grad():
        states = text_model.embeddings(inputs_embeds=embeddings)  # adds the positions
        states = text_model.encoder(inputs_embeds=states, attention_mask=causal)[0]
        pooled = text_model.final_layer_norm(states)[0, -1]
        return functional.normalize(model.text_projection(pooled), dim=-1)


def check_features(hf_clip, vlm, pixels: torch.Tensor) -> None:
    model = hf_clip.model
    torch.testing.assert_close(
        vlm.encode_images(pixels), encode_images(model, vlm, pixels), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        vlm.encode_texts(TEXTS), encode_texts(model, vlm, TEXTS), atol=1e-5, rtol=0
    )
    ctx = torch.randn(5, vlm.text_width, generator=torch.Generator().manual_seed(1))
    expected = torch.stack([encode_prompt(model, vlm, ctx, name) for name in NAMES])
    with torch.no_grad():
        prompted = vlm.encode_prompts(ctx, NAMES)
    torch.testing.assert_close(prompted, expected, atol=1e-5, rtol=0)
    assert vlm.logit_scale == pytest.approx(model.logit_scale.exp().item(), rel=1e-6)


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_added_clip_has_the_features_of_its_reference(hf_clip, tmp_path, sample_pixels, weights):
    published = hf_clip.write(tmp_path / "published", weights=weights)
    added = add_model(hf_clip.description, published, tmp_path / "models")
    vlm = load_vlm(added.card, added.folder, CPU)
    check_features(hf_clip, vlm, sample_pixels(4, 32))


def test_features_tell_the_activations_apart(hf_clip, tmp_path, sample_pixels):
    """Or the equality above could not see plain GELU in the place of quick GELU."""
    added = add_model(
        hf_clip.description, hf_clip.write(tmp_path / "published"), tmp_path / "models"
    )
    vlm = load_vlm(added.card, added.folder, CPU)
    pixels = sample_pixels(4, 32)
    right = vlm.encode_images(pixels)
    with swapped_activation(vlm.clip, "quick_gelu"):
        assert (vlm.encode_images(pixels) - right).abs().max() > 1e-3
    assert torch.equal(vlm.encode_images(pixels), right)


def test_key_map_of_the_published_size_is_complete():
    """ViT-B/32: 302 tensors, none missing, none left over, on shapes alone."""
    from transformers import CLIPConfig, CLIPModel

    config = CLIPConfig()
    with torch.device("meta"):
        found = CLIPModel(config).state_dict()
        found |= {name: torch.empty(1, 1, dtype=torch.int64) for name in DROPPED}
    model_cfg = convert_config(config.to_dict())
    converted = convert_clip(found, model_cfg)
    sources = [source for leaf in list_leaves(model_cfg) for source in leaf.sources]
    assert len(converted) == 302
    assert len(sources) == len(set(sources))
    assert set(sources) == found.keys() - set(DROPPED)
    assert converted["visual.proj"].shape == (768, 512)


def test_projections_are_transposed_and_attention_is_stacked(hf_clip):
    found = hf_clip.state_dict()
    converted = convert_clip(found, hf_clip.description.published.model_cfg)
    assert torch.equal(converted["visual.proj"], found["visual_projection.weight"].T)
    assert torch.equal(converted["text_projection"], found["text_projection.weight"].T)
    layer = "text_model.encoder.layers.1.self_attn"
    q, k, v = (found[f"{layer}.{part}_proj.bias"] for part in "qkv")
    stacked = converted["transformer.resblocks.1.attn.in_proj_bias"]
    assert torch.equal(stacked, torch.cat([q, k, v]))


@pytest.mark.parametrize(
    ("leaf", "change", "sentence"),
    [
        (
            "vision_model.pre_layrnorm.weight",
            lambda _: None,
            r"expected floating point of shape \(64,\), found no such tensor",
        ),
        (
            "text_model.surplus.weight",
            lambda _: torch.zeros(3),
            r"expected no such tensor, found floating point of shape \(3,\)",
        ),
        (
            "visual_projection.weight",
            lambda tensor: tensor.T.contiguous(),
            r"expected floating point of shape \(24, 64\), found .* \(64, 24\)",
        ),
        (
            "text_projection.weight",
            lambda tensor: tensor.T.contiguous(),
            r"expected floating point of shape \(24, 32\), found .* \(32, 24\)",
        ),
        (
            "vision_model.encoder.layers.0.self_attn.k_proj.weight",
            lambda tensor: tensor[:-1].contiguous(),
            r"expected floating point of shape \(64, 64\), found .* \(63, 64\)",
        ),
    ],
)
def test_tensors_of_another_model_are_refused(hf_clip, tmp_path, leaf, change, sentence):
    published = hf_clip.write(tmp_path / "published")
    tensors = hf_clip.model.state_dict()
    changed = change(tensors.pop(leaf, None))
    if changed is not None:
        tensors[leaf] = changed
    save_file({k: v.contiguous() for k, v in tensors.items()}, published / "model.safetensors")
    with pytest.raises(StateDictMismatch, match=f"The tensor {leaf} .* {sentence}"):
        add_model(hf_clip.description, published, tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize(
    ("part", "key", "value", "sentence"),
    [
        ("vision_config", "hidden_act", "gelu", "text_config.hidden_act: expected gelu, found qu"),
        ("both", "hidden_act", "gelu", "quick_gelu: expected True, found False"),
        ("both", "hidden_act", "relu", "hidden_act: expected quick_gelu or gelu, found relu"),
        ("text_config", "layer_norm_eps", 1e-6, "text_config.layer_norm_eps: expected 1e-05, fou"),
        ("text_config", "num_attention_heads", 4, "text_cfg.heads: expected 2, found 4"),
        ("vision_config", "num_attention_heads", 4, "vision_cfg.head_width: expected 32, found 16"),
        ("vision_config_dict", "patch_size", 4, "vision_config_dict.patch_size: expected 8, as vi"),
    ],
)
def test_configuration_of_another_model_is_refused(hf_clip, tmp_path, part, key, value, sentence):
    """Heads, activation and epsilon have no tensor: only the configuration can tell."""
    published = hf_clip.write(tmp_path / "published")
    config = json.loads((published / "config.json").read_text())
    for name in ("text_config", "vision_config") if part == "both" else (part,):
        config.setdefault(name, {})[key] = value
    (published / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigMismatch, match=sentence):
        add_model(hf_clip.description, published, tmp_path / "models")


@pytest.mark.parametrize(
    "text_config", [[1], "text", {"hidden_size": 0}, {"hidden_size": None}, {"hidden_size": "x"}]
)
def test_configuration_that_is_no_configuration_is_refused_by_a_sentence(text_config):
    found = {"model_type": "clip", "text_config": text_config}
    with pytest.raises(ConfigMismatch, match=r"config\.json: expected a CLIPModel's sizes"):
        convert_config(found)


def test_card_that_pins_plain_gelu_is_refused_when_loading(hf_clip, tmp_path):
    added = add_model(
        hf_clip.description, hf_clip.write(tmp_path / "published"), tmp_path / "models"
    )
    wrong = added.card.model_copy(update={"activation": "gelu"})
    with pytest.raises(ConfigMismatch, match="quick_gelu: expected gelu, found quick_gelu"):
        load_vlm(wrong, added.folder, CPU)


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_published_file_that_is_cut_short_is_refused(hf_clip, tmp_path, weights):
    published = hf_clip.write(tmp_path / "published", weights=weights)
    content = (published / weights).read_bytes()
    (published / weights).write_bytes(content[:-1000])
    with pytest.raises(UnreadableWeights, match=f"{weights} cannot be read"):
        add_model(hf_clip.description, published, tmp_path / "models")


def test_bare_file_takes_the_architecture_of_card_or_configuration(hf_clip, tmp_path):
    published = hf_clip.write(tmp_path / "published", weights="pytorch_model.bin")
    whole = add_model(hf_clip.description, published, tmp_path / "a").card
    bare = tmp_path / "pytorch_model.bin"
    shutil.copy(published / "pytorch_model.bin", bare)
    by_card = add_model(hf_clip.description, bare, tmp_path / "b")
    assert by_card.notes[0] == (
        "No configuration came with the weights; the architecture is the card's."
    )
    unknown = hf_clip.description.model_copy(update={"published": None, "activation": None})
    named = add_model(unknown, bare, tmp_path / "c", config=published / "config.json").card
    assert by_card.card.files == named.files == whole.files  # one model, one digest
    assert named.activation == "quick_gelu"
    with pytest.raises(FormRefused, match=r"come as a folder with CLIPModel's config.json .* none"):
        add_model(unknown, bare, tmp_path / "d")


@pytest.mark.usefixtures("no_network")
def test_adding_and_using_a_model_opens_no_socket(hf_clip, tmp_path):
    published = hf_clip.write(tmp_path / "published")
    added = add_model(hf_clip.description, published, tmp_path / "models")
    vlm = load_vlm(added.card, added.folder, CPU)
    assert vlm.encode_texts(TEXTS).shape == (3, 24)


def test_prompt_of_another_model_is_refused(hf_clip, tmp_path):
    added = add_model(
        hf_clip.description, hf_clip.write(tmp_path / "published"), tmp_path / "models"
    )
    vlm = load_vlm(added.card, added.folder, CPU)
    width = find_text_width(added.card, added.folder)
    assert width == vlm.text_width == 32
    other = Prompt(ctx=np.zeros((5, 512), dtype=np.float32))
    with pytest.raises(ImportRefused, match=r"small-plip.* width 32; got vectors of width 512"):
        check_fits(other, added.card, width)
    with pytest.raises(ValueError, match=r"vectors of width 32; got \(5, 512\)"):
        vlm.encode_prompts(torch.from_numpy(other.ctx.copy()), NAMES)


def test_float16_weights_stay_what_they_were(hf_clip, tmp_path):
    published = hf_clip.write(tmp_path / "published")
    halves = {k: v.half().contiguous() for k, v in hf_clip.model.state_dict().items()}
    save_file(halves, published / "model.safetensors")
    added = add_model(hf_clip.description, published, tmp_path / "models")
    vlm = load_vlm(added.card, added.folder, CPU)
    loaded = vlm.clip.visual.class_embedding
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded, halves["vision_model.embeddings.class_embedding"].float())


@pytest.mark.real_size
def test_real_size_clip_has_the_features_of_its_reference(
    real_hf_clip, tmp_path, sample_pixels, no_network
):
    """PLIP's size: 302 tensors, features to 1e-5, and no second copy of the weights in memory."""
    published = real_hf_clip.write(tmp_path / "published", weights="pytorch_model.bin")
    plip = load_catalogue().describe("plip")
    assert real_hf_clip.description.published.model_cfg["vision_cfg"]["width"] == 768
    added = add_model(plip, published, tmp_path / "models")
    vlm, grown = measure_growth(lambda: load_vlm(added.card, added.folder, CPU), CPU)
    assert len(vlm.clip.state_dict()) == 302
    check_features(real_hf_clip, vlm, sample_pixels(2, 224))
    assert isinstance(grown, Growth)
    assert grown.ratio <= 1.2


def test_published_files_are_named_by_their_digests(hf_clip, tmp_path):
    published = hf_clip.write(Path(tmp_path) / "published")
    card = add_model(hf_clip.description, published, tmp_path / "models").card
    assert card.origin is not None
    assert card.origin.form == "hf-clip"
    assert [file.name for file in card.origin.files] == ["model.safetensors", "config.json"]


@pytest.mark.parametrize("leaf", ["visual_projection.weight", "text_projection.weight"])
def test_weights_that_compute_no_features_are_not_added(hf_clip, tmp_path, leaf):
    """Names and shapes fit; an engine would refuse the model at its first batch."""
    published = hf_clip.write(tmp_path / "published")
    tensors = {k: v.contiguous().clone() for k, v in hf_clip.model.state_dict().items()}
    tensors[leaf][0, 0] = float("nan")
    save_file(tensors, published / "model.safetensors")
    with pytest.raises(FeaturesUnusable, match="unit length"):
        add_model(hf_clip.description, published, tmp_path / "models")
    assert not list((tmp_path / "models").glob("*/card.toml"))
