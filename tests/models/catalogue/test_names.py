"""Names that people cannot tell apart are one name."""

import pytest

from models.catalogue.catalogue import load_catalogue
from models.catalogue.names import clean_name, find_lookalikes, require_visible
from models.catalogue.texts import check_new_class_names

ALIKE = {
    "case": ("Benign", "benign"),
    "sharp s": ("Fu\u00df", "FUSS"),
    "spaces": ("a  b", "a b"),
    "Cyrillic letters": ("no cancer", "n\u043e c\u0430ncer"),
    "Cyrillic capitals": ("PNEUMONIA", "\u0420NEUMONIA"),
    "Greek letters": ("normal", "n\u03bfrmal"),
    "one and l": ("grade 1", "grade l"),
    "one and I": ("grade 1", "grade I"),
    "zero and O": ("type 0", "type O"),
    "m and rn": ("carcinoma", "carcinorna"),
    "full width": ("normal", "\uff4eormal"),
    "bold": ("normal", "\U0001d427ormal"),
    "composed": ("caf\u00e9", "cafe\u0301"),
    "variation selector": ("heart", "heart\ufe0f"),
    "grapheme joiner": ("heart", "he\u034fart"),
}


@pytest.mark.parametrize(("one", "other"), ALIKE.values(), ids=ALIKE)
def test_names_that_look_alike_are_one(one: str, other: str) -> None:
    assert find_lookalikes(["something else", one, other]) == (one, other)


@pytest.mark.parametrize(
    "names",
    [
        ["benign", "malignant"],
        ["grade 1", "grade 2", "grade 3"],
        ["grade I", "grade II", "grade III", "grade IV"],
        ["T1", "T2", "T10"],
        ["Br\u00fcche", "Bruche"],
        ["\u043d\u043e\u0440\u043c\u0430", "\u043e\u043f\u0443\u0445\u043e\u043b\u044c"],
        ["\u6b63\u5e38", "\u80bf\u7624"],
        ["Normal", "normal lungs"],
    ],
)
def test_names_that_differ_are_kept_apart(names: list[str]) -> None:
    assert find_lookalikes(names) is None
    assert check_new_class_names(tuple(names)) == tuple(names)


def test_names_of_every_card_that_ships_are_told_apart() -> None:
    for card in load_catalogue(None).list():
        check_new_class_names(card.class_names)


@pytest.mark.parametrize(
    "text",
    [
        "a\u202eb",  # right-to-left override
        "a\u2066b\u2069",  # isolates
        "a\u200fb",  # right-to-left mark
        "a\u200bb",  # zero-width space
        "a\u00adb",  # soft hyphen
        "a\u00a0b",  # no-break space
        "a\tb",
        "a\nb",
        "a\x00b",
        "a\x7fb",
        "a\u2028b",
        "a\ufeffb",
        "a\u3164b",  # Hangul filler
        "a\ufe0fb",
        "a\U000e0041b",  # tag
        "a\ue000b",  # private use
    ],
)
def test_a_character_that_nobody_sees_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="can be seen"):
        require_visible(text)


def test_a_name_is_composed_and_trimmed() -> None:
    assert clean_name("  cafe\u0301 ") == "caf\u00e9"
