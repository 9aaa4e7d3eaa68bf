"""A prompt that was learned on the image certifies as a frozen one, and the document says so."""

import json

import pytest

from models.imaging.pixels.digest import digest_image
from models.prompts.catalogue import load_prompt_catalogue
from worker.contract import FewShotTarget, PromptRef, StagedParameters
from worker.contract.certificate.document import parse_document
from worker.contract.prompt import EncodedPrompt
from worker.counting.certify import certify
from worker.counting.records.protocol import Unrecorded
from worker.counting.roll import Roll
from worker.engine.local import LocalCounter


@pytest.fixture(scope="module")
def stored():
    return load_prompt_catalogue(None).get("bundled-2-mednist").load()


def certified(engine, create_request, stored, learned: bool):
    card, prompt = stored
    ref = PromptRef(id=card.id, sha256=card.sha256, method=card.method)
    request, image = create_request(
        "bundled-2",
        targets=(FewShotTarget(prompt=ref, class_names=card.class_names),),
        procedure=StagedParameters(n_max=64),
    )
    records = Unrecorded(
        prompts={prompt.sha256: EncodedPrompt.of(prompt)},
        learned=frozenset({prompt.sha256} if learned else ()),
    )
    roll = Roll(request, b"s" * 32)
    return certify(roll, image, counter=LocalCounter(engine), records=records)


def test_a_certificate_of_a_learning_image_covers_the_frozen_prompt_alone(
    engine, create_request, stored
):
    (entry,) = certified(engine, create_request, stored, learned=True).certificates
    assert entry.guarantee_scope == "frozen_prompt"
    assert entry.learned_on_this_image
    assert "learned on this very image and its label" in entry.statement
    assert "does not cover learning again" in entry.statement


def test_of_any_other_image_it_covers_the_whole(engine, create_request, stored):
    (entry,) = certified(engine, create_request, stored, learned=False).certificates
    assert entry.guarantee_scope == "global_prompt"
    assert entry.learned_on_this_image is None


def test_the_scope_of_a_learning_image_cannot_be_raised(engine, create_request, stored):
    result = certified(engine, create_request, stored, learned=True)
    document = json.loads(result.model_dump_json())
    assert parse_document(document) == result
    document["certificates"][0]["guarantee_scope"] = "global_prompt"
    with pytest.raises(ValueError, match="finished certification"):
        parse_document(document)


def test_the_digest_of_a_learning_image_is_that_of_a_certified_one(create_request):
    request, image = create_request("bundled-2")
    assert digest_image(image) == request.input.sha256
