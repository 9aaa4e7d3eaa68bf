"""What the authors' code computes for the small CONCH: writes `conch_reference.json`.

Not run by the tests. It needs a copy of github.com/mahmoodlab/CONCH, whose licence lets nobody pass
it on, and imports nothing of this project but the recipe and the imports of torchvision:

    PYTHONPATH=CONCH:tests:. python tests/models/forms/conch_reference.py
"""

import copy
import json
import tempfile
from pathlib import Path

import conch_recipe as recipe
import torch
from torch.nn import functional

from models.vlm._imports import get_open_clip

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def create_model() -> torch.nn.Module:
    get_open_clip()
    from conch.open_clip_custom.coca_model import CoCa

    config = json.loads(recipe.dump_config())
    config.pop("custom_text")
    config["vision_cfg"].pop("attn_pooler_heads")  # their class takes it from no configuration
    model = CoCa(**config).eval()
    for name, leaf in model.named_parameters():
        leaf.data = torch.from_numpy(recipe.draw(name, tuple(leaf.shape)))
    return model


def tokenize(texts: tuple[str, ...]) -> torch.Tensor:
    from transformers import PreTrainedTokenizerFast

    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        Path(file.name).write_bytes(recipe.create_tokenizer())
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=file.name,
            bos_token="<start_of_text>",
            eos_token="<end_of_text>",
            pad_token="<pad>",
        )
    length = recipe.CONTEXT_LENGTH - 1
    found = tokenizer(
        list(texts),
        max_length=length,
        truncation=True,
        padding="max_length",
        return_token_type_ids=False,
        return_tensors="pt",
    )
    return functional.pad(found["input_ids"], (0, 1), value=0)


@torch.no_grad()
def main() -> None:
    model = create_model()
    pixels = torch.from_numpy(recipe.draw_pixels()).float() / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    prompted = copy.deepcopy(model)  # of which some marks that no text has are the vectors
    rows = torch.arange(recipe.N_CTX) + recipe.UNUSED
    prompted.text.token_embedding.weight[rows] = torch.from_numpy(recipe.draw_ctx())
    ids = tokenize(recipe.SUFFIXES)
    ids = torch.cat([ids[:, :1], rows.expand(len(ids), -1), ids[:, 1:]], dim=1)
    found = {
        "images": model.encode_image((pixels - mean) / std).tolist(),
        "texts": model.encode_text(tokenize(recipe.TEXTS)).tolist(),
        "prompts": prompted.encode_text(ids[:, : recipe.CONTEXT_LENGTH]).tolist(),
        "tokens": tokenize(recipe.TEXTS).tolist(),
        "logit_scale": model.logit_scale.exp().item(),
    }
    path = Path(__file__).with_name("conch_reference.json")
    path.write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
