"""Medical VLMs at their published sizes, through HTTP: make test-models."""

import json
import shutil

import numpy as np
import pytest
from published_vlms import CHOSEN, publish

from models.catalogue import load_catalogue
from models.installation.add import add_model

pytestmark = pytest.mark.real_size
SAMPLES = 8


@pytest.mark.parametrize("model_id", CHOSEN)
def test_an_image_is_certified_over_http(model_id, start, stop, to_png, free_port, tmp_path):
    described = load_catalogue().describe(model_id)
    published = publish(model_id, tmp_path / "published")
    card = add_model(described, published.path, tmp_path / "models").card
    del published
    shutil.rmtree(tmp_path / "published")
    stack = start(
        tmp_path,
        free_port,
        models=tmp_path / "models",
        serve_models=f'["{model_id}"]',
        rq_workers="1",
        learning_workers="0",
    )
    try:
        picture = np.random.default_rng(0).integers(0, 256, (3, 300, 260)).astype(np.uint8)
        asked = {"model": model_id, "sigma": "0.25", "n_max": str(SAMPLES)}
        answer = stack.certify(to_png(picture), wait=0, **asked)
        assert answer.status_code == 202, answer.text
        found = stack.follow(answer.headers["Location"])
        assert found["status"] == "finished", found
        (certificate,) = found["certificates"]
        assert certificate["outcome"] in ("certified", "abstained")
        assert 0 < certificate["n_used"] <= SAMPLES
        assert card.sha256 in json.dumps(found)
    finally:
        stop(stack)
        shutil.rmtree(tmp_path)
