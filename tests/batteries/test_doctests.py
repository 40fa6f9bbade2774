"""What the docstrings of the structures show is what happens."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import coopy
import coopy.batteries
from coopy import close_all

MODULES = sorted(module.name for module in pkgutil.iter_modules(coopy.batteries.__path__))
STRUCTURES = [
    found
    for name, found in vars(coopy.batteries).items()
    if isinstance(found, type) and issubclass(found, coopy.batteries.battery.Battery)
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_show_what_happens(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(f"coopy.batteries.{name}")
    try:
        failed, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    finally:
        close_all()
    assert not failed


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda structure: structure.__name__)
def test_every_structure_shows_how_it_is_used(structure: type) -> None:
    shown = doctest.DocTestFinder(recurse=False).find(structure)
    assert shown and (shown[0].examples or structure is coopy.batteries.ReplDict)
