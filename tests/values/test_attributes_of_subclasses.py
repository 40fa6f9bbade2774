"""A subclass of a class of the standard library keeps its attributes over a snapshot, also where pickle leaves them out."""

from __future__ import annotations

import datetime
import decimal
import fractions
from collections import Counter, OrderedDict, defaultdict, deque
from pathlib import Path
from typing import Any

import pytest

from coopy import control, init_system


class Grouped(defaultdict):
    def __init__(self, factory=list):
        super().__init__(factory)
        self.title = ""

    def name(self, title):
        self.title = title


class Counted(Counter):
    pass


class Day(datetime.date):
    pass


class Moment(datetime.datetime):
    pass


class Span(datetime.timedelta):
    pass


class Price(decimal.Decimal):
    pass


class Share(fractions.Fraction):
    pass


class Ordered(OrderedDict):
    pass


class Line(deque):
    pass


class Own(defaultdict):
    def __reduce__(self):
        return Own, (list,)


VALUES: dict[str, Any] = {
    "defaultdict": lambda: Grouped(),
    "Counter": lambda: Counted("aab"),
    "date": lambda: Day(2000, 1, 2),
    "datetime": lambda: Moment(2000, 1, 2),
    "timedelta": lambda: Span(1),
    "Decimal": lambda: Price("1.5"),
    "Fraction": lambda: Share(1, 3),
    "OrderedDict": lambda: Ordered(a=1),
    "deque": lambda: Line([1, 2]),
}


class Kept:
    def __init__(self, what: Any) -> None:
        self.what = what


def over_a_snapshot(obj: Any, path: Path, act: Any = lambda system: None) -> Any:
    with init_system(obj, path, validation="off") as system:
        act(system)
        control(system).take_snapshot()
    return init_system(type(obj), path, validation="off")


def test_the_attributes_of_a_system_are_there_after_a_snapshot(tmp_path: Path) -> None:
    with over_a_snapshot(Grouped(), tmp_path / "d", lambda system: (system["a"].append(1), system.name("T"))) as found:
        assert found.title == "T" and dict(found) == {"a": []} or dict(found) == {"a": [1]}


@pytest.mark.parametrize("name", VALUES)
def test_the_attributes_of_a_part_are_there_after_a_snapshot(tmp_path: Path, name: str) -> None:
    value = VALUES[name]()
    value.mark = ["mine"]
    with over_a_snapshot(Kept(value), tmp_path / "d") as found:
        assert found.what == value and type(found.what) is type(value)
        assert vars(found.what).get("mark") == ["mine"]


def test_what_a_class_says_itself_of_its_pickle_holds(tmp_path: Path) -> None:
    value = Own(list, a=[1])
    value.mark = 1
    with over_a_snapshot(Kept(value), tmp_path / "d") as found:
        assert found.what == {} and not hasattr(found.what, "mark")
