"""What no proxy can be, row by row of docs/guides/proxy.md, and that what to do instead works."""

from __future__ import annotations

import copy
import json
import pickle
import re
import sys
import threading
from typing import Any
from unittest import mock

import pytest

import coopy
from coopy.testing import memory_system


class Shelf(dict[Any, Any]):
    pass


class Row(list[Any]):
    pass


class Text(bytearray):
    pass


class Group(set[Any]):
    pass


def test_the_class_is_another_one_and_isinstance_holds() -> None:
    shelf = memory_system(Shelf)
    assert type(shelf) is not Shelf and isinstance(shelf, Shelf) and isinstance(shelf, dict)
    with pytest.raises(TypeError, match="doesn't apply"):
        dict.setdefault(shelf, "a", 1)
    assert shelf.setdefault("a", 1) == 1


def test_code_in_c_does_not_look_into_a_proxy_and_takes_a_copy() -> None:
    row, text, group = memory_system(Row([2])), memory_system(Text(b"ab")), memory_system(Group({frozenset({1})}))
    for use in (
        lambda row, text, group: [1] + row == [1, 2],
        lambda row, text, group: b"".join([text]) == b"ab",
        lambda row, text, group: re.match(rb"a", text),
        lambda row, text, group: bytes(memoryview(text)) == b"ab",
    ):
        with pytest.raises(TypeError):
            use(row, text, group)
        assert use(*map(copy.copy, (row, text, group)))
    with pytest.raises(TypeError, match="unhashable"):
        memory_system(Group({1})) in group  # noqa: B015
    assert copy.copy(memory_system(Group({1}))) in group


def test_a_pickle_is_refused_and_a_copy_is_pickled() -> None:
    shelf = memory_system(Shelf(a=1))
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(shelf)
    assert pickle.loads(pickle.dumps(copy.copy(shelf))) == {"a": 1}


def test_an_iterator_goes_through_what_there_was() -> None:
    row, shelf = memory_system(Row([1])), memory_system(Shelf(a=1))
    numbers, keys = iter(row), iter(shelf)
    row.append(2)
    shelf["b"] = 2
    assert (list(numbers), list(keys), list(row), list(shelf)) == ([1], ["a"], [1, 2], ["a", "b"])


class Same:
    """Is equal to itself alone."""


def test_what_is_equal_to_itself_alone_is_not_found_by_a_method() -> None:
    one = Same()
    row = memory_system(Row([one]))
    with pytest.raises(ValueError, match="not in list"):
        row.remove(one)
    assert row[0] in row and type(row.pop(0)) is Same


@pytest.mark.filterwarnings("ignore")
def test_what_no_record_can_hold_is_no_argument() -> None:
    row, lock = memory_system(Row), threading.Lock()
    for value in (mock.MagicMock(), lock, lambda: lock):
        with pytest.raises(coopy.EncodingError):
            row.append(value)
    assert row == [] and coopy.control(row).index == 0


def test_a_system_is_no_part_of_a_first_state_but_an_argument() -> None:
    row = memory_system(Row([1]))
    with pytest.raises(coopy.EncodingError, match=r"state\[0\] is of the type .*Row"):
        memory_system(Row([row]))
    other = memory_system(Row)
    other.append(row)
    assert other == [[1]] and isinstance(other[0], Row)


def test_the_size_is_that_of_the_proxy_and_dir_has_the_controls() -> None:
    shelf = memory_system(Shelf((number, number) for number in range(1000)))
    assert sys.getsizeof(shelf) < 1000 < sys.getsizeof(copy.copy(shelf))
    assert {"take_snapshot", "setdefault"} <= set(dir(shelf))


class Plan:
    def __init__(self) -> None:
        self.items = [1]
        self.table: dict[Any, int] = {}

    def view(self) -> Any:
        return View(self)

    def put(self, key: Any, value: int) -> None:
        self.table[key] = value

    def has(self, key: Any) -> bool:
        return key in self.table


class View:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan


def test_the_class_of_a_part_is_another_one_and_code_in_c_takes_a_copy_of_it() -> None:
    plan = memory_system(Plan, validation="off", results="recorded")
    assert type(plan.items) is not list and isinstance(plan.items, list) and type(copy.copy(plan.items)) is list
    for use in (lambda items: json.dumps(items) == "[1]", lambda items: [0] + items == [0, 1]):
        with pytest.raises(TypeError):
            use(plan.items)
        assert use(copy.copy(plan.items))


def test_what_a_method_has_made_refers_to_the_object_and_not_to_the_system() -> None:
    plan = memory_system(Plan, validation="off")
    assert plan.view().plan is not plan
    plan.put("a", 1)
    assert plan.view().plan.table == {"a": 1}


def test_two_systems_share_nothing() -> None:
    plan = memory_system(Plan, validation="off")
    other = memory_system(copy.copy(plan), validation="off")
    other.items.append(2)
    assert (plan.items, other.items) == ([1], [1, 2])


def test_a_key_that_stands_for_itself_alone_is_not_found_and_a_name_is() -> None:
    plan, mark = memory_system(Plan, validation="off"), Same()
    plan.put(mark, 1)
    plan.put("mark", 1)
    assert (plan.has(mark), plan.has("mark")) == (False, True)


class Timed:
    """Has a clock of its own."""

    def __init__(self, clock: list[int]) -> None:
        self.clock = clock
        self.seen: list[int] = []

    def look(self) -> None:
        self.seen.append(self.clock[0])


def test_a_clock_of_the_first_state_that_is_turned_outside_stands_still_in_the_system() -> None:
    clock = [1]
    timed = memory_system(Timed(clock), validation="off")
    timed.look()
    clock[0] = 2
    timed.look()
    timed.clock[0] = 3
    timed.look()
    assert timed.seen == [1, 1, 3]


def test_an_iterator_as_an_argument_is_run_to_its_end_before_the_call() -> None:
    row, asked = memory_system(Row([0, 1])), []

    def items() -> Any:
        asked.append(len(row))
        yield from (5, 6)
        asked.append(len(row))

    with pytest.raises(ValueError, match="zero"):
        row[::0] = items()
    assert asked == [2, 2]
    row.extend(items())
    assert asked == [2] * 4 and row == [0, 1, 5, 6]


def test_systems_that_an_iterator_yields_are_refused_and_those_of_a_list_are_copied() -> None:
    row = memory_system(Row())
    shelves = [memory_system(Shelf(a=1)), memory_system(Shelf(b=2))]
    with pytest.raises(coopy.EncodingError, match="nothing has changed"):
        row.extend(each for each in shelves)
    assert row == []
    row.extend(shelves)
    assert row == [{"a": 1}, {"b": 2}] and type(row[0]) is Shelf


def test_a_class_of_a_function_is_stored_by_value() -> None:
    class Local:
        pass

    shelf = memory_system(Shelf())
    shelf["a"] = Local()
    assert not isinstance(shelf["a"], Local) and type(shelf["a"]).__name__ == "Local"
    shelf["b"] = Module()
    assert isinstance(shelf["b"], Module)


class Module:
    pass


class Endless:
    def __init__(self) -> None:
        self.step = 2

    def __iter__(self) -> Any:
        return (number * self.step for number in range(1_000_000))

    def first(self, count: int) -> list[int]:
        return [number * self.step for number in range(count)]


def test_an_iteration_is_run_to_its_end_and_a_method_returns_the_first() -> None:
    endless = memory_system(Endless, validation="off")
    assert next(iter(endless)) == 0 and endless.first(3) == [0, 2, 4]


class Lazy(dict[str, Any]):
    """A child is put into what it belongs to when something is written to it."""

    def __init__(self, *items: Any, above: Any = None) -> None:
        super().__init__(*items)
        object.__setattr__(self, "above", above)

    def __getitem__(self, name: str) -> Any:
        return super().__getitem__(name) if name in self else Lazy(above=(self, name))

    def __setitem__(self, name: str, value: Any) -> None:
        above = object.__getattribute__(self, "above")
        if above is not None:
            dict.setdefault(above[0], above[1], self)
        super().__setitem__(name, value)

    def __reduce__(self) -> Any:
        return Lazy, (dict(self),)


def test_a_child_that_is_made_by_reading_is_made_again_where_it_was_read() -> None:
    lazy = memory_system(Lazy({"a": Lazy()}), results="recorded", validation="off")
    child = lazy["a"]["b"]
    lazy["a"] = Lazy({"keep": 1})
    child["c"] = 1
    assert lazy == {"a": {"keep": 1, "b": {"c": 1}}}
