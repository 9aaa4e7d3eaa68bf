"""Loads CONCH from its files."""

import math

from models.catalogue.conch_config import ConchConfig
from models.catalogue.weights import require_equal
from models.loading.config import ModelFiles
from models.loading.tensor_file import create_fitting, load_into
from models.vlm.bert import BertVLM
from models.vlm.pooled.conch import Conch, ConchImageTower, ConchTextTower
from models.vlm.pooled.conch_tokens import create_conch_tokenizer
from models.vlm.vlm import VLM


def load_conch(files: ModelFiles) -> VLM:
    """Loads the model onto its device.

    Raises:
        WeightsError: a file is missing, is not the one the card names, or does not fit the
            architecture.
    """
    card, config = files.card, files.read_config(ConchConfig)
    require_equal(
        {
            "vision_cfg.image_size": (card.preprocessing.size, config.vision_cfg.image_size),
            "text_cfg.context_length": (card.context_length, config.text_cfg.context_length),
        }
    )
    tokenizer = create_conch_tokenizer(
        files.contents, vocab_size=config.text_cfg.vocab_size, context_length=card.context_length
    )
    conch = create_fitting(lambda: Conch(config), files.tensors, files.folder)
    load_into(conch.state_dict(), files.tensors, files.folder)
    return BertVLM(
        card=card,
        image_tower=ConchImageTower(conch.visual),
        text_tower=ConchTextTower(conch.text, tokenizer),
        logit_scale=math.exp(conch.logit_scale.item()),
        image_dtype=files.image_dtype,
        device=files.device,
    )
