"""Signed documents of every kind, made by the engine."""

import copy
import json
from decimal import Decimal

import pytest

from worker.contract import (
    BankTemplate,
    CohenParameters,
    RoutedTarget,
    StagedParameters,
    TemplateTarget,
)
from worker.contract.certificate.signature import sign
from worker.counting.certify import certify
from worker.counting.records.protocol import Unrecorded
from worker.counting.roll import Roll
from worker.engine.local import LocalCounter

SECRET = b"s" * 32
PROCEDURES = {
    "staged": StagedParameters(n_max=1000, tolerance=Decimal(0)),
    "cohen": CohenParameters(n0=50, n=600),
}
CAPPED = StagedParameters(n_max=128, n_cap=1024, tolerance=Decimal(0), continuations=2)
NAMES = ("a hand", "a chest", "a head")
BANK = RoutedTarget(
    bank=(BankTemplate(template="a photo of {}."), BankTemplate(template="{}")), class_names=NAMES
)
"""For a routed one, whose selector looks further than its classifier."""


@pytest.fixture(scope="session")
def make_document(engine, create_request):
    """Makes a signed document of a request on an image; the document, and the image."""

    def make(model: str = "linear", **asked):
        request, image = create_request(model, **asked)
        records = Unrecorded(alpha_sum=request.alpha_spent)
        result = certify(
            Roll(request, SECRET), image, counter=LocalCounter(engine), records=records
        )
        return json.loads(sign(result, SECRET).model_dump_json()), image

    return make


@pytest.fixture(scope="session")
def documents(make_document):
    """On the linear model, by procedure; certificate 0 certifies, 1 abstains."""
    return {
        name: make_document(sigmas=["0.02", "10"], procedure=procedure, seed=3)
        for name, procedure in PROCEDURES.items()
    }


@pytest.fixture(scope="session")
def every_kind(documents, make_document):
    """Those, and a joint one, a continued one and one by a bank of prompts; documents alone."""
    both = {"sigmas": ["0.02", "10"], "seed": 3}
    staged = {"procedure": StagedParameters(n_max=256, tolerance=Decimal(0))}
    targets = (BANK, TemplateTarget(template="{}", class_names=NAMES))
    made = {
        "joint": make_document(**both, procedure=PROCEDURES["staged"], joint=True),
        "capped": make_document(**both, procedure=CAPPED),
        "routed": make_document("bundled-2", sigmas=["0.1"], targets=targets, **staged),
    }
    return {name: document for name, (document, _) in (documents | made).items()}


@pytest.fixture(params=list(PROCEDURES))
def document(documents, request):
    return copy.deepcopy(documents[request.param][0])


@pytest.fixture
def staged(documents):
    return copy.deepcopy(documents["staged"][0])
