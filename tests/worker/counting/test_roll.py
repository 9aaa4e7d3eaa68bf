"""A request under a secret: what is derived from them, once."""

import pytest

from worker.counting.roll import Roll

SECRET = b"s" * 32


@pytest.mark.parametrize("name", ["commitment", "sha256", "keys", "tuning_key"])
def test_a_value_of_a_roll_is_derived_once(create_request, name):
    """Its values are those of tests/frozen/samples/canonical.json."""
    roll = Roll(create_request()[0], SECRET)
    assert getattr(roll, name) is getattr(roll, name)


def test_a_roll_reveals_the_key_of_tuning_only_where_a_prompt_is_tuned(create_request):
    roll = Roll(create_request()[0], SECRET)
    assert roll.revealed_keys == roll.keys


def test_a_roll_shows_no_secret(create_request):
    assert "ssss" not in repr(Roll(create_request()[0], SECRET))


def test_rolls_of_two_secrets_share_nothing(create_request):
    request, _ = create_request()
    one, two = Roll(request, SECRET), Roll(request, b"t" * 32)
    assert one.sha256 != two.sha256
    assert not {*one.keys.values(), one.tuning_key} & {*two.keys.values(), two.tuning_key}


def test_two_requests_of_one_image_can_share_noise(create_request):
    """Another question about the image, on the noise of the first, under a name of its own."""
    first, _ = create_request()
    second = first.model_copy(update={"attempt": 7})
    own, shared = Roll(second, SECRET), Roll(second, SECRET, noise_of=first)
    assert shared.keys == Roll(first, SECRET).keys != own.keys
    assert len({own.sha256, shared.sha256, Roll(first, SECRET).sha256}) == 3


def test_requests_of_two_images_share_no_noise(create_request):
    first, _ = create_request()
    other = first.input.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(ValueError, match="the same image"):
        Roll(first, SECRET, noise_of=first.model_copy(update={"input": other}))
