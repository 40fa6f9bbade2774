"""The names of `coopy.messaging`: each is loaded when it is first asked for, and type checkers are told of the same."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest
from program import run, write

import coopy.messaging


def told_to_type_checkers() -> dict[str, str]:
    """Returns the names that the package imports for type checkers, and the module of each."""
    assert coopy.messaging.__file__ is not None
    tree = ast.parse(Path(coopy.messaging.__file__).read_text(encoding="utf-8"))
    [block] = [each for each in tree.body if isinstance(each, ast.If) and ast.unparse(each.test) == "TYPE_CHECKING"]
    imports = [each for each in block.body if isinstance(each, ast.ImportFrom)]
    return {alias.name: each.module or "" for each in imports for alias in each.names}


def test_each_name_is_what_type_checkers_are_told() -> None:
    told = told_to_type_checkers()
    assert {name: f"coopy.messaging.{module}" for name, module in coopy.messaging._MODULE_OF.items()} == told
    assert set(coopy.messaging.__all__) == told.keys() - {"Exception"}  # Who imports all would lose Python's.
    for name, module in told.items():
        assert getattr(coopy.messaging, name) is getattr(import_module(module), name)


def test_a_name_that_is_not_there_is_said_so() -> None:
    with pytest.raises(AttributeError, match="module 'coopy.messaging' has no attribute 'Nobody'"):
        _ = coopy.messaging.Nobody  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="cannot import name 'Nobody'"):
        exec("from coopy.messaging import Nobody")


def test_all_names_are_listed_before_they_are_loaded() -> None:
    assert {*coopy.messaging.__all__} <= {*dir(coopy.messaging)}


ROOMS = {"Bus": "bus", "EventSource": "events", "KeyValueStore": "store", "TaskQueue": "tasks"}


@pytest.mark.parametrize("name", ["", *ROOMS])
def test_only_what_is_asked_for_is_loaded(name: str, tmp_path: Path) -> None:
    asked = f"from coopy.messaging import {name}" if name else "import coopy.messaging"
    others = [f"coopy.messaging.{module}" for each, module in ROOMS.items() if each != name]
    program = f"import sys\n{asked}\nprint([each for each in {others!r} if each in sys.modules])"
    assert run(write(tmp_path / "asks.py", program)) == "[]"
