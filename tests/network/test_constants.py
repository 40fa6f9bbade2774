"""Each number that a module of the network, or of a node, goes by has its reason beside it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from architecture import tidy
from architecture.trees import nodes_of, tree_of

import coopy.network

PACKAGE = Path(coopy.network.__file__).parents[1]
MODULES = sorted([*(PACKAGE / "network").rglob("*.py"), *(PACKAGE / "replication").rglob("*.py")])


def without_reason(tree: ast.Module) -> Iterator[str]:
    """The constants of a module that hold a number, and after which no text stands. A reason may be for several in turn."""
    for number, statement in enumerate(tree.body):
        if not isinstance(statement, ast.Assign) or isinstance(statement.value, ast.Call):
            continue
        if not any(isinstance(each, ast.Constant) and type(each.value) in (int, float) for each in ast.walk(statement.value)):
            continue
        rest = iter(tree.body[number + 1 :])
        after = next((each for each in rest if not isinstance(each, ast.Assign)), None)
        if not (isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str)):
            yield ast.unparse(statement)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_number_has_its_reason(path: Path) -> None:
    assert list(without_reason(tree_of(path))) == []


def test_what_has_no_reason_is_found() -> None:
    assert list(without_reason(ast.parse("A = 1\nB = 2\n'Why.'\nC = 3\nD = 1, 2.0\n"))) == ["C = 3", "D = (1, 2.0)"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_function_is_longer_than_a_page_and_no_module_than_one_can_read(path: Path) -> None:
    longest = max(
        (each.end_lineno - each.lineno + 1 for each in nodes_of(path) if isinstance(each, ast.FunctionDef) and each.end_lineno),
        default=0,
    )
    assert longest <= 70
    assert list(tidy.long_modules(path)) == []
