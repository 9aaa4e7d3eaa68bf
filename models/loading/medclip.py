"""Loads a MedCLIP-ViT from its files."""

from models.catalogue.medclip_config import MedClipConfig
from models.catalogue.weights import require_equal
from models.loading.config import ModelFiles
from models.loading.tensor_file import create_fitting, load_into
from models.vlm.bert import BertTextTower, BertVLM
from models.vlm.medclip import MedClip, MedClipPooling
from models.vlm.vlm import VLM
from models.vlm.wordpiece import create_tokenizer


def load_medclip(files: ModelFiles) -> VLM:
    """Loads the model onto its device.

    Raises:
        WeightsError: a file is missing, is not the one the card names, or does not fit the
            architecture.
    """
    card, config = files.card, files.read_config(MedClipConfig)
    require_equal(
        {
            "vision.image_size": (card.preprocessing.size, config.vision.image_size),
            "context_length": (card.context_length, config.context_length),
        }
    )
    tokenizer = create_tokenizer(
        files.contents, vocab_size=config.text.vocab_size, context_length=card.context_length
    )
    clip = create_fitting(
        lambda: MedClip(config), files.tensors, files.folder, MedClip.get_published_state
    )
    load_into(clip.get_published_state(), files.tensors, files.folder)
    head = MedClipPooling(clip.text_model.projection_head)
    return BertVLM(
        card=card,
        image_tower=clip.vision_model,
        text_tower=BertTextTower(bert=clip.text_model.model, head=head, tokenizer=tokenizer),
        logit_scale=clip.get_logit_scale(),
        image_dtype=files.image_dtype,
        device=files.device,
    )
