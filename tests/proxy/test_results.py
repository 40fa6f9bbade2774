"""What a method gives of the state: the object itself, a view that refuses to be changed, or a copy. In all ways to open a system."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import threading
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field

import pytest
from alike import domain_of
from shared.apart import open_apart

import coopy
from coopy import aio, control, entity, init_system, outside, readonly
from coopy.errors import EncodingError, UsageError
from coopy.testing import crash, memory_system


class Page:
    def __init__(self, name):
        self.name = name
        self.links = []

    def rename(self, name):
        self.name = name

    def shown(self):
        return f"{self.name}: {len(self.links)}"

    @property
    def newest(self):
        return self.links[-1]


@dataclass
class Tag:
    words: list = field(default_factory=list)


class Slotted:
    __slots__ = ("words",)

    def __init__(self):
        self.words = ["a"]


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
KINDS = {
    "list": ([[1], 2], lambda each: each.append(3)),
    "list in a list": ([[1], 2], lambda each: each[0].append(3)),
    "slice": ([[1], 2], lambda each: each[:1][0].append(3)),
    "dict": ({"a": {"b": 1}}, lambda each: each.update(c=1)),
    "dict item": ({"a": {"b": 1}}, lambda each: each.__setitem__("c", 1)),
    "dict in a dict": ({"a": {"b": 1}}, lambda each: each["a"].pop("b")),
    "values": ({"a": {"b": 1}}, lambda each: next(iter(each.values())).clear()),
    "items": ({"a": [1]}, lambda each: [value.append(1) for _, value in each.items()]),
    "get": ({"a": [1]}, lambda each: each.get("a").append(2)),
    "set": ({1, 2}, lambda each: each.add(3)),
    "deque": (deque([[1]]), lambda each: each.appendleft(1)),
    "deque in place": (deque([1]), lambda each: each.__iadd__([2])),
    "Counter": (Counter("ab"), lambda each: each.subtract("a")),
    "OrderedDict": (OrderedDict(a=1, b=2), lambda each: each.move_to_end("a")),
    "defaultdict": (defaultdict(list, a=[1]), lambda each: each["b"]),
    "bytearray": (bytearray(b"ab"), lambda each: each.__setitem__(0, 1)),
    "object": (Page("a"), lambda each: setattr(each, "name", "b")),
    "method of an object": (Page("a"), lambda each: each.rename("b")),
    "part of an object": (Page("a"), lambda each: each.links.append("b")),
    "dict of an object": (Page("a"), lambda each: each.__dict__.update(name="b")),
    "deleted": (Page("a"), lambda each: delattr(each, "name")),
    "dataclass": (Tag(["a"]), lambda each: each.words.remove("a")),
    "slots": (Slotted(), lambda each: each.words.append("b")),
    "tuple": (([1], 2), lambda each: each[0].append(3)),
    "sorted in place": ([2, 1], lambda each: each.sort()),
    "del": ([2, 1], lambda each: each.__delitem__(0)),
}


class Store:
    def __init__(self, what=None):
        self.what = what
        self.pages = {}
        self.count = 0

    def returned(self):
        self.count += 1
        return self.what

    @readonly
    def looked(self):
        return self.what

    @readonly
    def each(self):
        yield self.what

    def create(self, name):
        self.pages[name] = Page(name)
        return self.pages[name]

    def link(self, source, target):
        source.links.append(target)

    def inside(self):
        self.returned_inside().append(9)
        return len(self.what)

    def returned_inside(self):
        return self.what

    @outside
    def through(self):
        return self.returned()


def state_of(system):
    return copy.deepcopy(domain_of(system).what)


WAYS = {
    "action": lambda system: system.returned(),
    "read": lambda system: system.looked(),
    "attribute": lambda system: system.what,
    "generator": lambda system: next(system.each()),
    "outside": lambda system: system.through(),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_is_the_callers_own(kind, way):
    what, change = KINDS[kind]
    with memory_system(Store(copy.deepcopy(what)), results="copy") as system:
        change(WAYS[way](system))
        now, kept = state_of(system), domain_of(system).what
        assert pickle.dumps(now) == pickle.dumps(copy.deepcopy(what)) or now == what or vars(kept) == vars(what)


@pytest.mark.parametrize("way", WAYS)
def test_a_view_refuses_to_be_changed_and_says_what_to_do(kind, way):
    what, change = KINDS[kind]
    with memory_system(Store(copy.deepcopy(what)), results="frozen") as system:
        found = WAYS[way](system)
        with pytest.raises(UsageError, match="Write a method of Store that does it"):
            change(found)
        assert repr(state_of(system)).partition(" at 0x")[0] == repr(what).partition(" at 0x")[0]


def test_a_view_reads_as_what_it_shows():
    what = {"a": [3, 1, 2], "page": Page("x")}
    with memory_system(Store(copy.deepcopy(what)), results="frozen") as system:
        found = system.what
        assert isinstance(found, dict) and isinstance(found["a"], list) and isinstance(found["page"], Page)
        assert found["a"] == [3, 1, 2] and [3, 1, 2] == found["a"] and found["a"] != [1]
        assert len(found) == 2 and "a" in found and list(found) == ["a", "page"] and bool(found["a"])
        assert sorted(found["a"]) == [1, 2, 3] and found["a"][1:] == [1, 2] and found["a"] + [4] == [3, 1, 2, 4]
        assert {**found}["a"] == [3, 1, 2] and [*found["a"]] == [3, 1, 2] and max(found["a"]) == 3
        assert found["page"].name == "x" and found["page"].shown() == "x: 0"
        assert repr(found["a"]) == "[3, 1, 2]" and str(found["a"]) == "[3, 1, 2]" and f"{found['a']}" == "[3, 1, 2]"
        assert found["a"].index(2) == 2 and found["a"].count(3) == 1
        mine = copy.deepcopy(found)
        mine["a"].append(4)
        assert type(mine) is dict and found["a"] == [3, 1, 2]
        assert json.dumps(found["a"], default=copy.copy) == "[3, 1, 2]"
        assert pickle.loads(pickle.dumps(found["a"])) == [3, 1, 2] and type(pickle.loads(pickle.dumps(found["a"]))) is list
        with pytest.raises(IndexError):
            found["a"][9]
        with pytest.raises(KeyError):
            found["c"]


@pytest.mark.parametrize("results", ["frozen", "copy"])
def test_inside_of_an_action_what_a_method_returns_is_live(results):
    with memory_system(Store([1]), results=results) as system:
        assert system.inside() == 2
        assert state_of(system) == [1, 9]


def test_a_view_is_found_by_its_key_as_the_object_is():
    class Kept(Page):
        pass

    globals()["Kept"] = Kept
    Kept.__qualname__ = "Kept"
    entity("pages", key="name")(Kept)

    class Wiki(Store):
        def create(self, name):
            self.pages[name] = Kept(name)
            return self.pages[name]

        def is_linked(self):
            return self.pages["a"].links[0] is self.pages["b"]

    with memory_system(Wiki, results="frozen", validation="off") as wiki:
        wiki.link(wiki.create("a"), wiki.create("b"))
        assert wiki.is_linked()


def test_the_default_gives_the_object_itself():
    with memory_system(Store([1])) as system:
        assert system.returned() is system.what is control(system)._system.engine.machine.domain.what


def test_what_is_done_with_an_attribute_is_recorded_if_asked_for_and_a_method_gives_the_object():
    with memory_system(Store([1]), results="recorded") as system:
        system.what.append(2)
        assert crash(system).what == [1, 2]
    with memory_system(Store([1]), results="recorded") as system:
        assert system.returned() is control(system)._system.engine.machine.domain.what


class Locked:
    def __init__(self):
        self.kept = [threading.Lock]
        self.count = 0

    @readonly
    def unkept(self):
        return [threading.Lock()]

    def change(self):
        self.count += 1
        return [threading.Lock()]


def test_what_can_not_be_copied_is_said_and_the_call_counts():
    with memory_system(Locked, results="copy") as system:
        with pytest.raises(EncodingError, match="can't be copied, as results='copy' asks for"):
            system.unkept()
        with pytest.raises(EncodingError) as caught:
            system.change()
        assert "change() is recorded, and counts." in caught.value.__notes__ if hasattr(caught.value, "__notes__") else True
        assert system.count == 1


def test_another_value_is_refused(tmp_path):
    with pytest.raises(UsageError, match="results='frosen': must be one of 'live', 'recorded', 'frozen', 'copy'"):
        init_system(Store, tmp_path / "d", results="frosen")


def opened_in_directory(path, results):
    return init_system(Store([[1]]), path / "d", results=results)


def opened_shared(path, results):
    return init_system(Store([[1]]), path / "d", shared=True, results=results)


def opened_checked(path, results):
    return memory_system(Store([[1]]), check=True, results=results)


def opened_for_a_test(path, results):
    return coopy.testing.open_system(Store([[1]]), path / "d", results=results)


@pytest.mark.parametrize("opened", [opened_in_directory, opened_shared, opened_checked, opened_for_a_test])
@pytest.mark.parametrize("results", ["frozen", "copy"])
def test_every_way_to_open_obeys(tmp_path, opened, results):
    with opened(tmp_path, results) as system:
        for way in WAYS.values():
            found = way(system)
            if results == "frozen":
                with pytest.raises(UsageError, match="results='frozen'"):
                    found[0].append(2)
            else:
                found[0].append(2)
        assert system.returned() == [[1]]


@pytest.mark.parametrize("results", ["frozen", "copy"])
def test_a_loop_obeys(tmp_path, results):
    async def run():
        system = await aio.open(Store([[1]]), tmp_path / "d", results=results)
        for found in (await system.returned(), await system.looked(), await system.what):
            if results == "frozen":
                with pytest.raises(UsageError, match="results='frozen'"):
                    found[0].append(2)
            else:
                found[0].append(2)
        assert await system.returned() == [[1]]
        assert await asyncio.gather(*(system.returned() for _ in range(20))) == [[[1]]] * 20
        await system.close()

    asyncio.run(run())


@pytest.mark.parametrize("how", ["follower", "reader", "connected"])
@pytest.mark.parametrize("results", ["frozen", "copy"])
def test_who_sends_calls_has_views_or_values(tmp_path, how, results):
    """What comes over a connection is a copy anyway, and who connects can't ask for another thing."""
    with open_apart(how, Store([[1]]), str(tmp_path / "d"), validation="off", results=results) as system:
        for way in ("action", "read", "attribute"):
            found = WAYS[way](system)
            if results == "frozen" and how != "connected":
                with pytest.raises(UsageError, match="results='frozen'"):
                    found[0].append(2)
            else:
                found[0].append(2)
        assert system.returned() == [[1]]
