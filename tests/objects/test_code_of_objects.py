"""Methods of objects that have code versions: what was recorded runs with the body of its day, what is called with the newest."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from objects.rooms import crashed

import coopy
from coopy.errors import ReplayError

FIRST = """
from coopy.objects import alarm, tell

class Till:
    def __init__(self, key):
        self.key, self.log = key, []
    def pay(self, amount):
        self.log.append(amount)
    def pay_soon(self, amount):
        alarm("pay", amount, after=0)
    def tell(self, key, amount):
        tell(Till, key).pay(amount)
"""
SECOND = (
    FIRST.replace("from coopy.objects", "from coopy import abort_exception, code_version, readonly\nfrom coopy.objects")
    + """
    @code_version(1)
    def pay(self, amount):
        self.log.append(("new", amount))
        return len(self.log)
    @code_version(1)
    @abort_exception
    def refund(self, amount):
        raise ValueError(amount)
    @code_version(1)
    @readonly
    def total(self):
        return len(self.log)
    def both(self, amount):
        return self.pay(amount)
"""
)
THIRD = (
    SECOND
    + """
    @code_version(2)
    def pay(self, amount):
        self.log.append(("newest", amount))
"""
)
Deploy = Callable[[str], Any]


@pytest.fixture
def deploy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deploy]:
    """Opens the directory as the next release of the program does."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    opened: list[Any] = []

    def deploy(source: str) -> Any:
        while opened:
            crashed(opened.pop())
        (tmp_path / "tills_of_the_tests.py").write_text(source)
        importlib.invalidate_caches()
        sys.modules.pop("tills_of_the_tests", None)
        module = importlib.import_module("tills_of_the_tests")
        opened.append(coopy.objects(module.Till, tmp_path / "data", validation="off"))
        return opened[0]

    yield deploy
    while opened:
        opened.pop().close()
    sys.modules.pop("tills_of_the_tests", None)


def test_what_was_recorded_is_replayed_with_the_body_of_its_day(deploy: Deploy) -> None:
    tills = deploy(FIRST)
    tills["a"].pay(1)
    tills = deploy(SECOND)
    assert tills["a"].pay(2) == 2 and tills["new"].pay(1) == 1
    tills = deploy(THIRD)
    tills["a"].pay(3)
    tills["new"].pay(2)
    assert tills["a"].log == [1, ("new", 2), ("newest", 3)]
    assert tills["new"].log == [("new", 1), ("newest", 2)]
    assert tills.replay("a", 2).log == [1, ("new", 2)]
    tills.passivate()
    tills["a"].pay(4)
    tills = deploy(THIRD)
    assert tills["a"].log[-2:] == [("newest", 3), ("newest", 4)]
    assert [call.method for call in tills.history("a")] == ["pay"] * 4


def test_methods_call_each_other_and_reads_have_versions(deploy: Deploy) -> None:
    tills = deploy(SECOND)
    assert tills["a"].both(1) == 1 and tills["a"].total() == 1
    with pytest.raises(ValueError, match="5"):
        tills["a"].refund(5)
    assert [call.outcome for call in tills.history("a")] == ["returned", "withdrawn"]
    tills = deploy(SECOND)
    assert tills["a"].log == [("new", 1)]


def test_an_alarm_and_a_told_call_run_with_the_newest(deploy: Deploy) -> None:
    tills = deploy(FIRST)
    tills._engine.has_others = True
    tills["a"].pay_soon(1)
    tills["b"].tell("c", 2)
    tills.catch_up()
    tills = deploy(SECOND)
    tills["a"].pay_soon(3)
    tills["b"].tell("c", 4)
    tills.catch_up()
    tills = deploy(SECOND)
    assert tills["a"].log == [1, ("new", 3)] and tills["c"].log == [2, ("new", 4)]


def test_a_class_that_lacks_a_version_does_not_load_what_it_has_recorded(deploy: Deploy) -> None:
    tills = deploy(SECOND)
    tills["a"].pay(1)
    tills = deploy(FIRST)
    with pytest.raises(ReplayError):
        tills["a"].pay(2)
    tills["b"].pay(1)
    assert tills["b"].log == [1]
