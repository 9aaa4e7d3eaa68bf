"""How wide the context vectors of a model are, read without loading it. No torch."""

from pathlib import Path
from typing import Any

from models.catalogue.bert_config import BERT_CONFIG
from models.catalogue.cards import ModelCard
from models.catalogue.medclip_config import CONFIG as MEDCLIP_CONFIG
from models.catalogue.weights import WeightsError, load_file
from models.files.untrusted_text import parse_json

_PLACES = {  # of the number, in the first of these files that the card names
    MEDCLIP_CONFIG: ("text", "hidden_size"),
    BERT_CONFIG: ("hidden_size",),
    "open_clip_config.json": ("model_cfg", "text_cfg", "width"),
}


def find_text_width(card: ModelCard, folder: Path) -> int | None:
    """The width of the model's text tower; 0 where it takes no context vectors.

    None where the files at hand do not say: they are not here, or the text tower is another
    library's. The engine refuses vectors of a wrong width in any case.
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
