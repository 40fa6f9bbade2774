"""What has the name of a read and writes is recorded."""

from __future__ import annotations

import functools
import heapq
import random
from collections import Counter, OrderedDict, UserDict, UserList, defaultdict
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from alike import alike

from coopy import action, control, readonly
from coopy.determinism import check
from coopy.spine.attributes import care_of
from coopy.spine.methods import kind_of
from coopy.testing import memory_system


class LRU(OrderedDict):  # type: ignore[type-arg]
    """As in the documentation of OrderedDict."""

    def __getitem__(self, key: Any) -> Any:
        value = super().__getitem__(key)
        self.move_to_end(key)
        return value

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        if len(self) > 2:
            del self[next(iter(self))]


class Expiring(dict):  # type: ignore[type-arg]
    """What is too old goes when somebody looks."""

    def purge(self) -> None:
        for key in [key for key in dict.keys(self) if key < 3]:
            del self[key]

    def __contains__(self, key: object) -> bool:
        self.purge()
        return super().__contains__(key)

    def __len__(self) -> int:
        self.purge()
        return super().__len__()

    def __iter__(self) -> Iterator[Any]:
        self.purge()
        return super().__iter__()


class Counted(MutableMapping):  # type: ignore[type-arg]
    """All that `MutableMapping` gives calls __getitem__, which counts."""

    def __init__(self) -> None:
        self.held: dict[Any, Any] = {}
        self.hits: Counter[Any] = Counter()

    def __getitem__(self, key: Any) -> Any:
        self.hits[key] += 1
        return self.held[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.held[key] = value

    def __delitem__(self, key: Any) -> None:
        del self.held[key]

    def __len__(self) -> int:
        return len(self.held)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.held)


class CountedUserDict(UserDict):  # type: ignore[type-arg]
    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] = []

    def __getitem__(self, key: Any) -> Any:
        self.asked.append(key)
        return super().__getitem__(key)


class Used(UserList):  # type: ignore[type-arg]
    """An inner object that a method of the class has made is changed."""

    def __init__(self) -> None:
        super().__init__()
        self.usage = Usage()

    def __getitem__(self, place: Any) -> Any:
        self.usage.note(place)
        return self.data[place]


class Usage:
    def __init__(self) -> None:
        self.places: list[Any] = []

    def note(self, place: Any) -> None:
        self.places.append(place)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Usage) and other.places == self.places

    __hash__ = None  # type: ignore[assignment]


def _touch(owner: Any, key: Any) -> None:
    owner.order.append(key)


def _noted(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def wrapper(self: Any, *args: Any) -> Any:
        self.order.append(args)
        return method(self, *args)

    return wrapper


class Operators:
    """Each writes in a way of its own."""

    def __init__(self) -> None:
        self.order: list[Any] = []
        self.heap = [1, 2, 3]
        self.groups: defaultdict[Any, list[Any]] = defaultdict(list)
        self.links = {"a": [1, 2]}
        self.times = 0

    def __contains__(self, key: object) -> bool:
        _touch(self, key)
        return True

    @_noted
    def __getitem__(self, key: Any) -> Any:
        return key

    def __len__(self) -> int:
        return int(heapq.heappop(self.heap))

    def __bool__(self) -> bool:
        return bool(self.groups["a"])

    def __iter__(self) -> Iterator[Any]:
        self.times += 1
        return iter(self.order)

    def __reversed__(self) -> Iterator[Any]:
        for link in self.links.values():
            link.append(3)
            yield link[-1]

    def __int__(self) -> int:
        first, _ = self.links["a"][:2]
        note = self.order.append
        note(first)
        return int(first)

    def __add__(self, other: Any) -> Any:
        self.order.append(other)
        return len(self.order)

    def __call__(self) -> int:
        return self.times

    def __format__(self, how: str) -> str:
        setattr(self, "how", how)  # noqa: B010 - one of the ways
        return how


class Pure:
    """Nothing here writes, however it looks."""

    def __init__(self) -> None:
        self.held = {"a": [1]}

    def __getitem__(self, key: Any) -> Any:
        found = dict(self.held)
        found["b"] = [2]
        return found[key]

    def __len__(self) -> int:
        rest = self.held["a"][:]
        rest.append(2)
        return len(rest)

    def __add__(self, other: Any) -> Any:
        made = Pure()
        made.held = dict(self.held)
        made.held["b"] = other
        return made.held

    def __contains__(self, key: object) -> bool:
        return any(key == each for each in sorted(self.held))


class Marked:
    def __init__(self) -> None:
        self.seen: list[Any] = []

    @action
    def __getitem__(self, key: Any) -> Any:
        getattr(self, "see" + "n").append(key)
        return key

    @property
    @action
    def newest(self) -> int:
        getattr(self, "see" + "n").append("newest")
        return len(self.seen)

    @readonly
    def __len__(self) -> int:
        self.__dict__["_cached"] = None
        del self.__dict__["_cached"]
        return 7


def test_the_recipes_of_caches_live_on_as_they_were(tmp_path: Path) -> None:
    assert 0 < alike(
        tmp_path / "a", LRU, *_set("a", "b"), lambda c: c["a"], *_set("c"), list, lambda c: c["b"], lambda c: c["a"]
    )
    alike(tmp_path / "b", Expiring, lambda c: c.update({1: 1, 5: 5}), lambda c: 5 in c, lambda c: c.update({2: 2}), len)
    alike(tmp_path / "c", Expiring, lambda c: c.update({1: 1, 5: 5}), list)


def _set(*keys: str) -> Iterator[Callable[[Any], Any]]:
    return (functools.partial(_put, key=key) for key in keys)


def _put(cache: Any, key: str) -> None:
    cache[key] = key


@pytest.mark.parametrize("cls", [Counted, CountedUserDict])
def test_what_a_mapping_inherits_is_recorded_if_it_calls_what_writes(tmp_path: Path, cls: Any) -> None:
    looks: list[Callable[[Any], Any]] = [
        lambda c: c["a"],
        lambda c: c.get("b"),
        lambda c: c.get("z"),
        lambda c: list(c.items()),
        lambda c: list(c.values()),
        lambda c: c == {"a": "a", "b": "b"},
    ]
    alike(tmp_path, cls, *_set("a", "b"), *looks)


def test_each_way_to_write_is_seen(tmp_path: Path) -> None:
    looks: list[Callable[[Any], Any]] = [
        lambda c: 3 in c,
        lambda c: c["k"],
        len,
        bool,
        list,
        lambda c: list(reversed(c)),
        int,
        lambda c: c + 5,
        lambda c: f"{c:wide}",
    ]
    # A list asks for the length as well, to make room.
    index = alike(tmp_path, Operators, *looks)
    assert index >= len(looks)


def test_what_a_part_does_is_seen_if_the_class_has_made_it(tmp_path: Path) -> None:
    assert alike(tmp_path, Used, lambda c: c.append(5), lambda c: c[0], lambda c: c[-1]) == 3


def test_what_only_looks_like_writing_is_a_read(tmp_path: Path) -> None:
    assert alike(tmp_path, Pure, lambda c: c["b"], len, lambda c: c + 1, lambda c: "a" in c) == 0


def test_the_marks_say_what_is_recorded() -> None:
    system: Any = memory_system(Marked, validation="off")
    assert (system["a"], system.newest, len(system)) == ("a", 2, 7)
    assert control(system).index == 2
    assert control(system).replay().seen == system.seen == ["a", "newest"]
    assert Marked()["b"] == "b" and Marked().newest == 1


def test_check_tells_of_what_is_recorded_and_opening_does_not(recwarn: pytest.WarningsRecorder) -> None:
    found = [each for each in check.check([LRU]) if each.code == "CPY214"]
    assert [(each.severity, each.message) for each in found] == [
        ("note", "LRU.__getitem__ changes move_to_end(), and so is recorded")
    ]
    memory_system(LRU, check=True)
    assert not [each for each in recwarn if "CPY214" in str(each.message)]


class Entry:
    def __init__(self) -> None:
        self.hits = 0

    def hit(self) -> None:
        self.hits += 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entry) and other.hits == self.hits

    __hash__ = None  # type: ignore[assignment]


class Roundabout:
    """Each writes to what it comes by in a way of its own: the key says in which."""

    def __init__(self) -> None:
        self.entries = {"a": Entry(), "b": Entry()}
        self.line = [Entry()]
        self.notes: list[Any] = []
        self.dice = random.Random(1)

    def _entry(self, key: Any) -> Any:
        return self.entries[key]

    def _all(self) -> Iterator[Any]:
        yield from self.entries.values()


def _getattribute(self: Any, key: Any) -> Any:
    notes = object.__getattribute__(self, "notes")
    notes.append(key)


def _getattr(self: Any, key: Any) -> Any:
    getattr(self, "notes").append(key)  # noqa: B009 - one of the ways


def _unbound(self: Any, key: Any) -> Any:
    list.append(self.notes, key)


def _unbound_look(self: Any, key: Any) -> Any:
    dict.__getitem__(self.entries, key).hits += 1


def _one_or_the_other(self: Any, key: Any) -> Any:
    entry = self.entries["a"] if key == "a" else self.entries["b"]
    entry.hits += 1


def _or_a_new_one(self: Any, key: Any) -> Any:
    entry = self.entries.get(key) or Entry()
    entry.hits += 1


def _if_there(self: Any, key: Any) -> Any:
    entry = None
    if key in self.entries:
        entry = self.entries[key]
    entry.hits += 1


def _along_a_chain(self: Any, key: Any) -> Any:
    entry = self.line[0]
    while entry is not None:
        entry.hits += 1
        entry = getattr(entry, "next", None)


def _comprehension(self: Any, key: Any) -> Any:
    return len([each.hit() for each in self.line])


def _generator(self: Any, key: Any) -> Any:
    next(each for each in self.entries.values() if each.hits < 9).hits += 1


def _first(self: Any, key: Any) -> Any:
    first, *_ = self.line
    first.hits += 1


def _smallest(self: Any, key: Any) -> Any:
    min(self.line, key=id).hits += 1


def _given_to_map(self: Any, key: Any) -> Any:
    return list(map(self.notes.append, [key]))


def _given_to_an_inner_function(self: Any, key: Any) -> Any:
    def note(notes: Any) -> None:
        notes.append(key)

    note(self.notes)


def _by_name(self: Any, key: Any) -> Any:
    _noted_by_name(key=key, owner=self)


def _noted_by_name(key: Any, owner: Any) -> None:
    owner.notes.append(key)


def _in_place(self: Any, key: Any) -> Any:
    notes = self.notes
    notes += [key]


def _of_its_own_method(self: Any, key: Any) -> Any:
    self._entry(key).hits += 1


def _of_its_own_generator(self: Any, key: Any) -> Any:
    for each in self._all():
        each.hits += 1


def _method_of_an_item(self: Any, key: Any) -> Any:
    self.entries[key].hit()


def _draw(self: Any, key: Any) -> Any:
    return self.dice.random()


def _through_its_class(self: Any, key: Any) -> Any:
    self.__class__.note(self, key)


def _through_its_type(self: Any, key: Any) -> Any:
    type(self).note(self, key)


def _called(self: Any, key: Any) -> Any:
    return self(key)


def _asked_for_its_length(self: Any, key: Any) -> Any:
    return len(self)


_WAYS = [
    _getattribute,
    _getattr,
    _unbound,
    _unbound_look,
    _one_or_the_other,
    _or_a_new_one,
    _if_there,
    _along_a_chain,
    _comprehension,
    _generator,
    _first,
    _smallest,
    _given_to_map,
    _given_to_an_inner_function,
    _by_name,
    _in_place,
    _of_its_own_method,
    _of_its_own_generator,
    _method_of_an_item,
    _draw,
    _through_its_class,
    _through_its_type,
    _called,
    _asked_for_its_length,
]


@pytest.mark.parametrize("way", _WAYS, ids=lambda way: way.__name__)
def test_what_writes_to_what_it_comes_by_in_a_roundabout_way_is_recorded(way: Callable[..., Any]) -> None:
    def note(self: Any, key: Any) -> Any:
        self.notes.append(key)

    more = {"note": note, "__call__": note, "__len__": lambda self: self.notes.append(7) or 7}
    cls = type("Roundabout", (Roundabout,), {"__getitem__": way, "seen": property(lambda self: way(self, "a")), **more})
    assert kind_of(cls, "__getitem__", way) == "action"
    assert care_of(cls).get("seen")


def _keeps_nothing(self: Any, key: Any) -> Any:
    times = self.count
    times += 1
    found = [each.hits for each in self.line] or [1]
    found.append(times)
    kept = {key: Entry()}
    kept[key].hits += 1
    SEEN.pop(self, None)
    return found


SEEN: dict[Any, Any] = {}


def test_what_goes_round_and_changes_its_own_alone_is_a_read() -> None:
    assert kind_of(type("Roundabout", (Roundabout,), {"__getitem__": _keeps_nothing}), "__getitem__", _keeps_nothing) == "read"


def _noted_before(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def wrapper(*args: Any) -> Any:
        args[0].notes.append(args[1:])
        return method(*args)

    return wrapper


class Wrapped:
    def __init__(self) -> None:
        self.notes: list[Any] = []

    @property
    @_noted_before
    def price(self) -> int:
        return len(self.notes)

    @_noted_before
    def __getitem__(self, key: Any) -> Any:
        return key


def test_what_a_wrapper_with_nothing_but_args_writes_is_recorded(tmp_path: Path) -> None:
    assert alike(tmp_path, Wrapped, lambda c: c.price, lambda c: c["a"], lambda c: c.price) == 3


class Doubling(UserDict):  # type: ignore[type-arg]
    def __missing__(self, key: Any) -> Any:
        self.data[key] = key * 2
        return self.data[key]


def test_what_is_made_because_it_is_missing_is_recorded_whichever_method_looks(tmp_path: Path) -> None:
    alike(tmp_path, Doubling, lambda c: c["a"], lambda c: c.get("b"), lambda c: c.setdefault("c", 1), lambda c: list(c.data))


class Watched:
    """Each attribute that is read is counted."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}

    def __getattribute__(self, name: str) -> Any:
        if name == "price":
            seen = object.__getattribute__(self, "seen")
            seen[name] = seen.get(name, 0) + 1
            return seen[name]
        return object.__getattribute__(self, name)


def test_what_counts_its_own_attributes_is_recorded(tmp_path: Path) -> None:
    alike(tmp_path, Watched, lambda c: c.price, lambda c: c.price)
