"""What is read out of a structure never changes it, and what is edited is one action."""

from __future__ import annotations

import asyncio
import copy
import enum
import json
import pickle
from collections import namedtuple
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from batteries.opened import memory_system

import coopy.aio
from coopy import SystemClosed, control, init_system, replay
from coopy.batteries import Deque, Dict, EditConflict, Frozen, List, LRUCache, MultiDict, Queue, Set, TTLCache, thawed

Pair = namedtuple("Pair", "one other")


class Colour(enum.Enum):
    RED = 1


@dataclass
class Page:
    title: str
    tags: list[str] = field(default_factory=list)


class Plain:
    """A class without an ``__eq__``."""

    def __init__(self) -> None:
        self.items: list[int] = []


CHANGES = {
    "list": ([1, [2]], lambda value: [value.append(3), value[1].append(3)]),
    "dict": ({"x": {"y": 1}}, lambda value: value["x"].update(y=2)),
    "set": ({1, 2}, lambda value: value.add(3)),
    "tuple of lists": (([1],), lambda value: value[0].append(2)),
    "named tuple of lists": (Pair([1], 2), lambda value: value.one.clear()),
    "dataclass": (Page("Home"), lambda value: value.tags.append("new")),
    "bytearray": (bytearray(b"ab"), lambda value: value.extend(b"c")),
    "list of objects": ([Page("Home")], lambda value: value[0].tags.append("new")),
}


def reads(value: Any) -> dict[str, Any]:
    """Returns, by name, a structure that has the value, and what reads it out."""
    multi: MultiDict[str, Any] = MultiDict([("k", value)])
    ttl: TTLCache[str, Any] = TTLCache()
    lru: LRUCache[str, Any] = LRUCache()
    ttl["k"] = lru["k"] = value
    queue: Queue[Any] = Queue()
    queue.put(value)
    return {
        "List[]": (List([value]), lambda found: found[0]),
        "List.get": (List([value]), lambda found: found.get(0)),
        "List.__iter__": (List([value]), lambda found: next(iter(found))),
        "List[:]": (List([value]), lambda found: found[:][0]),
        "List.rawData": (List([value]), lambda found: found.rawData()[0]),
        "Deque[]": (Deque([value]), lambda found: found[0]),
        "Deque.peek": (Deque([value]), lambda found: found.peek()),
        "Dict[]": (Dict(k=value), lambda found: found["k"]),
        "Dict.get": (Dict(k=value), lambda found: found.get("k")),
        "Dict.values": (Dict(k=value), lambda found: next(iter(found.values()))),
        "Dict.items": (Dict(k=value), lambda found: next(iter(found.items()))[1]),
        "Dict.setdefault": (Dict(k=value), lambda found: found.setdefault("k", 1)),
        "Dict.rawData": (Dict(k=value), lambda found: found.rawData()["k"]),
        "Dict.get_all": (Dict(k=value), lambda found: found.get_all(["k"])["k"]),
        "MultiDict.getall": (multi, lambda found: found.getall("k")[0]),
        "MultiDict.getone": (multi, lambda found: found.getone("k")),
        "TTLCache.get": (ttl, lambda found: found.get("k")),
        "LRUCache.get": (lru, lambda found: found.get("k")),
        "LRUCache.peek": (lru, lambda found: found.peek("k")),
        "Queue.peek": (queue, lambda found: found.peek()),
        "Queue.rawData": (queue, lambda found: found.rawData()[0]),
    }


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("read", reads(0))
def test_a_value_that_was_read_out_does_not_change_the_state(what: str, read: str) -> None:
    value, change = CHANGES[what]
    structure, look = reads(copy.deepcopy(value))[read]
    system = memory_system(structure)
    found = look(system)
    assert found == value
    with suppress(Frozen):
        change(found)
    assert look(system) == value


@pytest.mark.parametrize("what", ["list", "dict", "set"])
def test_a_change_of_a_plain_value_raises_and_says_what_to_do(what: str) -> None:
    value, change = CHANGES[what]
    found = Dict(k=value)["k"]
    with pytest.raises(Frozen, match="with structure.edit"):
        change(found)


def test_frozen_values_are_lists_dicts_and_sets_for_those_who_read_them() -> None:
    value = {"list": [1, 2], "set": {3}, "dict": {"x": 1}}
    found = Dict(k=value)["k"]
    assert isinstance(found, dict) and isinstance(found["list"], list) and isinstance(found["set"], set)
    assert found == value and repr(found["list"]) == "[1, 2]" and repr(found["set"]) == "{3}"
    assert json.dumps({"list": found["list"], "dict": found["dict"]}) == '{"list": [1, 2], "dict": {"x": 1}}'
    assert found["list"] + [3] == [1, 2, 3] and found["dict"] | {"y": 2} == {"x": 1, "y": 2} and found["set"] | {4} == {3, 4}


@pytest.mark.parametrize(
    "plain",
    [lambda v: v.copy(), copy.copy, copy.deepcopy, thawed, lambda v: type(v).__mro__[1](v)],
    ids=["copy()", "copy", "deepcopy", "thawed", "type"],
)
@pytest.mark.parametrize("value", [[1], {1: 2}, {1}], ids=["list", "dict", "set"])
def test_a_copy_of_a_frozen_value_is_plain(value: Any, plain: Any) -> None:
    found = plain(Dict(k=value)["k"])
    assert type(found) is type(value) and found == value


def test_every_method_that_changes_a_builtin_is_refused() -> None:
    for value in ([1], {1: 2}, {1}):
        frozen = Dict(k=value)["k"]
        names = [name for name in dir(value) if callable(getattr(value, name))]
        for name in set(names) & {
            *"append extend insert remove pop clear sort reverse popitem setdefault update add discard".split()
        }:
            with pytest.raises(Frozen):
                getattr(frozen, name)()
        for name in [
            name for name in names if name.startswith("__i") and name not in ("__init__", "__init_subclass__", "__iter__")
        ]:
            with pytest.raises(Frozen):
                getattr(frozen, name)([2])


def test_what_can_not_be_changed_is_given_out_as_it_is() -> None:
    for value in (1, "a", None, 2.5, (1, "a"), frozenset({1}), Colour.RED, range(3)):
        assert Dict(k=value)["k"] is value


def test_what_is_taken_out_is_plain_and_nobody_elses() -> None:
    assert type(Dict(k=[[1]]).pop("k")) is list and type(Dict(k=[[1]]).pop("k")[0]) is list
    assert type(List([{1: [2]}]).pop()[1]) is list
    assert type(Deque([[1]]).popleft()) is list
    assert type(MultiDict([("k", [1])]).popall("k")[0]) is list
    queue: Queue[list[int]] = Queue()
    queue.put([1])
    assert type(queue.get()) is list


def test_a_value_that_contains_itself_or_is_very_deep_is_kept_and_given_out_as_a_copy() -> None:
    ring: list[Any] = [1]
    ring.append(ring)
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]
    found = Dict(ring=ring, deep=deep)
    assert found["ring"][1][1][0] == 1 and found["ring"] is not ring
    found["ring"].append(2)
    assert len(found["ring"]) == 2 and found["deep"] == deep


def test_frozen_values_and_objects_survive_a_snapshot_and_a_replay(tmp_path: Path) -> None:
    value = {"a": [1, {2}], "b": Page("Home", ["x"]), "c": ([1], Pair([2], 3))}
    with init_system(Dict, tmp_path) as found:
        found["k"] = value
        digest = control(found).state_digest()
        assert replay(Dict, tmp_path)["k"] == value
        control(found).take_snapshot()
    with init_system(Dict, tmp_path) as found:
        assert found["k"] == value and control(found).state_digest() == digest
        found["frozen"] = {"list": [1]}
    with init_system(Dict, tmp_path) as found:
        with pytest.raises(Frozen):
            found["frozen"]["list"].append(1)
    assert pickle.loads(pickle.dumps(Dict(k=value))) == Dict(k=value)


# -- edit


EDITED = {
    "Dict": lambda: (Dict(k={"n": [1]}), "k"),
    "List": lambda: (List([0, {"n": [1]}]), -1),
    "Deque": lambda: (Deque([{"n": [1]}]), 0),
    "TTLCache": lambda: (with_k(TTLCache()), "k"),
    "LRUCache": lambda: (with_k(LRUCache()), "k"),
}


def with_k(cache: Any) -> Any:
    cache["k"] = {"n": [1]}
    return cache


@pytest.mark.parametrize("name", EDITED)
def test_an_edit_is_one_action(name: str, tmp_path: Path) -> None:
    structure, key = EDITED[name]()
    with init_system(structure, tmp_path) as system:
        with system.edit(key) as value:
            value["n"].append(2)
            value["m"] = 0
        assert control(system).index == 1 and system[key] == {"n": [1, 2], "m": 0}
        with system.edit(key) as value:
            pass
        assert control(system).index == 1, "nothing was changed"
        with pytest.raises(ZeroDivisionError), system.edit(key) as value:
            value["n"].append(1 / 0)
        assert control(system).index == 1
    with init_system(structure, tmp_path) as system:
        assert system[key] == {"n": [1, 2], "m": 0}


@pytest.mark.parametrize("value", [{"n": 1}, [1], Page("Home"), Plain()], ids=lambda value: type(value).__name__)
def test_an_edit_of_what_was_changed_meanwhile_is_refused(value: Any) -> None:
    system = memory_system(Dict(k=value))
    with pytest.raises(EditConflict, match="'k'"), system.edit("k") as edited:
        system["k"] = "another"
        if isinstance(edited, dict):
            edited.clear()
        else:
            (edited if isinstance(edited, list) else vars(edited).setdefault("tags", [])).append(2)
    assert system["k"] == "another"


def test_objects_without_an_eq_can_be_edited() -> None:
    system = memory_system(Dict(k=Plain()))
    with system.edit("k") as edited:
        edited.items.append(1)
    assert system["k"].items == [1]


def test_what_can_not_be_changed_in_place_can_not_be_edited() -> None:
    system = memory_system(Dict(k=1))
    with pytest.raises(TypeError, match="can't be changed in place"):
        system.edit("k")
    with pytest.raises(KeyError):
        system.edit("nothing")


def test_an_edit_goes_to_the_system_that_it_came_from(tmp_path: Path) -> None:
    one, other = memory_system(Dict(k=[1])), memory_system(Dict(k=[1]))
    with init_system(Dict(k=[1]), tmp_path):
        with one.edit("k") as edited:
            edited.append(2)
    assert (one["k"], other["k"]) == ([1, 2], [1])


def test_an_edit_that_outlives_its_system_is_refused(tmp_path: Path) -> None:
    system = init_system(Dict(k=[1]), tmp_path)
    with pytest.raises(SystemClosed), system.edit("k") as edited:
        edited.append(2)
        control(system).close()


def test_an_edit_inside_an_action_of_another_class_is_part_of_it(tmp_path: Path) -> None:
    with init_system(Shop, tmp_path) as shop:
        shop.more("tea")
        shop.more("tea")
        assert control(shop).index == 2
    with init_system(Shop, tmp_path) as shop:
        assert shop.stock["tea"] == {"count": 2} and shop.jobs.qsize() == 2 and list(shop.seen) == ["tea"]


class Shop:
    def __init__(self) -> None:
        self.stock: Dict[str, dict[str, int]] = Dict(tea={"count": 0})
        self.jobs: Queue[str] = Queue()
        self.seen: Set[str] = Set()

    def more(self, article: str) -> None:
        with self.stock.edit(article) as found:
            found["count"] += 1
        self.jobs.put(article)
        self.seen.add(article)


def test_an_edit_in_an_event_loop_is_one_action(tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(Dict(k=[1]), tmp_path) as system:
            async with await system.edit("k") as value:
                value.append(2)
            assert await system.get("k") == [1, 2]
            assert control(coopy.aio.system_of(system)).index == 1

    asyncio.run(main())
