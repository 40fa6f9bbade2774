"""Every member of every row of PySyncObj's batteries, each a test of its name: what it does to an open system, and whether it is recorded.

In its documentation a member is a replicated write or a local read: here an action, or not.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty
from typing import Any

import pytest
from batteries.opened import memory_system

from coopy import control
from coopy.batteries import ReplCounter, ReplDict, ReplList, ReplPriorityQueue, ReplQueue, ReplSet, handle
from coopy.testing import assert_replays

WRITE, READ = 1, 0
Row = tuple[str, Callable[[], Any], int, Callable[[Any], Any], Any]


def letters() -> Any:
    return ReplList("abc")


def numbers() -> Any:
    return ReplDict(a=1, b=2)


def members() -> Any:
    return ReplSet("abc")


def queue(kind: Any) -> Callable[[], Any]:
    def make() -> Any:
        found = kind(maxsize=2)
        found.put(1)
        return found

    return make


ROWS: list[Row] = [
    # The member, what it is opened with, what it is, the call, and what comes of it.
    ("ReplCounter.set", ReplCounter, WRITE, lambda found: (found.set(5), found.get()), (5, 5)),
    ("ReplCounter.set(newValue=)", ReplCounter, WRITE, lambda found: found.set(newValue=5), 5),
    ("ReplCounter.add", ReplCounter, WRITE, lambda found: (found.add(5), found.get()), (5, 5)),
    ("ReplCounter.add(value=)", ReplCounter, WRITE, lambda found: found.add(value=5), 5),
    ("ReplCounter.sub", ReplCounter, WRITE, lambda found: (found.sub(5), found.get()), (-5, -5)),
    ("ReplCounter.inc", ReplCounter, WRITE, lambda found: (found.inc(), found.get()), (1, 1)),
    ("ReplCounter.get", ReplCounter, READ, lambda found: found.get(), 0),
    ("ReplList.reset", letters, WRITE, lambda found: (found.reset(["x"]), found.rawData()), (None, ["x"])),
    ("ReplList.reset(newData=)", letters, WRITE, lambda found: (found.reset(newData=["x"]), found.rawData()), (None, ["x"])),
    ("ReplList.set", letters, WRITE, lambda found: (found.set(1, "x"), found.rawData()), (None, ["a", "x", "c"])),
    ("ReplList.set(position=, newValue=)", letters, WRITE, lambda found: found.set(position=1, newValue="x"), None),
    ("ReplList.append", letters, WRITE, lambda found: (found.append("x"), found[3]), (None, "x")),
    ("ReplList.append(item=)", letters, WRITE, lambda found: found.append(item="x"), None),
    ("ReplList.extend", letters, WRITE, lambda found: (found.extend(["x", "y"]), len(found)), (None, 5)),
    ("ReplList.extend(other=)", letters, WRITE, lambda found: found.extend(other=["x"]), None),
    ("ReplList.insert", letters, WRITE, lambda found: (found.insert(1, "x"), found.rawData()), (None, ["a", "x", "b", "c"])),
    ("ReplList.insert(position=, element=)", letters, WRITE, lambda found: found.insert(position=1, element="x"), None),
    ("ReplList.remove", letters, WRITE, lambda found: (found.remove("b"), found.rawData()), (None, ["a", "c"])),
    ("ReplList.remove(element=)", letters, WRITE, lambda found: found.remove(element="b"), None),
    ("ReplList.remove, ValueError", letters, READ, lambda found: found.remove("x"), ValueError),
    ("ReplList.pop", letters, WRITE, lambda found: (found.pop(0), found.rawData()), ("a", ["b", "c"])),
    ("ReplList.pop(position=)", letters, WRITE, lambda found: found.pop(position=0), "a"),
    ("ReplList.pop, default last", letters, WRITE, lambda found: (found.pop(), found.rawData()), ("c", ["a", "b"])),
    ("ReplList.pop(None), default last", letters, WRITE, lambda found: found.pop(None), "c"),
    ("ReplList.sort", lambda: ReplList("bca"), WRITE, lambda found: (found.sort(), found.rawData()), (None, ["a", "b", "c"])),
    ("ReplList.sort(reverse=)", letters, WRITE, lambda found: (found.sort(reverse=True), found[0]), (None, "c")),
    ("ReplList.__setitem__", letters, WRITE, lambda found: (found.__setitem__(0, "x"), found[0]), (None, "x")),
    ("ReplList.index", letters, READ, lambda found: found.index("b"), 1),
    ("ReplList.index(element=)", letters, READ, lambda found: found.index(element="b"), 1),
    ("ReplList.index, ValueError", letters, READ, lambda found: found.index("x"), ValueError),
    ("ReplList.count", letters, READ, lambda found: found.count("b"), 1),
    ("ReplList.count(element=)", letters, READ, lambda found: found.count(element="b"), 1),
    ("ReplList.get", letters, READ, lambda found: found.get(1), "b"),
    ("ReplList.get(position=)", letters, READ, lambda found: found.get(position=1), "b"),
    ("ReplList.get, IndexError", letters, READ, lambda found: found.get(9), IndexError),
    ("ReplList.__getitem__", letters, READ, lambda found: found[1], "b"),
    ("ReplList.len", letters, READ, lambda found: len(found), 3),
    ("ReplList.rawData", letters, READ, lambda found: (found.rawData(), type(found.rawData())), (["a", "b", "c"], list)),
    ("ReplDict.reset", numbers, WRITE, lambda found: (found.reset({"x": 1}), found.rawData()), (None, {"x": 1})),
    ("ReplDict.reset(newData=)", numbers, WRITE, lambda found: found.reset(newData={"x": 1}), None),
    ("ReplDict.__setitem__", numbers, WRITE, lambda found: (found.__setitem__("a", 3), found["a"]), (None, 3)),
    ("ReplDict.set", numbers, WRITE, lambda found: (found.set("a", 3), found["a"]), (None, 3)),
    ("ReplDict.set(key=, value=)", numbers, WRITE, lambda found: found.set(key="a", value=3), None),
    ("ReplDict.setdefault", numbers, WRITE, lambda found: (found.setdefault("x", 3), found["x"]), (3, 3)),
    ("ReplDict.setdefault(key=, default=)", numbers, WRITE, lambda found: found.setdefault(key="x", default=3), 3),
    ("ReplDict.setdefault of a key that is there", numbers, WRITE, lambda found: found.setdefault("a", 3), 1),
    ("ReplDict.update", numbers, WRITE, lambda found: (found.update({"x": 3}), found["x"]), (None, 3)),
    ("ReplDict.pop", numbers, WRITE, lambda found: (found.pop("a"), "a" in found), (1, False)),
    ("ReplDict.pop(key=, default=)", numbers, WRITE, lambda found: found.pop(key="x", default=9), 9),
    ("ReplDict.pop, default None", numbers, WRITE, lambda found: found.pop("x"), None),
    ("ReplDict.clear", numbers, WRITE, lambda found: (found.clear(), len(found)), (None, 0)),
    ("ReplDict.__getitem__", numbers, READ, lambda found: found["a"], 1),
    ("ReplDict.__getitem__, KeyError", numbers, READ, lambda found: found["x"], KeyError),
    ("ReplDict.get", numbers, READ, lambda found: (found.get("a"), found.get("x"), found.get("x", 9)), (1, None, 9)),
    ("ReplDict.get(key=, default=)", numbers, READ, lambda found: found.get(key="x", default=9), 9),
    ("ReplDict.len", numbers, READ, lambda found: len(found), 2),
    ("ReplDict.in", numbers, READ, lambda found: ("a" in found, "x" in found), (True, False)),
    ("ReplDict.keys", numbers, READ, lambda found: list(found.keys()), ["a", "b"]),
    ("ReplDict.values", numbers, READ, lambda found: list(found.values()), [1, 2]),
    ("ReplDict.items", numbers, READ, lambda found: list(found.items()), [("a", 1), ("b", 2)]),
    ("ReplDict.rawData", numbers, READ, lambda found: (found.rawData(), type(found.rawData())), ({"a": 1, "b": 2}, dict)),
    ("ReplSet.reset", members, WRITE, lambda found: (found.reset({"x"}), found.rawData()), (None, {"x"})),
    ("ReplSet.reset(newData=)", members, WRITE, lambda found: found.reset(newData={"x"}), None),
    ("ReplSet.add", members, WRITE, lambda found: (found.add("x"), "x" in found), (None, True)),
    ("ReplSet.add(item=)", members, WRITE, lambda found: found.add(item="x"), None),
    ("ReplSet.remove", members, WRITE, lambda found: (found.remove("a"), "a" in found), (None, False)),
    ("ReplSet.remove(item=)", members, WRITE, lambda found: found.remove(item="a"), None),
    ("ReplSet.remove, KeyError", members, READ, lambda found: found.remove("x"), KeyError),
    ("ReplSet.discard", members, WRITE, lambda found: (found.discard("x"), found.discard("a"), len(found)), (None, None, 2)),
    ("ReplSet.pop", members, WRITE, lambda found: (found.pop(), len(found)), ("a", 2)),
    ("ReplSet.pop, KeyError when empty", ReplSet, READ, lambda found: found.pop(), KeyError),
    ("ReplSet.clear", members, WRITE, lambda found: (found.clear(), len(found)), (None, 0)),
    ("ReplSet.update", members, WRITE, lambda found: (found.update({"x"}), len(found)), (None, 4)),
    ("ReplSet.len", members, READ, lambda found: len(found), 3),
    ("ReplSet.in", members, READ, lambda found: ("a" in found, "x" in found), (True, False)),
    ("ReplSet.rawData", members, READ, lambda found: (found.rawData(), type(found.rawData())), ({"a", "b", "c"}, set)),
]
for kind in (ReplQueue, ReplPriorityQueue):
    name = f"Repl{kind.__name__}"
    ROWS += [
        (f"{name}(maxsize=)", queue(kind), READ, lambda found: found.maxsize, 2),
        (f"{name}(), any number", kind, WRITE, lambda found: (found.put_many(range(1000)), found.full()), (1000, False)),
        (f"{name}.put", queue(kind), WRITE, lambda found: (found.put(2), found.qsize()), (True, 2)),
        (f"{name}.put(item=)", queue(kind), WRITE, lambda found: found.put(item=2), True),
        (f"{name}.put, False when full", queue(kind), WRITE, lambda found: (found.put(2), found.put(3)), (True, False)),
        (f"{name}.get", queue(kind), WRITE, lambda found: (found.get(), found.empty()), (1, True)),
        (f"{name}.get, default None", kind, WRITE, lambda found: found.get(), None),
        (f"{name}.get(default=)", kind, WRITE, lambda found: (found.get(default=9), found.get(8)), (9, 8)),
        (f"{name}.qsize", queue(kind), READ, lambda found: found.qsize(), 1),
        (f"{name}.empty", queue(kind), READ, lambda found: found.empty(), False),
        (f"{name}.full", queue(kind), READ, lambda found: found.full(), False),
        (f"{name}.len", queue(kind), READ, lambda found: len(found), 1),
    ]
ROWS += [
    (
        "ReplQueue, first in first out",
        ReplQueue,
        WRITE,
        lambda found: (found.put_many([2, 1, 3]), found.drain()),
        (3, [2, 1, 3]),
    ),
    (
        "ReplPriorityQueue, the smallest first",
        ReplPriorityQueue,
        WRITE,
        lambda found: (found.put_many([2, 1, 3]), found.drain()),
        (3, [1, 2, 3]),
    ),
]


@pytest.mark.parametrize(("make", "recorded", "call", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_member(make: Callable[[], Any], recorded: int, call: Callable[[Any], Any], expected: Any) -> None:
    system = memory_system(make())
    if isinstance(expected, type) and issubclass(expected, Exception):
        before = control(system).state_digest()[1]
        with pytest.raises(expected):
            call(system)
        assert control(system).state_digest()[1] == before
    else:
        assert call(system) == expected
        assert (control(system).index > 0) == bool(recorded)
    assert_replays(system)


def test_every_member_of_the_table_has_a_row() -> None:
    rows = {row[0].partition("(")[0].partition(",")[0].partition(" ")[0] for row in ROWS}
    members = {
        "ReplCounter": "set add sub inc get",
        "ReplList": "reset set append extend insert remove pop sort __setitem__ index count get __getitem__ len rawData",
        "ReplDict": "reset __setitem__ set setdefault update pop clear __getitem__ get len in keys values items rawData",
        "ReplSet": "reset add remove discard pop clear update len in rawData",
        "ReplQueue": "put get qsize empty full len",
        "ReplPriorityQueue": "put get qsize empty full len",
    }
    named = {f"{name}.{member}" for name, found in members.items() for member in found.split()}
    assert named <= rows


def test_what_waits_for_a_queue_is_its_handle() -> None:
    with pytest.raises(Empty):
        handle(memory_system(ReplQueue)).get(timeout=0)
