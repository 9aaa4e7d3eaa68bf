"""JSON is measured before it is parsed, and the texts of a list are taken out of it unread."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.files.bounded_json import (
    JsonBounds,
    TooManyTexts,
    TooMuchJson,
    check_bounds,
    cut_texts,
)

SMALL = JsonBounds(text_bytes=1000, elements=60, depth=4, escapes=5)
TEXTS = st.text(alphabet=st.characters(codec="utf-8"), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(rest=st.dictionaries(TEXTS, VALUES, max_size=4), texts=st.lists(TEXTS, max_size=4))
def test_the_texts_of_a_list_come_back_and_the_rest_is_as_it_was(
    rest: dict[str, object], texts: list[str]
) -> None:
    document = {**rest, "image": texts, "last": {"image": ["stays"]}}
    for written in (json.dumps(document), json.dumps(document, indent=1, ensure_ascii=False)):
        left, cut = cut_texts(written.encode(), "image", JsonBounds(), most=4)
        assert [json.loads(b'"%s"' % bytes(text)) for text in cut] == texts
        assert json.loads(left) == {**document, "image": [str(i) for i in range(len(texts))]}


@pytest.mark.parametrize(
    "text",
    [
        '["image", ["a"]]',
        '{"a": {"image": ["a"]}}',
        '{"a": "image"}',
        '{"a": ["image", "a"]}',
        '{"im\\u0061ge": ["a"]}',
        '{"image": "a"}',
        '{"image": [["a"]]}',
        '{"image": [1, "a"]}',
    ],
)
def test_no_other_list_loses_its_texts(text: str) -> None:
    assert cut_texts(text.encode(), "image", SMALL, most=4) == (text.encode(), ())


@pytest.mark.parametrize(
    "text",
    [
        b"[" + b"1," * 60 + b"1]",
        b"[" * 5,
        b"]" * 100,
        b'"",' * 60,
        b'"":' * 100,
        b'"' + b"x" * 1000 + b'"',
        b" " * 1001,
        b'"' + b'\\"' * 6 + b'"',
        b'{"image":["a"],"x":"' + b"a" * 1000,
        b'{"image":["a", [' + b'"a",' * 100,
    ],
)
def test_what_is_too_much_is_refused(text: bytes) -> None:
    with pytest.raises(TooMuchJson):
        cut_texts(text, "image", SMALL, most=4)
    with pytest.raises(TooMuchJson):
        check_bounds(bytearray(text), SMALL)


def test_a_run_of_backslashes_is_no_text() -> None:
    with pytest.raises(TooMuchJson):
        check_bounds(b'["' + b"\\" * 100_000 + b'"]', JsonBounds())


def test_more_texts_than_are_taken_are_refused() -> None:
    with pytest.raises(TooManyTexts):
        cut_texts(b'{"image":["a","b","c"]}', "image", SMALL, most=2)


@given(st.lists(st.sampled_from(['"', "\\", "a"]), max_size=12).map("".join))
def test_a_string_ends_where_a_parser_ends_it(text: str) -> None:
    written = json.dumps({"image": [text], "b": text})
    _, cut = cut_texts(written.encode(), "image", JsonBounds(), most=1)
    assert bytes(cut[0]) == json.dumps(text)[1:-1].encode()
