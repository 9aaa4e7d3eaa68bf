"""Finds the width of a model's context vectors without loading the model; no torch."""

from pathlib import Path
from typing import Any

from models.catalogue.bert_config import BERT_CONFIG
from models.catalogue.cards import ModelCard
from models.catalogue.medclip_config import CONFIG as MEDCLIP_CONFIG
from models.catalogue.weights import WeightsError, load_file
from models.files.untrusted_text import parse_json

_PLACES = {  # the first of these files that the card names states the width under these keys
    MEDCLIP_CONFIG: ("text", "hidden_size"),
    BERT_CONFIG: ("hidden_size",),
    "open_clip_config.json": ("model_cfg", "text_cfg", "width"),
}


def find_text_width(card: ModelCard, folder: Path) -> int | None:
    """Returns the width of the model's text tower, or 0 if it takes no context vectors.

    Returns None if the files do not tell: they are missing, or another library defines the text
    tower. In any case, the engine refuses vectors of the wrong width.
    """
    if card.architecture == "linear":
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
