"""Finds the width of a model's context vectors without loading the model; no torch."""

from pathlib import Path
from typing import Any

from models.catalogue.bert_config import BERT_CONFIG
from models.catalogue.cards import ModelCard
from models.catalogue.conch_config import ConchConfig
from models.catalogue.keep_config import KeepConfig
from models.catalogue.medclip_config import MedClipConfig
from models.catalogue.siglip_config import SiglipConfig
from models.catalogue.weights import WeightsError, load_file
from models.files.untrusted_text import parse_json

_PLACES = {  # the first of these files that the card names states the width under these keys
    MedClipConfig.FILE: ("text", "hidden_size"),
    KeepConfig.FILE: ("text", "hidden_size"),
    SiglipConfig.FILE: ("text", "hidden_size"),
    ConchConfig.FILE: ("text_cfg", "width"),
    BERT_CONFIG: ("hidden_size",),
    "open_clip_config.json": ("model_cfg", "text_cfg", "width"),
}


def explain_no_context(card: ModelCard) -> str:
    """What is expected instead of this model, which takes no context vectors."""
    if card.has_texts:
        return "a model that takes context vectors"
    return (
        f"a model that takes context vectors; {card.id} is an image classifier without a text "
        "tower, so no prompt can be learned for it"
    )


def find_text_width(card: ModelCard, folder: Path) -> int | None:
    """Returns the width of the model's text tower, or 0 if it takes no context vectors.

    Returns None if the files do not tell: they are missing, or another library defines the text
    tower. In any case, the engine refuses vectors of the wrong width.
    """
    if card.architecture in ("linear", "onnx"):
        return 0
    files = {file.name: file for file in card.files}
    name = next((name for name in _PLACES if name in files), None)
    if name is None:
        return None
    try:
        width: Any = parse_json(load_file(files[name], folder))
        for key in _PLACES[name]:
            width = width[key]
    except (KeyError, TypeError, ValueError, WeightsError, OSError):
        return None
    return width if isinstance(width, int) else None
