"""No test patches our own modules: what it wants to be otherwise is an argument or a real fault."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
OURS = ("app", "worker", "models")
SETTERS = {"setattr", "delattr", "setitem", "delitem", "patch", "object", "dict", "multiple"}
MOCKS = {"mock", "unittest.mock", "pytest_mock"}


def find_patches(source: str) -> Iterator[int]:
    """The lines of a test's source that patch one of our modules, or import what mocks."""
    tree = ast.parse(source)
    ours = set(_find_imported(tree))
    for node in ast.walk(tree):
        if _is_patch(node, ours) or MOCKS & set(_find_modules(node)):
            yield node.lineno


def _find_imported(tree: ast.AST) -> Iterator[str]:
    """The names by which a file knows what is ours."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                module = node.module if isinstance(node, ast.ImportFrom) else alias.name
                if (module or "").split(".")[0] in OURS:
                    first = alias.name.split(".")[0]
                    yield alias.asname or first


def _find_modules(node: ast.AST) -> Iterator[str]:
    """The modules that a statement may import."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        yield from (str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names))


def _is_patch(node: ast.AST, ours: set[str]) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name), args=[first, *_]):
            return name in SETTERS and _is_ours(first, ours)
        case ast.Attribute(ctx=ast.Store() | ast.Del(), value=target):
            return _is_ours(target, ours)
    return False


def _is_ours(target: ast.AST, ours: set[str]) -> bool:
    """Whether an expression is one of our modules or in one, by its name or by a string of it."""
    if isinstance(target, ast.Constant):
        return str(target.value).split(".")[0] in OURS
    while isinstance(target, ast.Attribute | ast.Subscript):
        target = target.value
    return isinstance(target, ast.Name) and target.id in ours


def test_no_test_patches_our_modules():
    found = [
        f"{path.relative_to(TESTS)}:{line}"
        for path in sorted(TESTS.rglob("*.py"))
        for line in find_patches(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    "patch",
    [
        'monkeypatch.setattr("worker.jobs.certify.time", None)',
        'from worker.store.jobs import progress\nmonkeypatch.setattr(progress, "put", None)',
        'import worker.store\nmonkeypatch.delattr(worker.store, "put")',
        "from models.prompts import catalogue as c\nc.SHIPPED = None",
        'from app.settings import AppSettings\npatch.setattr(AppSettings, "load", None)',
        'from worker.store import tables\npatch.setitem(tables.ALL, "a", 1)',
        'from worker import store\nsetattr(store, "put", None)',
        "from worker import store\ndel store.put",
        "from unittest.mock import patch",
        "from unittest import mock",
    ],
)
def test_a_patch_of_our_modules_is_found(patch):
    assert list(find_patches(patch))


@pytest.mark.parametrize(
    "allowed",
    [
        'monkeypatch.setenv("PROMPTSMOOTH_MODELS", "x")',
        'monkeypatch.setitem(sys.modules, "jpeg_ls", None)',
        'import os\nmonkeypatch.setattr(os, "write", None)',
        "from worker.store import keyspace\nfound.key = keyspace.votes",
    ],
)
def test_what_is_not_ours_may_be_patched(allowed):
    assert not list(find_patches(allowed))
