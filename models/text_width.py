"""How wide the context vectors of a model are, read without loading it. No torch."""

import json
from pathlib import Path

from models.cards import ModelCard
from models.weights import WeightsError, load_file

_CONFIG = "open_clip_config.json"


def find_text_width(card: ModelCard, folder: Path) -> int | None:
    """The width of the model's text tower; 0 where it takes no context vectors.

    None where the files at hand do not say: they are not here, or the text tower is another
    library's. The engine refuses vectors of a wrong width in any case.
    """
    if card.architecture == "linear":
        return 0
    configs = [file for file in card.files if file.name == _CONFIG]
    try:
        config = json.loads(load_file(configs[0], folder))
        width = config["model_cfg"]["text_cfg"]["width"]
    except (IndexError, KeyError, TypeError, ValueError, WeightsError, OSError):
        return None
    return width if isinstance(width, int) else None
