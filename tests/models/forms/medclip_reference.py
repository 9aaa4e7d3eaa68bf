"""What MedCLIP's own release of transformers computes: writes `medclip_reference.json`.

Not run by the tests. It needs transformers 4.24.0, the newest release that MedCLIP allows, and
numpy; it imports nothing of this project but the recipe:

    python tests/models/forms/medclip_reference.py
"""

import json
import tempfile
from pathlib import Path

import medclip_recipe as recipe
import numpy as np
import torch
import transformers
from transformers import BertConfig, BertModel, BertTokenizerFast, SwinConfig, SwinModel

MEAN, STD = 0.5862785803043838, 0.27950088968644304  # MedCLIP's constants


def fill(module: torch.nn.Module, prefix: str) -> None:
    for name, leaf in module.named_parameters():
        leaf.data = torch.from_numpy(recipe.draw(prefix + name, tuple(leaf.shape)))
    module.eval()


@torch.no_grad()
def main() -> None:
    assert transformers.__version__ == "4.24.0"
    swin = SwinModel(SwinConfig(**recipe.VISION))
    bert = BertModel(BertConfig(**recipe.TEXT))
    fill(swin, "vision_model.model.")
    fill(bert, "text_model.model.")
    heads = {name: torch.from_numpy(recipe.draw(name, s)) for name, s in recipe.list_shapes()}
    pixels = (torch.from_numpy(recipe.draw_pixels()).float() / 255 - MEAN) / STD
    images = swin(pixel_values=pixels).pooler_output
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "vocab.txt").write_text("\n".join(recipe.VOCAB) + "\n", encoding="utf-8")
        tokenizer = BertTokenizerFast.from_pretrained(folder)
    options = {
        "padding": "max_length",
        "max_length": recipe.CONTEXT_LENGTH,
        "truncation": True,
        "return_tensors": "pt",
    }

    def pool(output) -> torch.Tensor:
        states = output.hidden_states
        mean = (states[1] + states[2] + states[-1]).mean(dim=1) / 3
        return mean @ heads["text_model.projection_head.weight"].T

    tokens = tokenizer(list(recipe.TEXTS), **options)
    texts = pool(bert(**tokens, output_hidden_states=True))
    # [CLS] x x x x x class name . [SEP], as CoOp has it: the vectors stand in the places of x.
    placeholders = [" ".join("x" * recipe.N_CTX) + " " + suffix for suffix in recipe.SUFFIXES]
    prompts = tokenizer(placeholders, **options)
    embedded = bert.embeddings.word_embeddings(prompts["input_ids"])
    embedded[:, 1 : 1 + recipe.N_CTX] = torch.from_numpy(recipe.draw_ctx())
    mask = prompts["attention_mask"]
    tuned = pool(bert(inputs_embeds=embedded, attention_mask=mask, output_hidden_states=True))
    found = {
        "token_ids": tokens["input_ids"].tolist(),
        "images": _unit(images @ heads["vision_model.projection_head.weight"].T),
        "texts": _unit(texts),
        "prompts": _unit(tuned),
    }
    path = Path(__file__).with_name("medclip_reference.json")
    path.write_text(json.dumps(found) + "\n", encoding="utf-8")


def _unit(features: torch.Tensor) -> list[list[float]]:
    unit = features / features.norm(dim=-1, keepdim=True)
    return np.round(unit.double().numpy(), 8).tolist()


if __name__ == "__main__":
    main()
