"""Every member that PySyncObj's batteries have is there, under both names, and does what it did, without its faults."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, Full
from typing import Any

import pytest
from batteries.opened import memory_system
from batteries.operations import STRUCTURES

import coopy.batteries
from coopy import control, init_system
from coopy.batteries import ReplCounter, ReplDict, ReplList, ReplPriorityQueue, ReplQueue, ReplSet
from coopy.determinism import glance
from coopy.determinism.check import validate

MEMBERS = {
    "Counter": "set add sub inc get",
    "List": "reset set append extend insert remove pop sort index count get rawData __setitem__ __getitem__ __len__",
    "Dict": "reset __setitem__ set setdefault update pop clear __getitem__ get __len__ __contains__ keys values items rawData",
    "Set": "reset add remove discard pop clear update __len__ __contains__ rawData",
    "Queue": "put get qsize empty full __len__",
    "PriorityQueue": "put get qsize empty full __len__",
}
READS = set("get index count rawData __getitem__ __len__ __contains__ keys values items qsize empty full".split())


@pytest.mark.parametrize(("name", "members"), MEMBERS.items())
def test_both_names_have_every_member(name: str, members: str) -> None:
    short, long = getattr(coopy.batteries, name), getattr(coopy.batteries, f"Repl{name}")
    assert issubclass(long, short)
    for member in members.split():
        assert callable(getattr(short, member)) and callable(getattr(long, member))


@pytest.mark.parametrize("name", MEMBERS)
def test_reads_are_not_recorded_and_writes_are(name: str) -> None:
    system = memory_system(getattr(coopy.batteries, f"Repl{name}")())
    args: dict[str, tuple[Any, ...]] = {
        "get": (0,) if name == "List" else ("k",),
        "index": (1,),
        "count": (1,),
        "__getitem__": (0,),
        "__contains__": (1,),
    }
    for member in MEMBERS[name].split():
        if member not in READS or (member == "get" and "Queue" in name):
            continue
        before = control(system).index
        with suppress(IndexError, KeyError, ValueError):
            getattr(system, member)(*(() if name == "Counter" else args.get(member, ())))
        assert control(system).index == before, member


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_structure_passes_the_strictest_validation_and_is_opened_with_check(name: str, tmp_path: Path) -> None:
    make, _ = STRUCTURES[name]
    validate(type(make()), "strict", check=True)
    init_system(make(), tmp_path / "checked", check=True).close()


def test_the_source_of_a_structure_is_not_read_when_it_is_opened_and_that_of_a_class_derived_from_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Named(ReplCounter):
        pass

    looked_at: list[type] = []
    monkeypatch.setattr(glance.Glance, "is_settled", lambda self: bool(looked_at.append(self._cls)) or True)
    init_system(ReplCounter, tmp_path / "ours", validation="strict").close()
    assert looked_at == []
    init_system(Named, tmp_path / "derived", validation="strict").close()
    assert looked_at == [Named]


def test_a_counter_returns_the_new_value() -> None:
    counter = memory_system(ReplCounter)
    assert [counter.set(5), counter.add(3), counter.sub(1), counter.inc(), counter.get()] == [5, 8, 7, 8, 8]
    assert counter.dec() == 7 and counter.get_and_set(1) == 7
    assert counter == 1 and int(counter) == 1 and float(counter) == 1.0 and list(range(counter)) == [0] and bool(counter)


def test_a_list_has_every_member() -> None:
    items = memory_system(ReplList)
    items.reset([3, 1, 2])
    items.set(0, 4)
    items.append(5)
    items.extend([6, 7])
    items.insert(1, 9)
    items[2] = 8
    assert items.rawData() == [4, 9, 8, 2, 5, 6, 7] and type(items.rawData()) is list
    items.remove(9)
    with pytest.raises(ValueError):
        items.remove(9)
    with pytest.raises(ValueError):
        items.index(9)
    assert (items.index(8), items.count(8), items.get(0), items[1], len(items)) == (1, 1, 4, 8, 6)
    items.sort(True)
    assert items == [8, 7, 6, 5, 4, 2]
    items.sort()
    assert items == [2, 4, 5, 6, 7, 8]


def test_pop_of_a_list_takes_the_last_by_default() -> None:
    items = memory_system(ReplList([1, 2, 3]))
    assert (items.pop(), items.pop(0), items.pop(None), len(items)) == (3, 1, 2, 0)
    with pytest.raises(IndexError):
        items.pop()


def test_a_dict_has_every_member() -> None:
    found = memory_system(ReplDict)
    found.reset({"a": 1})
    found["b"] = 2
    found.set("c", 3)
    found.update({"d": 4}, e=5)
    assert (found.setdefault("a", 9), found.setdefault("f", 6)) == (1, 6)
    assert (found["b"], found.get("x"), found.get("x", 0), len(found), "b" in found) == (2, None, 0, 6, True)
    assert (list(found.keys()), list(found.values()), found.items() >= {("a", 1)}) == (list("abcdef"), [1, 2, 3, 4, 5, 6], True)
    assert (found.pop("a"), found.pop("a"), found.pop("a", 0)) == (1, None, 0)
    assert found.rawData() == {"b": 2, "c": 3, "d": 4, "e": 5, "f": 6}
    found.clear()
    assert found == {}


def test_pop_of_a_dict_raises_as_a_dict_does_and_that_of_a_repl_dict_does_not() -> None:
    found = memory_system(coopy.batteries.Dict)
    with pytest.raises(KeyError):
        found.pop("a")
    assert memory_system(ReplDict).pop("a") is None


def test_a_set_has_every_member() -> None:
    found = memory_system(ReplSet)
    found.reset(["b", "a"])
    found.add("c")
    found.update(["d"], ["e"])
    found.remove("b")
    with pytest.raises(KeyError):
        found.remove("b")
    found.discard("b")
    assert (len(found), "a" in found, found.rawData(), found.pop()) == (4, True, {"a", "c", "d", "e"}, "a")
    found.clear()
    with pytest.raises(KeyError):
        found.pop()


def test_pop_of_a_set_takes_the_oldest() -> None:
    found = memory_system(ReplSet)
    for word in "zebra ant mule ant".split():
        found.add(word)
    assert [found.pop(), found.pop(), found.pop()] == ["zebra", "ant", "mule"]


@pytest.mark.parametrize("kind", [ReplQueue, ReplPriorityQueue])
def test_a_queue_says_whether_there_was_room_and_gives_the_default_when_it_is_empty(kind: Callable[..., Any]) -> None:
    found = memory_system(kind(maxsize=2))
    assert (found.empty(), found.put(1), found.full(), found.put(2), found.put(3)) == (True, True, False, True, False)
    assert (found.qsize(), len(found), found.full(), found.remaining_capacity()) == (2, 2, True, 0)
    assert [found.get(), found.get(), found.get(), found.get("none"), found.get(default=0)] == [1, 2, None, "none", 0]
    with pytest.raises(Empty):
        found.get(block=False)
    assert found.put_many([1, 2, 3]) == 2
    with pytest.raises(Full):
        found.put(4, block=False)
    with pytest.raises(Full):
        found.put_nowait(4)


def test_an_instance_with_arguments_is_opened_and_comes_back(tmp_path: Path) -> None:
    with init_system(ReplQueue(maxsize=2), tmp_path) as found:
        found.put("a")
    with init_system(ReplQueue, tmp_path) as found:
        assert (found.maxsize, found.get()) == (2, "a")
