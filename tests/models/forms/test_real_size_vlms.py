"""Medical VLMs at their published sizes, with random weights: make test-models."""

import gc
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from published_vlms import CHOSEN, PublishedVlm, check_learning, normalise, publish

from models.catalogue import load_catalogue
from models.catalogue.text_width import find_text_width
from models.forms.form import PublishedFiles
from models.forms.registry import choose_form
from models.installation.add import Added
from models.loading.loading import load_vlm
from models.prompts.imported import create_import
from models.vlm.vlm import VLM

CPU = torch.device("cpu")
REPOSITORY = Path(__file__).parents[3]
TEXTS = ["This is an image of a normal chest.", "brain tissue, x-ray"]

pytestmark = [pytest.mark.real_size, pytest.mark.usefixtures("no_network")]


@pytest.fixture(params=CHOSEN, scope="module")
def published(request, tmp_path_factory):
    """One model at a time on disk and in memory; those of ViT-L take 1.7 GB each."""
    folder = tmp_path_factory.mktemp(request.param)
    yield publish(request.param, folder / "published"), request.param, folder
    shutil.rmtree(folder)
    gc.collect()


# In a process of its own: the most memory that no file backs, over what it had before.
ADDING = """
import json, re, sys, threading
from pathlib import Path
from models.catalogue import load_catalogue
from models.installation.add import add_model
from models.vlm._imports import get_transformers

def read():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\\s+(\\d+) kB", status)[1]) * 1024

get_transformers().BertModel  # what a text tower may be; its code is no weight
before, peak, ended = read(), 0, threading.Event()

def watch():
    global peak
    while not ended.wait(0.02):
        peak = max(peak, read())

watching = threading.Thread(target=watch)
watching.start()
model_id, path, models = sys.argv[1:]
card = add_model(load_catalogue().describe(model_id), Path(path), Path(models)).card
ended.set()
watching.join()
weights = max(file.size_bytes for file in card.files)
print(json.dumps({"ratio": (peak - before) / weights, "weights": weights}))
"""
LOADING = """
import json, sys
from pathlib import Path
import torch
from models.catalogue import load_catalogue
from models.loading.loading import load_vlm
from models.loading.memory_growth import measure_growth
from models.vlm._imports import get_transformers

get_transformers().BertModel  # what a text tower may be; its code is no weight
models = load_catalogue(Path(sys.argv[2]))
card, cpu = models.get(sys.argv[1]), torch.device("cpu")
_, grown = measure_growth(lambda: load_vlm(card, models.folder(card.id), cpu), cpu)
print(json.dumps({"ratio": grown.ratio, "weights": grown.weights_bytes}))
"""


def run(program: str, *arguments: object) -> float:
    """Runs a program in a process of its own; returns its memory in weights."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout.splitlines()[-1])
    megabytes = f"{found['weights'] / 1e6:.1f} MB"
    sys.stdout.write(f"\n{arguments[0]}: {found['ratio']:.3f} times {megabytes}\n")
    return float(found["ratio"])


@pytest.fixture(scope="module")
def added(published) -> Added:
    """Converted, loaded and tried on one image with at most 1.2 times the weights in memory."""
    files, model_id, folder = published
    assert run(ADDING, model_id, files.path, folder / "models") <= 1.2
    catalogue = load_catalogue(folder / "models")
    return Added(card=catalogue.get(model_id), folder=catalogue.folder(model_id))


@pytest.fixture(scope="module")
def vlm(added) -> VLM:
    return load_vlm(added.card, added.folder, CPU)


def test_loading_takes_little_more_than_the_weights(added):
    assert run(LOADING, added.card.id, added.folder.parent) <= 1.15


@torch.no_grad()
def test_features_are_those_of_the_reference(published, vlm, sample_pixels):
    files: PublishedVlm = published[0]
    pixels = sample_pixels(1, vlm.card.preprocessing.size)
    inputs = (pixels.double() / 255).sub(vlm.normalise.mean).div(vlm.normalise.std).float()
    images = normalise(files.encode_images(inputs))
    moved = (vlm.encode_images(pixels) - images).abs().max()
    texts = (vlm.encode_texts(TEXTS) - normalise(files.encode_texts(TEXTS))).abs().max()
    sys.stdout.write(f"\n{vlm.card.id}: images to {moved:.1e}, texts to {texts:.1e}\n")
    assert moved <= 1e-5
    assert texts <= 1e-5


def test_a_learned_prompt_finds_something_and_a_tuned_one_too(vlm):
    check_learning(vlm)


def test_context_vectors_of_the_models_width_are_imported(vlm, added):
    width = find_text_width(added.card, added.folder)
    assert width == vlm.text_width
    ctx = np.random.default_rng(1).normal(0, 0.02, (4, width)).astype(np.float32)
    _, prompt = create_import(
        ctx,
        prompt_id="theirs",
        model=added.card,
        text_width=width,
        class_names=("normal tissue", "carcinoma"),
        suffix=".",
        created_at="2026-01-01T00:00:00Z",
    )
    features = vlm.encode_prompts(torch.tensor(prompt.ctx), ["normal tissue.", "carcinoma."])
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2))


def test_the_form_is_the_cards(published):
    files, model_id, _ = published
    described = load_catalogue().describe(model_id)
    source = PublishedFiles(path=files.path, description=described)
    assert choose_form(source).name == described.published.form


def test_a_check_certifies_with_it(published, added, run_check):
    run_check(added.folder.parent, added.card.id)
