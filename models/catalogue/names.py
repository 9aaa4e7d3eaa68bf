"""Names that people can tell apart: what they consist of, and when two of them look alike.

Two names look alike if they are equal but for case, spaces, characters without a picture of their
own, and characters that Unicode lists as confusable (Unicode Technical Standard 39, section 4). The
package confusable-homoglyphs carries Unicode's list.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache

# Unicode's Default_Ignorable_Code_Point, as far as `str.isprintable` takes them, and blank Braille.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)


def clean_name(text: str) -> str:
    """Returns a text in Unicode's form NFC, without spaces around it."""
    return unicodedata.normalize("NFC", text).strip()


def require_visible(text: str) -> str:
    """Returns the text, all of whose characters can be seen.

    Raises:
        ValueError: it has a control character, one that changes the direction of writing, a space
            of another kind, or one without a picture.
    """
    if not text.isprintable() or _UNSEEN.search(text):
        raise ValueError("Expected characters that can be seen and plain spaces, got others.")
    return text


def find_lookalikes(names: Sequence[str]) -> tuple[str, str] | None:
    """Returns the first two names that people cannot tell apart, if there are any."""
    seen: dict[str, str] = {}
    for name in names:
        for look in get_looks(name):
            if seen.setdefault(look, name) != name:
                return seen[look], name
    return None


def get_looks(name: str) -> tuple[str, str]:
    """What a name looks like, in lower case and as it is written: of two alike names one agrees.

    Case comes first and last, because I is like l, and i is not.
    """
    lower, written = (" ".join(_skeleton(text).split()) for text in (name.casefold(), name))
    return lower, written.casefold()


def _skeleton(text: str) -> str:
    """UTS 39's skeleton: equal for texts that look alike, and fit for nothing else."""
    plain = _UNSEEN.sub("", unicodedata.normalize("NFKD", text))  # wide letters are letters
    return unicodedata.normalize("NFD", plain.translate(_load_prototypes()))


@cache
def _load_prototypes() -> Mapping[int, str]:
    """What stands for each confusable character.

    The package lists both directions. So a character with one partner is mapped to it, unless the
    two are each other's only partner: then the smaller one stands for both.
    """
    from confusable_homoglyphs.confusables import confusables_data  # 0.9 MB of JSON

    partners = {one: [each["c"] for each in found] for one, found in confusables_data.items()}
    return {
        ord(one): found[0]
        for one, found in partners.items()
        if len(one) == 1
        and len(found) == 1
        and not (partners.get(found[0]) == [one] and one < found[0])
    }
