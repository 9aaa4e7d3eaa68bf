"""Somebody's long text is not said back in full."""

from models.files.untrusted_text import MOST_QUOTED, quote


def test_a_quoted_text_has_at_most_sixty_characters_and_a_short_one_is_whole():
    assert quote("lungs") == "'lungs'"
    assert quote("x" * MOST_QUOTED) == repr("x" * MOST_QUOTED)
    assert quote("x" * 100_000) == repr("x" * (MOST_QUOTED - 1) + "…")
