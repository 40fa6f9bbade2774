"""Runs other people's tests with systems in the place of the objects: a plugin of pytest, `-p transparency.plugin`.

COOPY_TRANSPARENCY is JSON: the classes ("module:Name Name"), whether they open systems in this run, where the tests are, and the file to
write what became of each test to.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from transparency.opened import Outcome, judged, limited, opened, watch

GIVEN = json.loads(os.environ["COOPY_TRANSPARENCY"])
FAILURES = (AssertionError, pytest.fail.Exception)
_found: dict[str, Outcome] = {}


def pytest_configure(config: pytest.Config) -> None:
    watch.roots = tuple(GIVEN["roots"])
    for each in GIVEN["classes"]:
        where, _, names = each.partition(":")
        module = importlib.import_module(where)
        for name in names.split():
            setattr(module, name, opened(getattr(module, name)))


def _open_what_was_set_up(item: Any) -> None:
    """Opens what fixtures, and the methods that set up a class of pytest, have made: many do so piece by piece, by attributes that are private."""
    systems: dict[int, Any] = {}
    for names in (getattr(item, "funcargs", {}), getattr(getattr(item, "instance", None), "__dict__", {})):
        for name, value in list(names.items()):
            names[name] = systems[id(value)] if id(value) in systems else systems.setdefault(id(value), watch.system_of(value))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    if not GIVEN["opens"]:
        with limited():
            yield
        return
    with limited(), watch.on():
        _open_what_was_set_up(item)
        yield
    differs = watch.compared()
    if differs:
        _found[item.nodeid] = Outcome("silent", differs[:300])


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Iterator[None]:
    yield
    error = call.excinfo and call.excinfo.value
    before = _found.get(item.nodeid)
    if isinstance(error, (pytest.skip.Exception, pytest.xfail.Exception)):
        _found[item.nodeid] = Outcome("skip")
    elif before is None or (before.how == "pass" and error is not None):
        _found[item.nodeid] = judged(error, FAILURES)


def pytest_sessionfinish() -> None:
    Path(GIVEN["result"]).write_text(json.dumps({name: asdict(each) for name, each in _found.items()}))
