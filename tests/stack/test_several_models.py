"""Three models on a host that has room for the largest alone, through HTTP."""

import numpy as np
import pytest

from models.testing import LinearModel, create_linear_model, write_linear_model


def beyond(model: LinearModel) -> np.ndarray:
    """An image far above the plane of one model."""
    return (127 + 60 * np.sign(model.weight)).astype(np.uint8)


@pytest.mark.long
def test_models_come_and_go_while_requests_name_them(start, stop, to_png, free_port, tmp_path):
    models = tmp_path / "models"
    large = {name: create_linear_model(size=224, seed=n) for n, name in enumerate(("a", "b"))}
    for name, model in large.items():  # 1.2 MB each, and the bundled one takes 24.7 MB
        write_linear_model(models, model, model_id=name, batch_size={"cpu": 8})
    write_linear_model(models, create_linear_model(size=8), model_id="gone")
    (models / "gone" / "linear.safetensors").unlink()
    stack = start(
        tmp_path,
        free_port,
        models=models,
        serve_models='["bundled-2"]',
        model_memory_mb="25",
        rq_workers="1",
        learning_workers="0",
    )
    try:
        pictures = {name: beyond(model) for name, model in large.items()}
        pictures["bundled-2"] = pictures["a"]
        asked = {"sigma": "0.5", "n": "200"}

        def certify(model: str, attempt: int) -> dict:
            picture = pictures[model]
            answer = stack.certify(to_png(picture), model=model, attempt=str(attempt), **asked)
            assert answer.status_code == 200, answer.text
            return answer.json()

        def states() -> dict[str, list[str]]:
            found = stack.http.get("/models").json()["models"]
            return {model["id"]: [host["state"] for host in model["hosts"]] for model in found}

        assert states() == {
            "bundled-2": ["ready"],
            "a": ["present"],
            "b": ["present"],
            "gone": ["missing"],
        }
        for attempt in range(2):
            for model in large:
                (entry,) = certify(model, attempt)["certificates"]
                assert (entry["outcome"], entry["class_index"]) == ("certified", 1)
            assert certify("bundled-2", attempt)["status"] == "finished"
        refused = stack.certify(to_png(pictures["a"]), model="gone", **asked)
        assert (refused.status_code, refused.json()["code"]) == (503, "model_unavailable")
        assert "linear.safetensors" in refused.json()["detail"]
        assert stack.http.get("/readyz").status_code == 200
        log = stack.log.read_text()
        assert log.count("model_evicted") >= 3
    finally:
        assert stop(stack) == 0
