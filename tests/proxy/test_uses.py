"""What the proxy does with everything an object can do: reads leave no action, writes survive."""

from __future__ import annotations

import abc
import functools
import inspect
import linecache
import pickle
import pydoc
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import attrs
import pytest
from alike import alike

from coopy import PrevalentError, control, init_system, readonly

T = TypeVar("T")


class Plain:
    """Its documentation."""

    kind = "plain"

    def __init__(self) -> None:
        self.items: list[Any] = []

    def put(self, item: Any) -> int:
        """Puts an item."""
        self.items.append(item)
        return len(self.items)

    @readonly
    def size(self) -> int:
        return len(self.items)


@dataclass
class Data:
    items: list[Any] = field(default_factory=list)
    close: str = "a field that is named like a control"

    def put(self, item: Any) -> int:
        self.items.append(item)
        return len(self.items)

    @readonly
    def size(self) -> int:
        return len(self.items)


@dataclass(slots=True)
class SlottedData:
    items: list[Any] = field(default_factory=list)

    def put(self, item: Any) -> int:
        self.items.append(item)
        return len(self.items)

    @readonly
    def size(self) -> int:
        return len(self.items)


@attrs.define
class Attrs:
    items: list[Any] = attrs.field(factory=list)

    def put(self, item: Any) -> int:
        self.items.append(item)
        return len(self.items)

    @readonly
    def size(self) -> int:
        return len(self.items)


class Slotted:
    __slots__ = ("items", "extra")

    def __init__(self) -> None:
        self.items: list[Any] = []

    def put(self, item: Any) -> int:
        self.items.append(item)
        assert self._clock.now()  # type: ignore[attr-defined]
        return len(self.items)

    @readonly
    def size(self) -> int:
        return len(self.items)


class Base(abc.ABC, Generic[T]):
    def __init__(self) -> None:
        self.items: list[Any] = []

    @abc.abstractmethod
    def put(self, item: T) -> int: ...

    @readonly
    def size(self) -> int:
        return len(self.items)


class Derived(Base[str]):
    def put(self, item: str) -> int:
        self.items.append(item)
        return super().size()


CLASSES = [Plain, Data, SlottedData, Attrs, Slotted, Derived]


@pytest.fixture(params=CLASSES, ids=lambda cls: cls.__name__)
def cls(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_calls_of_any_kind_of_class_survive_and_reads_are_not_recorded(tmp_path: Path, cls: Any) -> None:
    system = init_system(cls, tmp_path)
    assert [system.put("tea"), system.put(item="milk")] == [1, 2]
    assert (system.size(), system.items, control(system).index) == (2, ["tea", "milk"], 2)
    control(system).take_snapshot()
    system.put("bread")
    control(system).close()
    again = init_system(cls, tmp_path)
    assert (again.size(), again.items) == (3, ["tea", "milk", "bread"])
    assert isinstance(again, cls) and type(again).__name__ == cls.__name__
    control(again).close()


def test_setting_and_deleting_attributes_are_actions(tmp_path: Path, cls: Any) -> None:
    with control(init_system(cls, tmp_path / "a")) as controls:
        system = controls._system.proxy
        system.items = ["set"]
        if cls not in (SlottedData, Attrs):
            system.extra = 5
            assert system.extra == 5
            del system.extra
            assert not hasattr(system, "extra")
        index = controls.index
    again = init_system(cls, tmp_path / "a")
    assert again.items == ["set"] and not hasattr(again, "extra")
    assert control(again).index == index >= 1
    control(again).close()


def test_wrong_arguments_fail_as_without_us_and_are_not_recorded(tmp_path: Path, cls: Any) -> None:
    system = init_system(cls, tmp_path)
    for use in (lambda: system.put(), lambda: system.put(1, 2), lambda: system.put(thing=1)):
        with pytest.raises(TypeError, match=r"put\(\)"):
            use()
    assert control(system).index == 0
    control(system).close()


# -- containers


class Shelf(dict[str, Any]):
    def fill(self, *names: str) -> None:
        for name in names:
            self[name] = len(self)


class Row(list[Any]):
    def double(self) -> None:
        self.extend(list(self))


class Bag(set[Any]):
    pass


class Counts(defaultdict[str, int]):
    def __init__(self, factory: Any = int) -> None:
        super().__init__(factory)


def test_a_dict_subclass_is_used_like_a_dict(tmp_path: Path) -> None:
    with init_system(Shelf, tmp_path) as shelf:
        shelf["a"] = 1
        shelf.update(b=2, c=3)
        shelf.setdefault("d", 4)
        del shelf["b"]
        assert shelf.pop("c") == 3
        shelf.fill("x", "y")
        shelf |= {"z": 9}
        index = control(shelf).index
        assert index == 7
        assert (len(shelf), "a" in shelf, shelf["a"], shelf.get("?"), list(shelf)) == (
            5,
            True,
            1,
            None,
            ["a", "d", "x", "y", "z"],
        )
        assert (dict(shelf.items()), sorted(shelf.keys())) == (shelf, ["a", "d", "x", "y", "z"])
        assert shelf == {"a": 1, "d": 4, "x": 2, "y": 3, "z": 9} and bool(shelf)
        assert isinstance(shelf, dict)
        with pytest.raises(KeyError):
            shelf["?"]
        assert control(shelf).index == index
    with init_system(Shelf, tmp_path) as shelf:
        assert shelf == {"a": 1, "d": 4, "x": 2, "y": 3, "z": 9}


def test_a_list_subclass_is_used_like_a_list(tmp_path: Path) -> None:
    with init_system(Row, tmp_path) as row:
        row.append(3)
        row.extend([1, 2])
        row[0] = 9
        row.sort()
        row += [4]
        row *= 2
        assert (row.index(9), row.count(4), row[1:3], list(reversed(row))[0], row + [0]) == (2, 2, [2, 9], 4, [*row, 0])
        del row[0]
        row.double()
        assert control(row).index == 8
        expected = list(row)
    with init_system(Row, tmp_path) as row:
        assert list(row) == expected


def test_a_set_subclass_is_used_like_a_set(tmp_path: Path) -> None:
    with init_system(Bag, tmp_path) as bag:
        bag.add(1)
        bag |= {2, 3}
        bag.discard(1)
        assert (bag & {3, 4}, bag.union({7}), bag <= {2, 3, 5}) == ({3}, {2, 3, 7}, True)
    with init_system(Bag, tmp_path) as bag:
        assert bag == {2, 3}


def test_looking_up_in_a_defaultdict_is_recorded_because_it_may_add(tmp_path: Path) -> None:
    with init_system(Counts, tmp_path) as counts:
        assert counts["a"] == 0
        counts["b"] += 5
        assert counts.get("c") is None
    with init_system(Counts, tmp_path) as counts:
        assert counts == {"a": 0, "b": 5}


# -- every special method


class Everything:
    def __init__(self) -> None:
        self.items: dict[Any, Any] = {}
        self.entered = 0
        self.called = 0
        self.number = 10

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: Any) -> Any:
        return self.items[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    def __delitem__(self, key: Any) -> None:
        del self.items[key]

    def __contains__(self, key: Any) -> bool:
        return key in self.items

    def __iter__(self) -> Iterator[Any]:
        yield from self.items

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Everything) and self.items == other.items

    def __hash__(self) -> int:
        return 42

    def __lt__(self, other: Any) -> bool:
        return self.number < getattr(other, "number", other)

    def __call__(self, by: int) -> int:
        self.called += by
        return self.called

    def __enter__(self) -> str:
        self.entered += 1
        return "entered"

    def __exit__(self, *_: object) -> None:
        self.entered -= 10

    def __add__(self, other: int) -> int:
        return self.number + other

    __radd__ = __add__

    def __iadd__(self, other: int) -> Everything:
        self.number += other
        return self

    def __neg__(self) -> int:
        return -self.number

    def __int__(self) -> int:
        return self.number

    def __bool__(self) -> bool:
        return self.number > 0

    def __str__(self) -> str:
        return f"everything {self.number}"

    def __repr__(self) -> str:
        return f"Everything({self.number})"

    def __format__(self, spec: str) -> str:
        return format(self.number, spec)


def test_a_class_with_every_special_method_keeps_its_own(tmp_path: Path) -> None:
    system: Any = init_system(Everything, tmp_path / "a")
    system["a"] = 1
    system["b"] = 2
    del system["b"]
    assert system(5) == 5
    with system as entered:
        assert entered == "entered"
    kept = system
    system += 7
    assert system is kept, "in place is in place"
    index = control(system).index
    assert index == 7
    assert (len(system), system["a"], "a" in system, list(system), hash(system)) == (1, 1, True, ["a"], 42)
    assert (system + 1, 1 + system, -system, int(system), bool(system)) == (18, 18, -17, 17, True)
    assert (str(system), repr(system), f"{system:05d}") == ("everything 17", "Everything(17)", "00017")
    other: Any = init_system(Everything, tmp_path / "b")
    other["a"] = 1
    assert system == other and other == system and other < system and not system < other and system < 18
    assert control(system).index == index, "reads are not recorded"
    control(system).close()
    control(other).close()
    again: Any = init_system(Everything, tmp_path / "a")
    assert (again.items, again.called, again.entered, again.number) == ({"a": 1}, 5, -9, 17)
    control(again).close()


class Countdown:
    def __init__(self) -> None:
        self.left = 3

    def __iter__(self) -> Countdown:
        return self

    def __next__(self) -> int:
        if self.left == 0:
            raise StopIteration
        self.left -= 1
        return self.left


def test_an_iterator_of_its_own_moves_by_actions(tmp_path: Path) -> None:
    with init_system(Countdown, tmp_path) as countdown:
        assert next(countdown) == 2
    with init_system(Countdown, tmp_path) as countdown:
        assert list(countdown) == [1, 0]


class Rewound:
    """Begins anew each time that somebody goes through it."""

    def __init__(self) -> None:
        self.pages = ["title", "text"]
        self.place = 0

    def __iter__(self) -> Any:
        self.place = 0
        return self

    def __next__(self) -> str:
        if self.place == len(self.pages):
            raise StopIteration
        self.place += 1
        return self.pages[self.place - 1]


class Apart(Rewound):
    """Is an iterator, and gives another one of what it has."""

    def __iter__(self) -> Any:
        return iter(self.pages)


@pytest.mark.parametrize("cls", [Rewound, Apart])
def test_an_iterator_of_its_own_is_gone_through_as_its_class_says(tmp_path: Path, cls: Any) -> None:
    alike(tmp_path, cls, list, lambda book: (list(book), list(book), book.place), next)


def test_an_object_that_is_its_own_iterator_is_the_system_outside(tmp_path: Path) -> None:
    with init_system(Rewound, tmp_path) as system:
        assert iter(system) is system and control(system).index == 1


# -- methods of every make


class Methods:
    def __init__(self) -> None:
        self.log: list[Any] = []
        self.callback: Callable[[int], int] = abs

    def fluent(self) -> Methods:
        self.log.append("fluent")
        return self

    @readonly
    def me(self) -> Methods:
        return self

    def counted(self, n: int) -> Iterator[int]:
        for i in range(n):
            self.log.append(i)
            yield i

    @readonly
    def each(self) -> Iterator[Any]:
        yield from self.log

    def many(self, a: Any, /, b: Any = 1, *rest: Any, c: Any = 2, **more: Any) -> None:
        self.log.append((a, b, rest, c, more))

    @staticmethod
    def static(n: int) -> int:
        return n + 1

    @classmethod
    def made(cls) -> str:
        return cls.__name__

    @property
    def last(self) -> Any:
        return self.log[-1]

    @last.setter
    def last(self, value: Any) -> None:
        self.log[-1] = value

    @last.deleter
    def last(self) -> None:
        self.log.pop()

    @functools.cached_property
    def cached(self) -> int:
        return 7

    def _note(self, what: str, twice: bool) -> None:
        self.log += [what] * (1 + twice)

    twice = functools.partialmethod(_note, twice=True)

    @functools.wraps(_note)
    def wrapped(self, *args: Any, **kwargs: Any) -> None:
        self._note(*args, **kwargs)


def test_methods_of_every_make(tmp_path: Path) -> None:
    system: Any = init_system(Methods, tmp_path)
    controls = control(system)
    assert system.fluent().fluent() is system and system.me() is system
    assert controls.index == 2
    assert list(system.counted(3)) == [0, 1, 2] and controls.index == 3
    assert list(system.each()) == ["fluent", "fluent", 0, 1, 2]
    system.many(1)
    system.many(1, 2, 3, c=4, d=5)
    with pytest.raises(TypeError, match="many"):
        system.many()
    with pytest.raises(TypeError, match="many"):
        system.many(a=1)
    assert (system.static(1), system.made(), system.cached, system.callback(-3)) == (2, "Methods", 7, 3)
    assert controls.index == 6  # The first look at what is cached keeps it.
    system.last = "changed"
    assert system.last == "changed"
    del system.last
    system.twice("t")
    system.wrapped("w", twice=False)
    assert controls.index == 10
    expected = list(system.log)
    assert expected[-4:] == [(1, 1, (), 2, {}), "t", "t", "w"]
    controls.close()
    with init_system(Methods, tmp_path) as again:
        assert again.log == expected


class Asynchronous:
    async def fetch(self) -> None: ...


class AsynchronousGenerator:
    async def fetch(self) -> Any:
        yield 1


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("two words", "no identifier of Python"),
        ("1st", "no identifier of Python"),
        ("a-b", "no identifier of Python"),
        ("<batch>", "no identifier of Python"),
        ("", "no identifier of Python"),
    ],
)
@pytest.mark.parametrize("mark", [lambda method: method, readonly], ids=["action", "read"])
def test_a_method_whose_name_can_not_be_written_is_refused_with_what_to_do(
    tmp_path: Path, name: str, what: str, mark: Any
) -> None:
    odd = type("Odd", (), {name: mark(lambda self: 1)})
    with pytest.raises((PrevalentError, SyntaxError)) as refusal:
        init_system(odd, tmp_path / "data", validation="off")
    assert isinstance(refusal.value, PrevalentError)
    assert f"Odd has a method of the name {name!r}, which is {what}" in str(refusal.value)
    assert "Nothing was opened" in str(refusal.value)
    assert not (tmp_path / "data").exists()


def test_a_method_may_have_the_name_of_a_soft_keyword_or_one_that_is_no_ascii(tmp_path: Path) -> None:
    named = {name: lambda self: 1 for name in ("match", "case", "type", "_", "größe")}
    with init_system(type("Odd", (), named), tmp_path / "data", validation="off") as odd:
        assert [getattr(odd, name)() for name in named] == [1] * len(named)


@pytest.mark.parametrize("cls", [Asynchronous, AsynchronousGenerator])
def test_async_methods_are_refused_with_what_to_do(tmp_path: Path, cls: Any) -> None:
    with pytest.raises(PrevalentError, match=r"fetch is an async method.*Make it a plain method"):
        init_system(cls, tmp_path / "new")
    assert not (tmp_path / "new").exists()


NAMES = "lock close take_snapshot shutdown basedir_abspath obj engine call read machine log control proxy self release".split()


def test_a_domain_may_name_its_methods_and_parameters_like_our_own(tmp_path: Path) -> None:
    members: dict[str, Any] = {"__init__": lambda self: setattr(self, "heard", [])}
    for name in NAMES:
        exec(f"def {name}(self, engine, lock='x', *, name=1): self.heard.append(({name!r}, engine, lock, name))", members)
    members.pop("__builtins__")
    global Named
    Named = type("Named", (), {**members, "__module__": __name__})
    system: Any = init_system(Named, tmp_path, validation="off")
    for name in NAMES:
        getattr(system, name)("e", name=2)
    assert [each[0] for each in system.heard] == NAMES
    assert control(system).index == len(NAMES)
    control(system).close()
    again: Any = init_system(Named, tmp_path, validation="off")
    assert again.heard == [(name, "e", "x", 2) for name in NAMES]
    control(again).close()


Named: Any = None


# -- what tools see


def test_tools_see_the_domain_class(tmp_path: Path) -> None:
    with init_system(Plain, tmp_path) as plain:
        assert isinstance(plain, Plain) and plain.__class__ is Plain and type(plain).__doc__ == Plain.__doc__
        assert {"put", "size", "items", "kind", "take_snapshot"} <= set(dir(plain))
        assert str(inspect.signature(plain.put)) == "(item: 'Any') -> 'int'"
        text = pydoc.render_doc(plain, renderer=pydoc.plaintext)
        assert "put(self, item: 'Any') -> 'int'" in text and "Puts an item." in text
        assert " = copied" not in text and "_not_to_be" not in text, "no name of ours stands where the object's are"
        assert "__reduce__(self: 'Any')" in text
        code = type(plain).put.__code__
        lines = linecache.getlines(code.co_filename)
        assert lines[code.co_firstlineno - 1].startswith("def put(self, item):"), "a debugger can step through it"
        assert plain.kind == "plain"
        with pytest.raises(AttributeError, match="nothing"):
            plain.nothing  # noqa: B018


@pytest.mark.parametrize("use", [pickle.dumps, pickle._dumps])
def test_a_pickle_of_a_system_is_an_error_that_says_what_to_do(tmp_path: Path, use: Callable[[Any], Any]) -> None:
    with init_system(Plain, tmp_path) as plain, pytest.raises(TypeError, match="it is one directory's state"):
        use(plain)


def test_with_closes_at_the_end(tmp_path: Path) -> None:
    with init_system(Plain, tmp_path) as plain:
        plain.put(1)
    assert control(plain).closed
    assert plain.basedir_abspath() == [str(tmp_path)]


class Guarded:
    def __init__(self) -> None:
        object.__setattr__(self, "values", {})

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("bad"):
            raise AttributeError(name)
        self.values[name] = value

    def __getattr__(self, name: str) -> Any:
        try:
            return object.__getattribute__(self, "values")[name]
        except KeyError:
            raise AttributeError(name) from None


def test_a_class_with_its_own_attribute_access_keeps_it(tmp_path: Path) -> None:
    with init_system(Guarded, tmp_path) as guarded:
        guarded.colour = "red"
        with pytest.raises(AttributeError, match="bad"):
            guarded.bad = 1
        assert guarded.colour == "red"
    with init_system(Guarded, tmp_path) as guarded:
        assert (guarded.colour, guarded.values) == ("red", {"colour": "red"})


@dataclass(frozen=True)
class Frozen:
    items: list[int] = field(default_factory=list)

    def put(self, item: int) -> None:
        self.items.append(item)


def test_a_frozen_dataclass_stays_frozen(tmp_path: Path) -> None:
    with init_system(Frozen, tmp_path) as frozen:
        frozen.put(1)
        with pytest.raises(AttributeError):
            frozen.items = []
    with init_system(Frozen, tmp_path) as frozen:
        assert frozen.items == [1]
        assert frozen == Frozen([1])
