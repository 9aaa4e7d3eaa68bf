"""Models of published shapes with random weights, in memory. They are as fast as the real ones."""

import copy
import math
import unittest.mock
from collections.abc import Sequence
from typing import Any

import torch

from models.catalogue import load_catalogue
from models.catalogue.bert_config import BERT_CONFIG
from models.catalogue.cards import ModelCard, Precision, WeightFile
from models.catalogue.conch_config import ConchConfig
from models.catalogue.keep_config import KeepConfig
from models.catalogue.medclip_config import MedClipConfig
from models.catalogue.siglip_config import read_published
from models.loading.hf_text import create_hf_text_tower
from models.loading.keep import Keep, KeepPooling, fold_layer_scale
from models.loading.loading import create_clip, load_vlm
from models.loading.siglip import create_siglip
from models.vlm._imports import get_open_clip
from models.vlm.bert import BertTextTower, BertVLM
from models.vlm.medclip import MedClip, MedClipPooling
from models.vlm.open_clip import OpenClipVLM
from models.vlm.pooled.conch import Conch, ConchImageTower, ConchTextTower
from models.vlm.pooled.conch_tokens import Tokens
from models.vlm.pooled.siglip import SiglipImageTower, SiglipTextTower
from models.vlm.text_tower import TextTower
from models.vlm.vlm import VLM
from models.vlm.wordpiece import create_tokenizer

SHAPES = {
    "plip": "ViT-B/32",
    "quiltnet-b16": "ViT-B/16",
    "medclip-vit": "Swin-T",
    "bundled-2": "bundled VLM",
}
TISSUES = (
    "adipose tissue",
    "background",
    "debris",
    "lymphocytes",
    "mucus",
    "smooth muscle",
    "normal colon mucosa",
    "cancer-associated stroma",
    "colorectal adenocarcinoma epithelium",
)
_PUBMEDBERT = b'{"model_type": "bert", "vocab_size": 30522}'
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def create_card(name: str, *, rows: int | None, precision: Precision | None) -> ModelCard:
    """The card of a model with this batch shape and precision; None keeps the card's own."""
    catalogue = load_catalogue()
    described = catalogue.describe(name)
    fields = described.model_dump(exclude={"files", "origin"})
    if rows is not None:
        fields["batch_size"] = {"cpu": rows, "cuda": rows}
    if precision is not None:
        fields["precision"] = {"cpu": precision, "cuda": precision}
    if isinstance(described, ModelCard):
        return ModelCard(**fields, files=described.files)
    fields["class_names"] = TISSUES
    nowhere = WeightFile(name="random.safetensors", sha256="0" * 64, size_bytes=1)
    return ModelCard(**fields, files=(nowhere,))


def create_vlm(card: ModelCard, device: torch.device, *, plain: bool = False) -> VLM:
    """A model of the card's shape: the bundled one itself, others with random weights.

    With `plain`, it has the layers of its libraries, as published code does.
    """
    with unittest.mock.patch("torch.backends.mkldnn.is_available", return_value=not plain):
        return _create_vlm(card, device)


def create_shape(card: ModelCard) -> tuple[torch.nn.Module, torch.nn.Module]:
    """A known model on the current default device: the whole of it, and its image tower."""
    if card.architecture == "medclip":
        medclip = MedClip(MedClipConfig())
        return medclip, medclip.vision_model
    if card.architecture == "keep":
        keep = Keep(KeepConfig())
        return keep, torch.nn.Sequential(keep.visual, keep.visual_head)
    if card.architecture == "conch":
        conch = _create_conch()
        return conch, ConchImageTower(conch.visual)
    if card.architecture == "siglip":
        siglip = _create_siglip(card)
        return siglip, SiglipImageTower(siglip.vision_model)
    clip = _create_clip(card, torch.float32)
    return clip, clip.visual


def _create_conch() -> Conch:
    return _draw(Conch(ConchConfig()))


def _create_siglip(card: ModelCard) -> Any:
    """transformers' model, on the current default device."""
    assert card.published is not None, "a known model says its architecture"
    config = read_published(card.id, card.published.model_cfg)
    siglip = create_siglip(config).to_empty(device=torch.get_default_device())
    for part in (siglip.text_model.embeddings, siglip.vision_model.embeddings):
        part.position_ids.copy_(torch.arange(part.position_ids.shape[1]))
    return _draw(siglip)


@torch.no_grad()
def _draw(module: Any) -> Any:
    """Random weights for all, some of which the class leaves undefined."""
    for weight in module.parameters():
        weight.normal_(std=0.02)
    return module.requires_grad_(False)


def _create_clip(card: ModelCard, dtype: torch.dtype) -> Any:
    """open_clip's model. A BERT in it is PubMedBERT, of BERT-base's size."""
    assert card.published is not None, "a known model says its architecture"
    if card.published.form != "open-clip-bert":
        return create_clip(card.published.model_cfg, dtype)
    cfg = copy.deepcopy(dict(card.published.model_cfg))
    cfg["text_cfg"]["hf_model_name"] = BERT_CONFIG
    return create_clip(cfg, dtype, bert_config=_PUBMEDBERT)


def _create_vlm(card: ModelCard, device: torch.device) -> VLM:
    torch.manual_seed(0)
    dtype = _DTYPES[card.precision["cuda" if device.type == "cuda" else "cpu"]]
    if card.id == "bundled-2":
        return load_vlm(card, load_catalogue().folder(card.id), device)
    if card.architecture == "medclip":
        return _create_medclip(card, dtype, device)
    if card.architecture == "keep":
        return _create_keep(card, dtype, device)
    if card.architecture in ("conch", "siglip"):
        return _create_pooled(card, dtype, device)
    clip = _create_clip(card, dtype)
    if card.published is not None and card.published.form == "open-clip-bert":
        return _create_bert_vlm(card, clip, dtype, device)
    if dtype != torch.float32:
        get_open_clip().convert_weights_to_lp(clip.visual, dtype)
    tokenizer = get_open_clip().SimpleTokenizer(context_length=card.context_length)
    return OpenClipVLM(card=card, clip=clip, tokenizer=tokenizer, image_dtype=dtype, device=device)


def _create_medclip(card: ModelCard, dtype: torch.dtype, device: torch.device) -> VLM:
    config = MedClipConfig()
    size = config.text.vocab_size
    tokenizer = create_tokenizer(
        _create_vocabulary(size), vocab_size=size, context_length=card.context_length
    )
    clip = MedClip(config)
    head = MedClipPooling(clip.text_model.projection_head)
    return BertVLM(
        card=card,
        image_tower=clip.vision_model,
        text_tower=BertTextTower(bert=clip.text_model.model, head=head, tokenizer=tokenizer),
        logit_scale=math.exp(clip.logit_scale.item()),
        image_dtype=dtype,
        device=device,
    )


def _create_keep(card: ModelCard, dtype: torch.dtype, device: torch.device) -> VLM:
    config = KeepConfig()
    size = config.text.vocab_size
    tokenizer = create_tokenizer(
        _create_vocabulary(size), vocab_size=size, context_length=card.context_length
    )
    keep = Keep(config)
    fold_layer_scale(keep.visual)
    return BertVLM(
        card=card,
        image_tower=torch.nn.Sequential(keep.visual, keep.visual_head),
        text_tower=BertTextTower(bert=keep.text, head=KeepPooling(), tokenizer=tokenizer),
        logit_scale=math.exp(keep.logit_scale.item()),
        image_dtype=dtype,
        device=device,
    )


def _create_pooled(card: ModelCard, dtype: torch.dtype, device: torch.device) -> VLM:
    """CONCH or a SigLIP, to which all texts are the same."""

    def read(texts: Sequence[str], *, n_ctx: int) -> torch.Tensor:
        return torch.ones(len(texts), card.context_length - n_ctx, dtype=torch.long)

    def read_with_room(texts: Sequence[str], *, n_ctx: int) -> Tokens:
        """Leaves the place of CONCH's learned last token."""
        return Tokens(ids=read(texts, n_ctx=n_ctx + 1), used=torch.ones(len(texts)))

    tokenizer: Any
    if card.architecture == "conch":
        model, tokenizer = _create_conch(), read_with_room
        image: torch.nn.Module = ConchImageTower(model.visual)
        text: TextTower = ConchTextTower(model.text, tokenizer)
    else:
        model, tokenizer = _create_siglip(card), read
        image = SiglipImageTower(model.vision_model)
        text = SiglipTextTower(model.text_model, tokenizer)
    return BertVLM(
        card=card,
        image_tower=image,
        text_tower=text,
        logit_scale=1.0,
        image_dtype=dtype,
        device=device,
    )


def _create_bert_vlm(card: ModelCard, clip: Any, dtype: torch.dtype, device: torch.device) -> VLM:
    """BiomedCLIP or UniMed-CLIP."""
    clip.visual.to(dtype)
    text = create_hf_text_tower(clip.text, _create_vocabulary(30522), card.context_length)
    return BertVLM(
        card=card,
        image_tower=clip.visual,
        text_tower=text,
        logit_scale=math.exp(clip.logit_scale.item()),
        image_dtype=dtype,
        device=device,
    )


def _create_vocabulary(size: int) -> dict[str, bytes]:
    """The files of a BERT's tokenizer with made-up words."""
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = [*marks, *(f"word{i}" for i in range(size - len(marks)))]
    return {"vocab.txt": "\n".join(words).encode(), "tokenizer_config.json": b"{}"}
