"""Medical VLMs with random weights, written in the forms that their authors publish them in.

Each comes with a reference: transformers', open_clip's and timm's own classes, put together as the
published code does. Sizes are those of the card, unless a test asks for smaller ones. CONCH and
SigLIP, whose towers pool, have modules of their own.

REAL_SIZE names the ids that tests of real size take, with spaces between; without it
they take all.
"""

import importlib
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from published_clip import create_hf_clip
from torch import Tensor
from torch.nn import functional

from models.catalogue import load_catalogue
from models.catalogue.cards import ModelCard, ModelDescription
from models.catalogue.keep_config import KeepConfig, KeepVision
from models.catalogue.medclip_config import BertShape
from models.datasets.training_images import TrainingImages
from models.forms.form import PublishedFiles
from models.forms.hugging_face.keep import convert_keep
from models.installation.add import add_model
from models.installation.folder import CARD, describe_file, format_model_card
from models.learning.few_shot import learn_prompt
from models.learning.zero_shot import Tuned, TuningStep, tune_prompt
from models.prompts.learning_settings import create_learning_settings
from models.vlm._imports import get_open_clip, get_transformers
from models.vlm.vlm import VLM

_WORDS = (
    "[PAD] [UNK] [CLS] [SEP] a an the this is image photo of lung opacity normal chest brain "
    "tissue carcinoma fundus . , x ray mri h & e - heart"
)

_CLIPS = (
    "pathgen-clip dermlip-b16 unimed-clip-b16 xrayclip-b16 monet bmc-clip keep unimed-clip-l14 "
    "xrayclip-l14"
)
_POOLED = "conch medsiglip-448"
_ASKED = os.environ.get("REAL_SIZE", f"{_CLIPS} {_POOLED}").split()
if _UNKNOWN := set(_ASKED) - {*_CLIPS.split(), *_POOLED.split()}:
    raise ValueError(f"REAL_SIZE names what has no test of its size: {sorted(_UNKNOWN)}")
CHOSEN = [one for one in _ASKED if one in _CLIPS.split()]
CHOSEN_POOLED = [one for one in _ASKED if one in _POOLED.split()]


@dataclass(frozen=True, kw_only=True)
class PublishedVlm:
    """What `models add` is given, and what the model computes by its own libraries.

    Attributes:
        path: the folder or file.
        encode_images: features of normalised pixels, not of unit length.
        encode_texts: features of texts, not of unit length.
    """

    path: Path
    encode_images: Callable[[Tensor], Tensor]
    encode_texts: Callable[[Sequence[str]], Tensor]


class UniMedClip(torch.nn.Module):
    """open_clip's image tower and a BERT with a projection, under the published names."""

    def __init__(self, vision: Mapping[str, int], bert: Mapping[str, int], embed_dim: int) -> None:
        super().__init__()
        open_clip, transformers = get_open_clip(), get_transformers()
        config = transformers.BertConfig(**bert)
        middle = (config.hidden_size + embed_dim) // 2
        self.visual = open_clip.transformer.VisionTransformer(
            **vision,
            heads=vision["width"] // 64,
            mlp_ratio=4.0,
            output_dim=embed_dim,
            act_layer=open_clip.transformer.QuickGELU,
        )
        self.text_encoder = torch.nn.ModuleDict(
            {
                "transformer": transformers.BertModel(config, add_pooling_layer=False),
                "proj": torch.nn.Sequential(
                    torch.nn.Linear(config.hidden_size, middle, bias=False),
                    torch.nn.GELU(),
                    torch.nn.Linear(middle, embed_dim, bias=False),
                ),
            }
        )
        self.logit_scale = torch.nn.Parameter(torch.tensor(math.log(50.0)))
        _fill(self)

    def encode_ids(self, ids: Tensor) -> Tensor:
        """The projected last state of [CLS]."""
        states = self.text_encoder["transformer"](input_ids=ids, attention_mask=(ids != 0).long())
        features: Tensor = self.text_encoder["proj"](states.last_hidden_state[:, 0])
        return features

    def save(self, path: Path) -> None:
        """The checkpoint of a training, with an optimiser and a number of numpy."""
        tensors = {f"module.{name}": leaf for name, leaf in self.state_dict().items()}
        write_checkpoint(path, tensors)


class Keep(torch.nn.Module):
    """timm's ViT with LayerScale, a head of two layers, and a BERT with its pooler."""

    def __init__(self, config: KeepConfig, trunk: str, **sizes: int) -> None:
        super().__init__()
        transformers, width = get_transformers(), config.embed_dim
        self.visual = importlib.import_module("timm").create_model(
            trunk,
            img_size=config.vision.image_size,
            patch_size=config.vision.patch_size,
            init_values=1e-5,
            num_classes=0,
            dynamic_img_size=True,
            **sizes,
        )
        self.visual_head = torch.nn.Sequential(
            torch.nn.Linear(config.vision.width, width),
            torch.nn.GELU(),
            torch.nn.Linear(width, width),
        )
        self.text = transformers.BertModel(transformers.BertConfig(**config.text.model_dump()))
        self.logit_scale = torch.nn.Parameter(torch.tensor(math.log(25.0)))
        _fill(self)

    def save(self) -> dict[str, Tensor]:
        """The tensors as the published file names them."""
        found = self.state_dict().items()
        return {name.replace(".gamma", ".weight"): leaf.clone() for name, leaf in found}

    def encode_image(self, x: Tensor) -> Tensor:
        """The image tower's features."""
        features: Tensor = self.visual_head(self.visual(x))
        return features

    def encode_ids(self, ids: Tensor) -> Tensor:
        """BERT's pooled output."""
        features: Tensor = self.text(input_ids=ids, attention_mask=(ids != 0).long()).pooler_output
        return features


def create_keep_config(config: KeepConfig) -> dict[str, Any]:
    """KEEP's config.json."""
    vision = config.vision
    return {
        "model_type": "keep",
        "auto_map": {"AutoModel": "modeling_keep.KEEPModel"},
        "vision_config": {
            "model_type": "vit",
            "img_size": vision.image_size,
            "patch_size": vision.patch_size,
            "hidden_size": vision.width,
            "num_heads": vision.heads,
            "num_layers": vision.layers,
            "mlp_ratio": 4.0,
            "qkv_bias": True,
            "drop_rate": 0.0,
            "attn_drop_rate": 0.0,
            "init_values": 1e-5,
            "num_classes": 0,
            "dynamic_img_size": True,
        },
        "text_config": {"model_type": "bert", **config.text.model_dump(exclude={"pad_token_id"})},
        "projection_dim": config.embed_dim,
    }


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """What a training program leaves: tensors, an optimiser, a best accuracy."""
    checkpoint = {
        "epoch": 15,
        "name": path.stem,
        "state_dict": dict(tensors),
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(2**20)}}, "param_groups": []},
        "best": np.float64(0.61),
    }
    torch.save(checkpoint, path)


def write_vocabulary(folder: Path, size: int) -> None:
    """A vocabulary of some real words and many made up."""
    words = _WORDS.split()
    rest = (f"word{at}" for at in range(len(words), size))
    (folder / "vocab.txt").write_text("\n".join([*words, *rest]) + "\n")


def write_clip_tokenizer(folder: Path) -> None:
    """CLIP's own tokenizer in the two files that a CLIPModel has."""
    clip = get_open_clip().SimpleTokenizer()
    marks = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    ids = {marks.get(token, token): at for token, at in clip.encoder.items()}
    (folder / "vocab.json").write_text(json.dumps(ids))
    merges = "\n".join(" ".join(pair) for pair in clip.bpe_ranks)
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")


def publish(model_id: str, folder: Path) -> PublishedVlm:
    """Writes a known model with random weights of its published size into a folder."""
    described = load_catalogue().describe(model_id)
    folder.mkdir(exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        match described.published.form:
            case "hf-clip":
                return _publish_hf_clip(described, folder)
            case "open-clip":
                return _publish_open_clip(described, folder)
            case "open-clip-bert":
                return _publish_unimed(described, folder)
            case "keep":
                return _publish_keep(folder)
    raise ValueError(model_id)


def _publish_hf_clip(described: ModelDescription, folder: Path) -> PublishedVlm:
    """CLIPModel.save_pretrained, the processor's and the tokenizer's files."""
    transformers, card = get_transformers(), described.preprocessing
    cfg = described.published.model_cfg
    act = described.activation
    sizes = {"layers": "num_hidden_layers", "width": "hidden_size"}
    vision = {sizes.get(key, key): value for key, value in cfg["vision_cfg"].items()}
    text = {
        "hidden_size": cfg["text_cfg"]["width"],
        "num_attention_heads": cfg["text_cfg"]["heads"],
        "intermediate_size": 4 * cfg["text_cfg"]["width"],
    }
    vision |= {
        "num_attention_heads": vision["hidden_size"] // 64,
        "intermediate_size": 4 * vision["hidden_size"],
    }
    parts = {
        "text_config": text | {"hidden_act": act},
        "vision_config": vision | {"hidden_act": act},
    }
    model = create_hf_clip(**parts, projection_dim=cfg["embed_dim"]).model
    model.save_pretrained(folder)
    statistics = {"image_mean": list(card.mean), "image_std": list(card.std)}
    if card.resize == "squash":
        size = {"height": card.size, "width": card.size}
        transformers.BlipImageProcessor(size=size, **statistics).save_pretrained(folder)
    else:
        old = {"feature_extractor_type": "CLIPFeatureExtractor", "resample": 3, **statistics}
        steps = {"do_center_crop": True, "do_normalize": True, "do_resize": True}
        written = old | steps | {"size": card.size, "crop_size": card.size}
        (folder / "preprocessor_config.json").write_text(json.dumps(written))
    write_clip_tokenizer(folder)
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder)

    def encode_texts(texts: Sequence[str]) -> Tensor:
        tokens = tokenizer(list(texts), padding="max_length", max_length=77, return_tensors="pt")
        pooled = model.text_model(input_ids=tokens["input_ids"]).pooler_output
        return model.text_projection(pooled)

    def encode_images(inputs: Tensor) -> Tensor:
        return model.visual_projection(model.vision_model(inputs).pooler_output)

    return PublishedVlm(path=folder, encode_images=encode_images, encode_texts=encode_texts)


def _publish_open_clip(described: ModelDescription, folder: Path) -> PublishedVlm:
    """A folder as open_clip saves it for the Hub, bare tensors, or a training's checkpoint."""
    open_clip = get_open_clip()
    name = "ViT-B-16" if described.published.model_cfg["embed_dim"] == 512 else "ViT-L-14"
    clip = open_clip.create_model(name).eval().requires_grad_(False)
    own = described.published.weights
    if own is None:
        hub = importlib.import_module("open_clip.push_to_hf_hub")
        (folder / hub.HF_CONFIG_NAME).touch()
        torch.save(clip.state_dict(), folder / hub.HF_WEIGHTS_NAME)
        config = open_clip.get_model_config(name)
        hub.save_config_for_hf(clip, folder / hub.HF_CONFIG_NAME, model_config=config)
    elif described.id == "bmc-clip":
        tensors = {f"module.{leaf}": tensor for leaf, tensor in clip.state_dict().items()}
        write_checkpoint(folder / own, tensors)
    else:
        torch.save(clip.state_dict(), folder / own)
    tokenizer = open_clip.get_tokenizer(name)
    return PublishedVlm(
        path=folder / own if own else folder,
        encode_images=clip.encode_image,
        encode_texts=lambda texts: clip.encode_text(tokenizer(list(texts))),
    )


def _publish_unimed(described: ModelDescription, folder: Path) -> PublishedVlm:
    cfg, own = described.published.model_cfg, described.published.weights
    model = UniMedClip(cfg["vision_cfg"], {"vocab_size": 30522}, cfg["embed_dim"])
    model.save(folder / own)
    write_vocabulary(folder, 30522)
    encode = _read_by_bert(folder, described.context_length, model.encode_ids, evened=True)
    return PublishedVlm(path=folder / own, encode_images=model.visual, encode_texts=encode)


def _publish_keep(folder: Path) -> PublishedVlm:
    config = KeepConfig()
    model = Keep(config, "vit_large_patch16_224")
    torch.save(model.save(), folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(create_keep_config(config)))
    write_vocabulary(folder, config.text.vocab_size)
    encode = _read_by_bert(folder, config.context_length, model.encode_ids, evened=False)
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    return PublishedVlm(path=folder, encode_images=model.encode_image, encode_texts=encode)


def _read_by_bert(
    folder: Path, length: int, encode_ids: Callable[[Tensor], Tensor], *, evened: bool
) -> Callable[[Sequence[str]], Tensor]:
    """Texts by transformers' own tokenizer; open_clip's wrapper evens out white space before."""
    tokenizer = get_transformers().BertTokenizer.from_pretrained(folder)

    def encode(texts: Sequence[str]) -> Tensor:
        read = [" ".join(text.split()) for text in texts] if evened else list(texts)
        options = {"padding": "max_length", "max_length": length, "return_tensors": "pt"}
        return encode_ids(tokenizer(read, truncation=True, **options)["input_ids"])

    return encode


def _fill(model: torch.nn.Module) -> None:
    """Random weights that are large enough for a wrong step to show."""
    with torch.no_grad():
        for name, leaf in model.named_parameters():
            if not leaf.ndim:
                continue
            norm = ("norm" in name.lower() or "ln_" in name) and name.endswith("weight")
            wide = max(leaf.shape[-1], 64) ** -0.5
            leaf.normal_(float(norm), 0.5 if name.endswith("gamma") else wide)
    model.eval().requires_grad_(False)


def normalise(features: Tensor) -> Tensor:
    """Features of unit length."""
    return functional.normalize(features, dim=-1)


def add_small_keep(folder: Path, models: Path) -> ModelCard:
    """KEEP, but small, from its published form into an installation."""
    described = load_catalogue().describe("keep")
    text = BertShape(
        vocab_size=len(_WORDS.split()),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=40,
    )
    vision = KeepVision(image_size=32, patch_size=8, width=48, layers=2, heads=3)
    config = KeepConfig(embed_dim=32, context_length=24, vision=vision, text=text)
    sizes = {"embed_dim": 48, "depth": 2, "num_heads": 3}
    folder.mkdir()
    torch.save(Keep(config, "vit_tiny_patch16_224", **sizes).save(), folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(create_keep_config(config)))
    write_vocabulary(folder, text.vocab_size)
    home = models / described.id
    home.mkdir(parents=True)
    convert_keep(PublishedFiles(path=folder, description=described), home, config)
    fields = described.model_dump() | {
        "files": tuple(describe_file(path) for path in sorted(home.iterdir())),
        "context_length": 24,
        "preprocessing": described.preprocessing.model_copy(update={"size": 32}),
    }
    card = ModelCard.model_validate(fields)
    (home / CARD).write_text(format_model_card(card))
    return card


def add_small_unimed(folder: Path, models: Path) -> ModelCard:
    """UniMed-CLIP, but small, from its published form into an installation."""
    shipped = load_catalogue().describe("unimed-clip-b16")
    bert = {
        "vocab_size": len(_WORDS.split()),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "max_position_embeddings": 40,
    }
    vision = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8}
    folder.mkdir()
    UniMedClip(vision, bert, 16).save(folder / "unimed.pt")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", **bert}))
    write_vocabulary(folder, bert["vocab_size"])
    published = shipped.published
    text_cfg = {**published.model_cfg["text_cfg"], "context_length": 24}
    parts = {"embed_dim": 16, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text_cfg}
    changes = {
        "context_length": 24,
        "preprocessing": shipped.preprocessing.model_copy(update={"size": 32}),
        "published": published.model_copy(update={"model_cfg": parts}),
    }
    return add_model(shipped.model_copy(update=changes), folder / "unimed.pt", models).card


def learn_and_tune(vlm: VLM) -> tuple[list[float], Tuned]:
    """A prompt learned from a dark and a bright image, and tuned on both; losses by epoch."""
    size = vlm.card.preprocessing.size
    pixels = np.random.default_rng(0).integers(0, 60, size=(2, 3, size, size), dtype=np.uint8)
    pixels[1] += 190
    names = ("normal tissue", "carcinoma")
    settings = replace(
        create_learning_settings("default", "an image of {}."),
        shots=1,
        epochs=3,
        learning_rate=0.02,
        warmup_epochs=0,
        noise_levels=(0.0,),
    )
    images = TrainingImages(pixels=pixels, classes=np.arange(2))
    learned = learn_prompt(vlm, images, names, settings)
    copies = vlm.encode_images(torch.from_numpy(pixels.astype(np.int16)))
    tuned = tune_prompt(vlm, copies, learned.prompt, names, TuningStep(steps=2))
    return [epoch.loss for epoch in learned.curve], tuned


def check_learning(vlm: VLM) -> None:
    """The loss of a learned prompt falls, and so does the entropy of a tuned one; prints both."""
    losses, tuned = learn_and_tune(vlm)
    sys.stdout.write(
        f"\n{vlm.card.id}: loss {losses[0]:.4f} to {losses[-1]:.4f}, "
        f"entropy {tuned.entropy_before:.4f} to {tuned.entropy_after:.4f}\n"
    )
    assert losses[-1] < losses[0]
    assert tuned.entropy_after < tuned.entropy_before
