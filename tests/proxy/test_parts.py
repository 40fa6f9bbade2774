"""Parts of the state in a caller's hands: what is done with them is recorded, and a replay comes to the same."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections import Counter, OrderedDict, UserDict, defaultdict, deque
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from coopy import UsageError, control, readonly
from coopy.batteries.frozen import FrozenDict, FrozenList, FrozenSet
from coopy.spine.attributes import is_of_parts
from coopy.testing import assert_replays, crash
from coopy.testing import memory_system as in_memory

memory_system = partial(in_memory, results="recorded")


class Seat:
    def __init__(self, name: str) -> None:
        self.name = name
        self.tags: list[str] = []

    def tag(self, text: str) -> Seat:
        self.tags.append(text)
        return self

    @readonly
    def shout(self) -> str:
        return self.name.upper()


class Desk:
    def __init__(self) -> None:
        self.items = [1, 2]
        self.pages: dict[str, Any] = {"a": {"b": [1]}}
        self.names = {"x"}
        self.text = bytearray(b"ab")
        self.queue = deque([1])
        self.counts = Counter("aab")
        self.lists: defaultdict[str, list[int]] = defaultdict(list)
        self.seats = [Seat("one"), Seat("two")]
        self.free = SimpleNamespace(size=1)
        self.pairs = ([1], [2])
        self.head = self.seats[0]
        self.moved: list[Any] = []

    def move(self) -> None:
        self.moved.append(self.seats.pop(0))

    def take(self, value: Any) -> str:
        self.moved.append(value)
        return type(value).__name__


def changes(desk: Any) -> list[Callable[[], object]]:
    return [
        lambda: desk.items.append(3),
        lambda: desk.items.__setitem__(0, 9),
        lambda: desk.pages["a"]["b"].append(2),
        lambda: desk.pages.setdefault("c", []).append(1),
        lambda: desk.pages.get("a").update(d=1),
        lambda: desk.names.add("y"),
        lambda: desk.text.extend(b"cd"),
        lambda: desk.queue.rotate(1) or desk.queue.appendleft(5),
        lambda: desk.counts.update("b"),
        lambda: desk.lists["new"].append(1),
        lambda: desk.seats[1].tag("a").tag("b"),
        lambda: setattr(desk.seats[0], "name", "first"),
        lambda: [seat.tag("all") for seat in desk.seats],
        lambda: [value.append(0) for value in desk.lists.values()],
        lambda: [value.append(key) for key, value in desk.lists.items()],
        lambda: setattr(desk.free, "size", 2),
        lambda: desk.pairs[1].append(3),
        lambda: desk.head.tags.append("head"),
        lambda: delattr(desk.free, "size"),
    ]


def seen(desk: Any) -> list[object]:
    seats = [(seat.name, list(seat.tags)) for seat in desk.seats]
    parts = [desk.items, desk.pages, desk.names, desk.text, desk.queue, desk.counts, desk.lists, desk.pairs, vars(desk.free)]
    return [*map(repr, parts), seats]


def test_what_is_done_with_a_part_is_recorded_and_comes_to_what_it_comes_to_without_a_system() -> None:
    plain, desk = Desk(), memory_system(Desk, validation="off")
    for number, (one, other) in enumerate(zip(changes(plain), changes(desk), strict=True), 1):
        one()
        other()
        assert seen(plain) == seen(desk), number
        assert control(desk).index >= number
    assert_replays(desk)


def test_looking_at_a_part_records_nothing() -> None:
    desk = memory_system(Desk, validation="off")
    assert (len(desk.items), 1 in desk.items, desk.items[0], list(desk.items), bool(desk.items)) == (2, True, 1, [1, 2], True)
    assert (desk.items == [1, 2], [1, 2] == desk.items, desk.items + [3], f"{desk.items}") == (True, True, [1, 2, 3], "[1, 2]")
    assert (desk.names | {"z"}, sorted(desk.pages), dict(desk.pages), desk.seats[1].shout()) == (
        {"x", "z"},
        ["a"],
        {"a": {"b": [1]}},
        "TWO",
    )
    assert isinstance(desk.items, list) and isinstance(desk.seats[0], Seat) and desk.items is desk.items
    assert desk.head is desk.seats[0] and desk.items.index(2) == 1
    rows = memory_system(Rows([((1, 2), (3, ()))]))
    assert rows[0] is rows[0] is next(iter(rows)), "a tuple that holds no part is itself"
    with pytest.raises(TypeError):
        hash(desk.items)
    assert control(desk).index == 0


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda part: pickle.loads(pickle.dumps(part))])
@pytest.mark.parametrize("name", ["items", "pages", "counts", "head"])
def test_a_copy_of_a_part_is_a_plain_object(name: str, make: Any) -> None:
    desk = memory_system(Desk, validation="off")
    found = make(getattr(desk, name))
    assert type(found) is type(getattr(Desk(), name)) and control(desk).index == 0


def test_in_place_operators_are_recorded() -> None:
    desk, plain = memory_system(Desk, validation="off"), Desk()
    for each in (desk, plain):
        each.items += [3]
        each.names |= {"z"}
        each.pages["a"]["b"] *= 2
        each.counts["a"] += 1
    assert seen(desk) == seen(plain)
    assert_replays(desk)


def test_a_part_as_an_argument_is_a_copy_of_what_it_stands_for() -> None:
    desk = memory_system(Desk, validation="off")
    assert [desk.take(desk.items), desk.take(desk.head), desk.take([desk.pages])] == ["list", "Seat", "list"]
    assert desk.moved[0] == [1, 2] and desk.moved[0] is not desk.items
    assert_replays(desk)


def test_a_part_that_is_nowhere_in_the_state_is_changed_as_any_object_is() -> None:
    desk = memory_system(Desk, validation="off")
    old, some, seats = desk.items, desk.items[:1], desk.seats[:1]
    desk.items = []
    old.append(7)
    some.append(8)
    seats.append("x")
    assert (list(old), list(some), len(seats), list(desk.items), len(desk.seats)) == ([1, 2, 7], [1, 8], 2, [], 2)
    seats[0].tag("sliced")
    assert desk.seats[0].tags == ["sliced"]
    assert_replays(desk)


def test_a_part_that_has_moved_in_the_state_can_be_read_and_is_not_changed() -> None:
    desk = memory_system(Desk, validation="off")
    seat = desk.seats[0]
    desk.move()
    index = control(desk).index
    with pytest.raises(UsageError, match=r"\.seats\[0\] of the system is another object by now than the Seat"):
        seat.tag("lost")
    assert (seat.name, seat.tags, control(desk).index) == ("one", [], index)
    desk.moved[0].tag("found")
    assert_replays(desk)


def test_a_part_can_be_read_after_the_system_is_closed() -> None:
    desk = memory_system(Desk, validation="off")
    items = desk.items
    control(desk).close()
    assert items == [1, 2]


class Rows(list[Any]):
    pass


class Table(dict[str, Any]):
    pass


class Lists(defaultdict[str, list[int]]):
    pass


class Recent(OrderedDict[str, Any]):
    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        self.move_to_end(key)
        return value


class Other(UserDict[str, Any]):
    pass


@pytest.mark.parametrize("made", [Table(a=[1]), Lists(list, a=[1]), Recent(a=[1]), Other(a=[1])])
def test_what_a_mapping_answers_with_is_a_part(made: Any) -> None:
    system = memory_system(made, validation="off")
    system["a"].append(2)
    system.setdefault("b", []).append(3)
    system.get("b").append(4)
    for value in system.values():
        value.append(5)
    for key, value in system.items():
        value.append(len(key))
    assert system == {"a": [1, 2, 5, 1], "b": [3, 4, 5, 1]}
    assert_replays(system)


def test_what_is_made_when_it_is_missing_is_recorded_and_a_part() -> None:
    system = memory_system(Lists(list), validation="off")
    system.__missing__("a").append(1)
    system["a"].append(2)
    assert system == {"a": [1, 2]}
    assert_replays(system)


def test_what_a_sequence_answers_with_is_a_part() -> None:
    system = memory_system(Rows([[1], [2]]), validation="off")
    system[0].append(3)
    for row in system:
        row.append(4)
    for row in reversed(system):
        row.append(5)
    for row in system[1:]:
        row.append(6)
    assert system == [[1, 3, 4, 5], [2, 4, 5, 6]]
    assert_replays(system)


class Growing:
    """Its attributes are there when they are needed, and its children are made for each reading."""

    def __init__(self, parent: Any = None, name: str = "") -> None:
        self.__dict__.update(_parent=parent, _name=name, _held={})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._held[name] if name in self._held else Growing(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._held[name] = value
        if self._parent is not None:
            self._parent.__setattr__(self._name, self)


def test_a_part_that_is_made_for_each_reading_is_attached_when_it_is_changed() -> None:
    system = memory_system(Growing(), validation="off")
    system.a.b.c = 1
    child = system.d
    child.e = 2
    child.f = 3
    assert (system.a.b.c, system.d.e, system.d.f) == (1, 2, 3)
    assert_replays(system)


class Menu:
    """Can be called, and looked into."""

    def __init__(self, prices: dict[str, int]) -> None:
        self._prices = prices

    def __call__(self, least: int) -> list[str]:
        return [name for name, price in self._prices.items() if price >= least]

    def __getitem__(self, name: str) -> int:
        return self._prices[name]

    def __setitem__(self, name: str, price: int) -> None:
        self._prices[name] = price

    def __len__(self) -> int:
        return len(self._prices)


class Inn:
    def __init__(self) -> None:
        self._prices = {"tea": 2}
        self.menu = Menu(self._prices)


def test_what_can_be_called_and_looked_into_is_both() -> None:
    inn = memory_system(Inn, validation="off")
    inn.menu["milk"] = 1
    assert (inn.menu(2), inn.menu["milk"], len(inn.menu), inn._prices) == (["tea"], 1, 2, {"tea": 2, "milk": 1})
    assert_replays(inn)


@dataclasses.dataclass
class Order:
    lines: list[str]
    notes: dict[str, list[int]]


def test_fields_of_a_dataclass_are_plain_in_what_is_made_of_it() -> None:
    order = memory_system(Order(["tea"], {"a": [1]}), validation="off")
    assert dataclasses.asdict(order) == {"lines": ["tea"], "notes": {"a": [1]}}
    order.lines.append("milk")
    order.notes["a"].append(2)
    assert dataclasses.asdict(order) == {"lines": ["tea", "milk"], "notes": {"a": [1, 2]}}
    assert_replays(order)


class Own(dict[str, Any]):
    def merge(self, other: Any) -> None:
        if other is self:
            return
        self.clear()
        self.update(other)

    def meet(self, *, other: Any) -> bool:
        return other is self


class Numbers(list[Any]):
    pass


def test_a_comparison_is_the_one_that_python_makes() -> None:
    for plain, same in ((Counter(a=1), {"a": 1}), (OrderedDict(a=1), {"a": 1}), (Lists(list, a=[1]), {"a": [1]})):
        system = memory_system(plain, validation="off")
        assert system == same and same == system and not system != same and not same != system
    numbers = memory_system(Numbers([1]), validation="off")
    assert numbers < [2] and [0] < numbers and numbers >= [1]
    with pytest.raises(TypeError, match="not supported between instances of 'Numbers' and 'int'"):
        numbers < 3  # noqa: B015


def test_inside_an_action_there_are_no_parts() -> None:
    class Holder:
        def __init__(self) -> None:
            self.items: list[int] = []
            self.seen: list[str] = []

        def look(self, held: Any) -> None:
            self.seen.append(type(held[0].items).__name__)

    holder = memory_system(Holder, validation="off")
    holder.look([holder])
    assert holder.seen == ["list"]


def test_in_check_mode_what_an_attribute_holds_is_changed_by_methods_alone() -> None:
    from coopy import StateChanged

    desk = memory_system(Desk, validation="off", check=True)
    desk.items.append(3)
    with pytest.raises(StateChanged, match="the attribute items"):
        desk.move()


class Sided:
    """Is equal to objects of its own type alone, as a class may have it that asks for `type`."""

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.inverse: Any = None

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.names == other.names  # type: ignore[attr-defined]

    def __add__(self, other: object) -> list[str]:
        return self.names + other.names if type(other) is type(self) else NotImplemented  # type: ignore[attr-defined,no-any-return]

    __hash__ = None  # type: ignore[assignment]


def test_a_system_is_compared_with_the_object_that_a_part_stands_for() -> None:
    made = Sided("a")
    made.inverse = Sided("a")
    system = memory_system(made, validation="off")
    assert system == system.inverse and system.inverse == system and system.inverse == Sided("a")
    assert system + system.inverse == ["a", "a"]


class Slotted:
    __slots__ = ("x",)

    def __init__(self) -> None:
        self.x = [1]


class Unslotted:
    def __init__(self) -> None:
        self.x = [1]


class Owner:
    def __init__(self) -> None:
        self.slotted = Slotted()
        self.plain = Unslotted()


def test_a_part_has_the_slots_and_the_dict_of_its_object() -> None:
    with memory_system(Owner) as owner:
        assert owner.slotted.__slots__ == ("x",) and not hasattr(owner.plain, "__slots__")
        assert list(vars(owner.plain)) == ["x"] and not hasattr(owner.slotted, "__dict__")
        vars(owner.plain)["y"] = 2
        assert crash(owner).plain.y == 2


@pytest.mark.parametrize("cls", [OrderedDict, Table, UserDict])
@pytest.mark.parametrize("view", ["keys", "values", "items"])
def test_a_view_of_the_system_is_an_argument_as_a_list_of_what_it_shows(cls: Any, view: str) -> None:
    system = memory_system(cls, validation="off")
    system["a"] = 1
    system["b"] = getattr(system, view)()
    assert list(system["b"]) == {"keys": ["a"], "values": [1], "items": [("a", 1)]}[view]
    assert_replays(system)


@pytest.mark.parametrize("cls", [FrozenList, FrozenDict, FrozenSet])
def test_a_container_that_refuses_to_be_changed_is_read_as_it_is(cls: Any) -> None:
    desk = memory_system(Desk, validation="off")
    desk.free = SimpleNamespace(kept=cls())
    assert type(desk.free.kept) is cls and not is_of_parts(cls)
