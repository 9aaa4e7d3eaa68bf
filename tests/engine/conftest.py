"""A linear model whose geometry is known, the bundled model, and requests on them."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch

from models.catalogue import load_catalogue
from models.catalogue.cards import ModelCard
from models.loading.loading import load_vlm
from worker.contract import CertifyRequest, CohenParameters, InputImage, ModelRef, TemplateTarget
from worker.contract.image import image_sha256
from worker.engine.engine import Engine
from worker.engine.shelf.shelf import Shelf

SIZE = 16


@pytest.fixture(scope="session")
def cards(models_folder: Path) -> dict[str, ModelCard]:
    return {card.id: card for card in load_catalogue(models_folder).list()}


@pytest.fixture(scope="session")
def engine(models_folder: Path) -> Engine:
    catalogue = load_catalogue(models_folder)
    device = torch.device("cpu")
    vlms = [
        load_vlm(catalogue.get(name), catalogue.folder(name), device)
        for name in ("bundled", "linear")
    ]
    return Engine(Shelf.holding(vlms))


@pytest.fixture(scope="session")
def create_request(cards: dict[str, ModelCard]) -> Callable[..., tuple[CertifyRequest, np.ndarray]]:
    """A request on a model with an image made from a seed, all else as given."""

    def create(
        model: str = "linear", *, seed: int = 0, sigmas=("0.25",), n0=20, n=300, **changes: object
    ) -> tuple[CertifyRequest, np.ndarray]:
        card = cards[model]
        size = card.preprocessing.size
        rng = np.random.default_rng(seed)
        image = rng.integers(60, 200, (3, size, size)).astype(np.uint8)
        fields = {
            "input": InputImage(sha256=image_sha256(image), height=size, width=size, source="png"),
            "model": ModelRef(id=model, sha256=card.sha256),
            "targets": (TemplateTarget(template=card.template, class_names=card.class_names),),
            "sigmas": tuple(Decimal(s) for s in sigmas),
            "procedure": CohenParameters(n0=n0, n=n),
        }
        return CertifyRequest(**(fields | changes)), image

    return create
