"""Lists what of an OpenAPI document a later one breaks: python tools/breaking_changes.py OLD NEW.

What docs/interface-changes.md calls an addition is none: new addresses, optional fields, statuses.
Schemas are compared by what they say and not by their names. Exit status 1 if something breaks.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Json = dict[str, Any]
_METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two documents that are compared, the older one first.

    Attributes:
        seen: the pairs of named schemas that are under comparison: schemas may hold themselves.
    """

    old: Json
    new: Json
    seen: set[tuple[str, str, str]] = field(default_factory=set)


def find_breaking(old: Json, new: Json) -> list[str]:
    """Everything that breaks, one line each, sorted."""
    return sorted(set(_find(Pair(old=old, new=new))))


def _find(pair: Pair) -> Iterator[str]:
    for path, operations in pair.old["paths"].items():
        for method in filter(operations.get, _METHODS):
            place = f"{method.upper()} {path}"
            there = pair.new["paths"].get(path, {}).get(method)
            if there is None:
                yield f"{place}: gone"
            else:
                yield from _compare_operation(pair, place, operations[method], there)


def _compare_operation(pair: Pair, place: str, old: Json, new: Json) -> Iterator[str]:
    yield from _compare_parameters(pair, place, old, new)
    yield from _compare_bodies(pair, place, old, new)
    for status, answer in old["responses"].items():
        if not status.startswith("2"):
            continue
        if status not in new["responses"]:
            yield f"{place}: status {status} gone"
            continue
        yield from _compare_content(
            pair, f"{place} {status}", answer, new["responses"][status], "answer"
        )


def _compare_parameters(pair: Pair, place: str, old: Json, new: Json) -> Iterator[str]:
    before, after = (
        {(one["in"], one["name"].lower()): one for one in operation.get("parameters", ())}
        for operation in (old, new)
    )
    for where, name in sorted(before.keys() - after.keys()):
        yield f"{place}: {where} parameter {name} gone"
    for key, one in sorted(after.items()):
        if one.get("required") and not before.get(key, {}).get("required"):
            yield f"{place}: {key[0]} parameter {key[1]} is now required"
    for key in sorted(before.keys() & after.keys()):
        schemas = before[key].get("schema", {}), after[key].get("schema", {})
        yield from _compare_schemas(pair, f"{place}: parameter {key[1]}", *schemas, "request")


def _compare_bodies(pair: Pair, place: str, old: Json, new: Json) -> Iterator[str]:
    before, after = old.get("requestBody"), new.get("requestBody")
    if before is None:
        if after is not None and after.get("required"):
            yield f"{place}: a body is now required"
    elif after is None:
        yield f"{place}: takes no body any more"
    else:
        yield from _compare_content(pair, f"{place} body", before, after, "request")


def _compare_content(pair: Pair, place: str, old: Json, new: Json, side: str) -> Iterator[str]:
    after = new.get("content", {})
    for media_type, one in old.get("content", {}).items():
        if media_type not in after:
            yield f"{place}: {media_type} gone"
            continue
        schemas = one.get("schema", {}), after[media_type].get("schema", {})
        yield from _compare_schemas(pair, place, *schemas, side)


def _compare_schemas(pair: Pair, place: str, old: Any, new: Any, side: str) -> Iterator[str]:
    names = (_name(old), _name(new), side)
    if all(names[:2]):
        if names in pair.seen:
            return
        pair.seen.add(names)
    before, after = _open(pair.old, old), _open(pair.new, new)
    if len(before) > 1 or len(after) > 1:
        yield from _compare_variants(pair, place, before, after, side)
    elif before and after:
        yield from _compare_plain(pair, place, before[0], after[0], side)


def _compare_variants(
    pair: Pair, place: str, old: list[Json], new: list[Json], side: str
) -> Iterator[str]:
    """Variants are told apart by their constants, or else by their type."""
    after = {_sign(one): one for one in new}
    for one in old:
        there = after.get(_sign(one))
        if there is None:
            yield f"{place}: the variant {_sign(one)} gone"
        else:
            yield from _compare_plain(pair, place, one, there, side)


def _compare_plain(pair: Pair, place: str, old: Json, new: Json, side: str) -> Iterator[str]:
    if _types(old) and _types(new) and not _types(old) & _types(new):
        yield f"{place}: {'/'.join(sorted(_types(old)))} is now {'/'.join(sorted(_types(new)))}"
        return
    values = set(map(str, old.get("enum", ()))) - set(
        map(str, new.get("enum", old.get("enum", ())))
    )
    if values and side == "request":
        yield f"{place}: the values {', '.join(sorted(values))} gone"
    yield from _compare_required(place, old, new, side)
    fields, there = old.get("properties", {}), new.get("properties", {})
    for name in fields:
        if name not in there:
            yield f"{place}: {name} gone"
        else:
            yield from _compare_schemas(pair, f"{place}: {name}", fields[name], there[name], side)
    if "items" in old and "items" in new:
        yield from _compare_schemas(pair, f"{place}[]", old["items"], new["items"], side)


def _compare_required(place: str, old: Json, new: Json, side: str) -> Iterator[str]:
    before, after = set(old.get("required", ())), set(new.get("required", ()))
    if side == "request":
        for name in sorted(after - before):
            yield f"{place}: {name} is now required"
    else:
        for name in sorted((before - after) & new.get("properties", {}).keys()):
            yield f"{place}: {name} is no longer always there"


def _open(document: Json, schema: Any) -> list[Json]:
    """The variants of a schema, references followed and null left out."""
    schema = _follow(document, schema)
    variants = schema.get("oneOf") or schema.get("anyOf")
    if not variants:
        return [] if schema.get("type") == "null" else [schema]
    return [one for each in variants for one in _open(document, each)]


def _follow(document: Json, schema: Any) -> Json:
    while isinstance(schema, Mapping) and "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema = found
    return dict(schema) if isinstance(schema, Mapping) else {}


def _name(schema: Any) -> str:
    return str(schema.get("$ref", "")) if isinstance(schema, Mapping) else ""


def _types(schema: Json) -> set[str]:
    stated = schema.get("type", ())
    found = {stated} if isinstance(stated, str) else set(stated)
    return {"number" if one == "integer" else one for one in found - {"null"}}


def _sign(schema: Json) -> str:
    constants = {
        name: str(one.get("const", *one.get("enum", [])[:1]))
        for name, one in sorted(schema.get("properties", {}).items())
        if "const" in one or len(one.get("enum", ())) == 1
    }
    said = ", ".join(f"{name}={value}" for name, value in constants.items())
    return said or "/".join(sorted(_types(schema))) or "any"


def main() -> int:
    """Prints what breaks."""
    old, new = (json.loads(Path(name).read_text(encoding="utf-8")) for name in sys.argv[1:3])
    found = find_breaking(old, new)
    for line in found:
        print(line)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
