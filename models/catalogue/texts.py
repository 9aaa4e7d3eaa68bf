"""Class names and templates: the texts that a model compares images with."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator

from models.catalogue.names import find_lookalikes, require_visible

SLOT = "{}"


def check_template(template: str) -> str:
    """Returns the template, which contains `{}` exactly once.

    Raises:
        ValueError: the template does not contain `{}`, or contains it more than once.
    """
    found = template.count(SLOT)
    if found != 1:
        raise ValueError(
            f"A template must contain {SLOT}, the placeholder for the class name, exactly once; "
            f"{template!r} contains it {found} times."
        )
    return template


def check_class_names(class_names: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the class names: at least two, all different, printable and not blank.

    Messages quote them, so they must not contain line breaks or control characters.

    Raises:
        ValueError: the class names break one of these rules.
    """
    if len(class_names) < 2:
        raise ValueError(f"Expected at least two class names, got {len(class_names)}.")
    if blank := [name for name in class_names if not (name.strip() and name.isprintable())]:
        raise ValueError(f"A class name must be one line and not blank; got {blank[0]!r}.")
    repeated = sorted({name for name in class_names if class_names.count(name) > 1})
    if repeated:
        raise ValueError(f"Class names must be different; {repeated[0]!r} occurs more than once.")
    return class_names


def find_alike(class_names: Sequence[str]) -> tuple[str, str] | None:
    """Returns the first two class names that differ only in case and spaces, if there are any.

    The tokenizers of CLIP and of uncased BERTs read such names alike.
    """
    seen: dict[str, str] = {}
    for name in class_names:
        read = " ".join(name.casefold().split())
        if read in seen:
            return seen[read], name
        seen[read] = name
    return None


def check_new_class_names(class_names: tuple[str, ...]) -> tuple[str, ...]:
    """Returns class names that are asked for now, or that a prompt is to be learned for.

    Raises:
        ValueError: they break a rule of `check_class_names`, have characters that nobody sees, or
            two of them look alike.
    """
    for name in check_class_names(class_names):
        require_visible(name)
    if alike := find_lookalikes(class_names):
        raise ValueError(
            f"Expected class names that people and the tokenizer tell apart; {alike[0]!r} and "
            f"{alike[1]!r} differ in case, spaces or characters that look alike."
        )
    return class_names


def create_text(template: str, class_name: str) -> str:
    """Returns the text for a class: the template with the class name filled in."""
    return check_template(template).replace(SLOT, class_name)


Template = Annotated[str, AfterValidator(check_template)]
ClassNames = Annotated[tuple[str, ...], AfterValidator(check_class_names)]
