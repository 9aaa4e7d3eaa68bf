"""What the service writes is what it wrote before its modules moved, byte for byte.

Certificates, digests, keys and records of Redis, and the published descriptions.
"""

import json
from typing import Any

import pytest

from . import samples, subject
from .freeze import CREATORS, create_bundled

EXACT_CREATORS = [create for create in CREATORS if create is not create_bundled]


def settled(name: str, content: bytes) -> Any:
    """A sample without what is a matter of the machine or the moment."""
    if name.startswith("records/"):
        return samples.settle_snapshot(json.loads(content))
    return content if name.startswith("prompts/") else samples.settle(content.decode())


@pytest.mark.parametrize("create", EXACT_CREATORS, ids=lambda create: create.__name__)
def test_what_is_written_is_what_was_frozen(make, create):
    for name, content in make(create).items():
        assert settled(name, content) == settled(name, samples.read_bytes(name)), name


def test_every_sample_is_one_that_is_compared(make):
    made = {name for create in CREATORS for name in make(create)}
    assert samples.list_names() == made | {"answers.json"}


@pytest.fixture
def bundled(make) -> tuple[str, str]:
    """The certification by every prompting, as it was frozen and as it is made now."""
    name = "bundled/certificate.json"
    return samples.read(name), make(create_bundled)[name].decode()


def test_on_the_machine_of_the_set_the_bundled_model_votes_as_it_did(make, bundled):
    name = "bundled/machine.json"
    if make(create_bundled)[name].decode() != samples.read(name):
        pytest.skip("votes of the bundled model were frozen on another machine")
    frozen, made = map(samples.settle, bundled)
    assert made == frozen


def test_the_bundled_model_s_certificates_have_the_form_they_had(bundled):
    """On every machine: the votes may be others, and with them outcomes; the rest is the same."""
    frozen, made = (json.loads(text) for text in bundled)
    assert made.keys() == frozen.keys()
    for now, before in zip(made["certificates"], frozen["certificates"], strict=True):
        assert {name: now[name] for name in FIXED} == {name: before[name] for name in FIXED}
        assert now.keys() ^ before.keys() <= OF_AN_OUTCOME
    assert subject.find_faults(bundled[1]) == []


FIXED = ("prompting", "class_names", "sigma", "alpha", "guarantee_scope", "procedure", "n_max")
OF_AN_OUTCOME = {
    "prediction",
    "class_index",
    "radius",
    "radius_grey",
    "norms",
    "grey_levels",
    "closest_class",
    "closest_class_index",
}
