"""Models whose text tower is a BERT, added from their published form, through HTTP."""

import numpy as np
import pytest
from published_vlms import add_small_keep, add_small_unimed


@pytest.mark.long
def test_images_are_certified_under_every_prompting(start, stop, to_png, free_port, tmp_path):
    models = tmp_path / "models"
    adding = {"keep": add_small_keep, "unimed-clip-b16": add_small_unimed}
    cards = {name: add(tmp_path / name, models) for name, add in adding.items()}
    stack = start(
        tmp_path,
        free_port,
        models=models,
        serve_models='["keep", "unimed-clip-b16"]',
        rq_workers="1",
        learning_workers="0",
    )
    try:
        picture = np.random.default_rng(0).integers(0, 256, (3, 60, 50)).astype(np.uint8)
        for name, card in cards.items():
            asked = {"model": name, "sigma": "0.25", "n_max": "100"}
            for prompting in ("template", "zero-shot"):
                answer = stack.certify(to_png(picture), prompting=prompting, **asked)
                assert answer.status_code == 200, answer.text
                document = answer.json()
                (certificate,) = document["certificates"]
                assert 0 < certificate["n_used"] <= 100
                assert certificate["prompting"] == prompting
                assert card.sha256 in answer.text
    finally:
        stop(stack)
