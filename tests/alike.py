"""A plain object, a live system, and what the next start makes of it, side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from coopy import control, init_system
from coopy.testing import memory_system

SERVICES = ("_clock", "_env")
Step = Callable[[Any], Any]


def domain_of(system: Any) -> Any:
    """Returns the object itself."""
    return system._coopy_engine.machine.domain


def state_of(obj: Any) -> Any:
    """Returns what an object has, such that it can be compared."""
    held = {name: value for name, value in getattr(obj, "__dict__", {}).items() if name not in SERVICES and not callable(value)}
    for name in getattr(type(obj), "__slots__", ()):
        if hasattr(obj, name) and name not in SERVICES:
            held[name] = getattr(obj, name)
    content = list(dict.items(obj)) if isinstance(obj, dict) else list.copy(obj) if isinstance(obj, list) else None
    return content, held


def alike(basedir: Path, cls: Any, *steps: Step) -> int:
    """Asserts that each step answers alike, and that the states are alike in the end. Returns how many actions were recorded."""
    plain = cls()
    expected = [_answer(step, plain) for step in steps]
    for options in ({}, {"check": True}):
        system = memory_system(cls, validation="off", **options)
        assert [_answer(step, system) for step in steps] == expected
        assert state_of(control(system).replay()) == state_of(domain_of(system)) == state_of(plain)
        control(system).close()
    system = init_system(cls, basedir, validation="off", durability="buffered")
    assert [_answer(step, system) for step in steps] == expected
    index = control(system).index
    control(system).close()
    again = init_system(cls, basedir, validation="off")
    assert state_of(domain_of(again)) == state_of(plain)
    control(again).close()
    return index


def _answer(step: Step, obj: Any) -> Any:
    try:
        found = step(obj)
    except Exception as error:  # Whatever the class raises, it raises as a system too.
        return type(error)
    if hasattr(type(found), "__next__") or type(found).__name__ in ("ItemsView", "ValuesView", "KeysView"):
        return list(found)
    return list(found) if type(found).__name__ in ("dict_items", "dict_values", "dict_keys") else found
