"""CPython's own tests, from the ``test`` package of the interpreter, run on what is ours.

Debian's interpreters do not ship that package: the tests that need it are skipped there. Most of what these tests take is pauses, and
collecting garbage after each of them among all that the process has loaded. `outcomes` makes the pauses shorter and leaves the collections out; what a test
checks stays as it is. With COOPY_CONTRACTS=1 nothing is changed (`make batteries`).
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import types
import unittest
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from unittest import mock

import pytest

EVERY = "COOPY_CONTRACTS" in os.environ
"""Whether the tests are run as they are, also those that take long."""
SHORTER = {0.5: 0.1, 1.0: 0.5}
"""Which limits and pauses, in seconds, tests of locks have instead of those that are longer."""
SHORTER_BARRIER = {} if EVERY else {"defaultTimeout": 0.4}
"""The same for tests of a barrier: half of it is how late one comes, and a quarter how long the others wait."""
LATER = {10.0: 100.0}
"""How many times longer than its limit something may take: a tenth of a second passes quickly on a busy machine."""
SHORTER_TRIGGER = {0.1: 0.02}
"""The same for how long a test of a queue waits before its other thread does something."""


def module_of(name: str) -> types.ModuleType:
    """Returns a module of the interpreter's tests, or skips the test."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        pytest.skip(f"this interpreter does not ship {name}: {error}")


def outcomes(
    module_name: str,
    class_name: str,
    given: Mapping[str, Any],
    replaced: Mapping[str, Any] = types.MappingProxyType({}),
    left_out: Collection[str] = (),
    only: Collection[str] | None = None,
) -> dict[str, str]:
    """Runs the tests of a class. Returns, by test, the text of its failure, "" if it passed; without those that it skips itself.

    Args:
        given: attributes of the class: what is to be tested.
        replaced: what the module has in the place of its globals meanwhile.
        left_out: tests that are not run, each by its name or by how that begins.
        only: the tests that are run, as far as this interpreter has them; by default all.
    """
    module = module_of(module_name)
    found = getattr(module, class_name, None)
    if found is None:
        pytest.skip(f"{module_name} of this interpreter has no {class_name}")
    bases = (found,) if issubclass(found, unittest.TestCase) else (found, unittest.TestCase)
    cls = type(class_name, bases, dict(given))
    tests = [name for name in unittest.defaultTestLoader.getTestCaseNames(cls) if not name.startswith(tuple(left_out))]
    tests = [name for name in tests if only is None or name in only]
    result = unittest.TestResult()
    with mock.patch.dict(vars(module), replaced), contextlib.nullcontext() if EVERY else _sooner(module, cls):
        unittest.TestSuite(map(cls, tests)).run(result)
    said = dict.fromkeys(tests, "")
    for test, text in [*result.failures, *result.errors]:
        said[test.id().rpartition(".")[2]] = text
    for test, _ in result.skipped:
        said.pop(test.id().rpartition(".")[2], None)
    return said


@contextlib.contextmanager
def _sooner(module: types.ModuleType, cls: type) -> Iterator[None]:
    """Has the tests of a class pause for shorter times."""
    for name in dir(cls):
        function = getattr(cls, name)
        if name.startswith(("test", "assertTimeout")) and isinstance(function, types.FunctionType):
            setattr(cls, name, _with_limits(function, SHORTER if name.startswith("test") else LATER))
    with contextlib.ExitStack() as patches:
        threads = importlib.import_module("test.support.threading_helper")
        for each in (module, threads):
            if hasattr(each, "support"):
                patches.enter_context(mock.patch.object(each, "support", _quick(each.support)))
        trigger = getattr(module, "_TriggerThread", None)
        if trigger is not None:
            patches.enter_context(mock.patch.object(trigger, "run", _with_limits(trigger.run, SHORTER_TRIGGER)))
        yield


def _quick(support: Any) -> Any:
    """Returns `test.support` without its growing pauses, and without collecting garbage whenever threads have ended."""
    changed: dict[str, Any] = {"gc_collect": lambda: None}
    if hasattr(support, "sleeping_retry"):
        changed["sleeping_retry"] = functools.partial(support.sleeping_retry, init_delay=0.001, max_delay=0.01)
    return types.SimpleNamespace(**{**vars(support), **changed})


def _with_limits(function: types.FunctionType, limits: Mapping[float, float]) -> types.FunctionType:
    """Returns a function that has other numbers where its source has those."""

    def changed(code: types.CodeType) -> types.CodeType:
        return code.replace(co_consts=tuple(map(constant, code.co_consts)))

    def constant(value: Any) -> Any:
        if isinstance(value, types.CodeType):
            return changed(value)
        return limits.get(value, value) if isinstance(value, float) else value

    found = types.FunctionType(
        changed(function.__code__), function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    found.__kwdefaults__ = function.__kwdefaults__
    found.__dict__.update(function.__dict__)
    return found
