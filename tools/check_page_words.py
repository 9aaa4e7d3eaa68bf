"""Checks that every sentence of the page stands in one place: app/web/page/strings/en.js.

`make check` runs it. It finds text that a module or index.html holds itself, keys that no file has
or nobody uses, sentences that are not given what they name, and faults of translations.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import tree_sitter_javascript
from tree_sitter import Language, Node, Parser

WEB = Path(__file__).resolve().parents[1] / "app" / "web"
PAGE = WEB / "page"
_PARSER = Parser(Language(tree_sitter_javascript.language()))

_WORD = re.compile(r"[^\W\d_]{2}")
_PROSE = re.compile(r"[^\W\d_]{2}[,.:;!?’)]? [^\W\d_]|^[A-Z][a-z]|…")
_NO_PROSE = re.compile(r"[\[\]#{}]|^Bearer $")  # selectors; the scheme of a key
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_PASSED_ON = {
    "array",
    "binary_expression",
    "parenthesized_expression",
    "return_statement",
    "spread_element",
    "template_string",
    "template_substitution",
    "ternary_expression",
}
_SHOWN = {"alt", "title", "label", "hint", "detail", "text", "placeholder", "caption"}
_SHOWN |= {"aria-label", "aria-valuetext", "aria-description"}
_SHOWN_FROM = {"h": 2, "svg": 2, "show": 1}  # which arguments of these functions a reader sees
_NOT_SHOWN = {"find", "querySelector", "querySelectorAll", "closest", "matchMedia"}
_SAYING = {"say", "sayAround"}

Messages = dict[str, list[str]]
"""The forms of each sentence, by its key."""


@dataclass(kw_only=True)
class Use:
    """What the page's modules and index.html ask for."""

    keys: set[str] = field(default_factory=set)
    kinds: set[str] = field(default_factory=set)


def check(web: Path) -> Iterator[str]:
    """Reports each fault of the page in a folder, with its place."""
    strings = web / "page" / "strings"
    english = read_messages(strings / "en.js")
    use = Use()
    for module in sorted((web / "page").rglob("*.js")):
        if module.parent == strings and module.stem != "say":
            continue
        name = module.relative_to(web)
        yield from (f"{name}: {fault}" for fault in check_module(module, english, use))
    yield from (f"index.html: {fault}" for fault in check_html(web / "index.html", use))
    for key in sorted(use.keys - set(english)):
        yield f"strings/en.js: there is no sentence {key}"
    for key in sorted(set(english) - use.keys):
        if key.split(".")[0] not in use.kinds:
            yield f"strings/en.js: nobody says {key}"
    yield from check_translations(strings, english)


def check_module(path: Path, english: Messages, use: Use) -> Iterator[str]:
    """Reports text in a module, and sentences that lack a value; notes what it says."""
    for node in _walk(_parse(path)):
        line = node.start_point.row + 1
        if node.type == "string_fragment" and _is_text(node):
            yield f"line {line}: “{_text(node)}” belongs to strings/en.js"
        called = _text(_child(node, "function")) if node.type == "call_expression" else ""
        if called == "sayName":
            use.kinds |= set(_fragments(_arguments(node)[0]))
        if called in _SAYING:
            first, *values = _arguments(node)
            keys = {text for text in _fragments(first) if "." in text}
            use.keys |= keys
            for fault in _check_values(keys & set(english), values, english):
                yield f"line {line}: {fault}"


def _check_values(keys: set[str], values: list[Node], english: Messages) -> Iterator[str]:
    """Reports what a call does not give to its sentences; a variable is not looked into."""
    if values and values[0].type != "object":
        return
    given = set(_names(values[0])) if values else set()
    for key in sorted(keys):
        for lacking in sorted(_placeholders(english[key]) - given):
            yield f"{key} is not given {lacking}"


def read_messages(path: Path) -> Messages:
    """The sentences of a language file.

    Raises:
        ValueError: it does not export an object of texts and plural forms.
    """
    objects = [n for n in _walk(_parse(path)) if n.type == "object"]
    if not objects:
        raise ValueError(f"{path.name} exports no object of sentences")
    found: Messages = {}
    for pair in objects[0].named_children:
        if pair.type == "comment":
            continue
        key = _child(pair, "key")
        value = _child(pair, "value")
        found[_text(key).strip('"')] = [
            "".join(_text(part) for part in one.named_children)
            for one in _walk(value)
            if one.type == "string"
        ]
    return found


def check_translations(strings: Path, english: Messages) -> Iterator[str]:
    """Reports languages that are not listed, unknown keys, and other placeholders than English."""
    listed = set(_fragments(_parse(strings / "languages.js")))
    files = {file.stem: file for file in strings.glob("*.js")}
    for stem in ("en", "say", "languages"):
        files.pop(stem, None)
    for tag in sorted(listed ^ set(files)):
        yield f"strings/languages.js: {tag} is listed and has no file, or the other way round"
    for tag, file in sorted(files.items()):
        for key, forms in read_messages(file).items():
            if key not in english:
                yield f"strings/{tag}.js: English has no {key}"
            elif _placeholders(forms) != _placeholders(english[key]):
                yield f"strings/{tag}.js: {key} has other placeholders than in English"


class _Frame(HTMLParser):
    """Text in index.html that a translation would not reach, and the keys that it names."""

    def __init__(self, use: Use) -> None:
        super().__init__()
        self.faults: list[str] = []
        self._use = use
        self._exempt: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._use.keys |= {key for n, key in attrs if n in ("data-say", "data-say-label") and key}
        for name in sorted(_SHOWN & {n for n, value in attrs if value}):
            self.faults.append(f"line {self.getpos()[0]}: the attribute {name} of <{tag}>")
        if tag in ("title", "noscript") or given.get("translate") == "no":
            self._exempt.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._exempt and self._exempt[-1] == tag:
            self._exempt.pop()

    def handle_data(self, data: str) -> None:
        if data.strip() and not self._exempt:
            self.faults.append(f"line {self.getpos()[0]}: “{data.strip()}”")


def check_html(path: Path, use: Use) -> list[str]:
    """Reports text in a page's frame; notes the keys that it names."""
    frame = _Frame(use)
    frame.feed(path.read_text(encoding="utf-8"))
    return [f"{fault} belongs to strings/en.js" for fault in frame.faults]


def _is_text(fragment: Node) -> bool:
    """Whether a reader would see this part of a literal."""
    text = _text(fragment).replace("σ", "")
    assert fragment.parent is not None, "a fragment lies in a literal"
    place, outer = fragment.parent, fragment.parent.parent
    while outer is not None and outer.type in _PASSED_ON:
        if outer.type == "binary_expression" and _text(_child(outer, "operator")) in ("===", "!=="):
            return False
        if outer.type == "ternary_expression" and place == _child(outer, "condition"):
            return False
        place, outer = outer, outer.parent
    if outer is None or outer.type in ("import_statement", "subscript_expression", "switch_case"):
        return False
    if outer.type == "pair":
        return _is_shown_pair(outer, place, text)
    if outer.type == "arguments" and outer.parent and outer.parent.type == "call_expression":
        called = _text(_child(outer.parent, "function")).rsplit(".", 1)[-1]
        if called in _NOT_SHOWN | _SAYING:
            return False
        at = next(i for i, one in enumerate(outer.named_children) if one == place)
        if called in _SHOWN_FROM and at >= _SHOWN_FROM[called]:
            return _WORD.search(text) is not None
    return _looks_like_prose(text)


def _is_shown_pair(pair: Node, place: Node, text: str) -> bool:
    key = _text(_child(pair, "key")).strip('"')
    if place == _child(pair, "key") or key == "class":
        return False
    return _WORD.search(text) is not None if key in _SHOWN else _looks_like_prose(text)


def _looks_like_prose(text: str) -> bool:
    return _PROSE.search(text) is not None and _NO_PROSE.search(text) is None


def _placeholders(forms: list[str]) -> set[str]:
    return {name for form in forms for name in _PLACEHOLDER.findall(form)}


def _fragments(node: Node) -> Iterator[str]:
    return (_text(one) for one in _walk(node) if one.type == "string_fragment")


def _names(values: Node) -> Iterator[str]:
    """The properties of an object literal."""
    for one in values.named_children:
        yield _text(one if one.type == "shorthand_property_identifier" else _child(one, "key"))


def _arguments(call: Node) -> list[Node]:
    return [one for one in _child(call, "arguments").named_children if one.type != "comment"]


def _child(node: Node, name: str) -> Node:
    found = node.child_by_field_name(name)
    assert found is not None, f"{node.type} has {name}"
    return found


def _text(node: Node) -> str:
    assert node.text is not None, "its source is kept"
    return node.text.decode()


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _walk(child)


def _parse(path: Path) -> Node:
    return _PARSER.parse(path.read_bytes()).root_node


def main() -> None:
    """Prints the faults. Exit status 1 if there are any."""
    faults = list(check(WEB))
    for fault in faults:
        print(f"words: {fault}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
