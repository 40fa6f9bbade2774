"""Attributes that keep what they return, callables that the object has, and attributes that hide methods."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from alike import alike, domain_of, state_of

import coopy.aio
from coopy import ReadOnlyNode, control, init_system, outside, readonly
from coopy.testing import memory_system

# -- what keeps what it returns


class kept:
    """As Django, Pyramid and others have it: the instance has what was returned, from then on."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function
        self.name = function.__name__

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        value = instance.__dict__[self.name] = self.function(instance)
        return value


class kept_by_setattr(kept):
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        value = self.function(instance)
        setattr(instance, self.name, value)
        return value


class kept_with_data(property):
    """As Werkzeug has it: it can be assigned, too."""

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        name = "_kept_" + self.fget.__name__  # type: ignore[union-attr]
        if name not in instance.__dict__:
            instance.__dict__[name] = self.fget(instance)  # type: ignore[misc]
        return instance.__dict__[name]


class Cart:
    """The total is kept, and then wrong: as it is in the plain object."""

    def __init__(self) -> None:
        self.lines = [5]
        self.billed: list[Any] = []

    def add(self, number: int) -> None:
        self.lines.append(number)


class Cached(Cart):
    @functools.cached_property
    def total(self) -> int:
        return sum(self.lines)

    def bill(self) -> None:
        self.billed.append(self.total)


class Kept(Cached):
    @kept
    def total(self) -> int:  # type: ignore[override]
        return sum(self.lines)


class KeptBySetattr(Cached):
    @kept_by_setattr
    def total(self) -> int:  # type: ignore[override]
        return sum(self.lines)


class KeptWithData(Cached):
    @kept_with_data
    def total(self) -> int:  # type: ignore[override]
        return sum(self.lines)


class Lazy(Cached):
    _total: int | None = None

    @property
    def total(self) -> int:  # type: ignore[override]
        if self._total is None:
            self._total = sum(self.lines)
        return self._total


class Deep(Cached):
    """The getter writes to what the object holds."""

    @property
    def total(self) -> int:  # type: ignore[override]
        self.lines.append(0)
        return len(self.lines)


class Missing(Cart):
    """What is missing is made."""

    def __getattr__(self, name: str) -> Any:
        if name != "total":
            raise AttributeError(name)
        self.total = sum(self.lines)
        return self.total

    def bill(self) -> None:
        self.billed.append(self.total)


class MissingInDict(Missing):
    def __getattr__(self, name: str) -> Any:
        if name != "total":
            raise AttributeError(name)
        return self.__dict__.setdefault(name, sum(self.lines))


class Slotted:
    __slots__ = ("lines", "billed", "_total", "_clock", "_env")

    def __init__(self) -> None:
        self.lines = [5]
        self.billed: list[Any] = []

    @property
    def total(self) -> int:
        if not hasattr(self, "_total"):
            self._total = sum(self.lines)
        return self._total

    add = Cart.add

    def bill(self) -> None:
        self.billed.append(self.total)


@attrs.define
class WithAttrs:
    lines: list[int] = attrs.field(factory=lambda: [5])
    billed: list[Any] = attrs.field(factory=list)

    @functools.cached_property
    def total(self) -> int:
        return sum(self.lines)

    def add(self, number: int) -> None:
        self.lines.append(number)

    def bill(self) -> None:
        self.billed.append(self.total)


KEEPERS = [Cached, Kept, KeptBySetattr, KeptWithData, Lazy, Deep, Missing, MissingInDict, Slotted, WithAttrs]


@pytest.mark.parametrize("cls", KEEPERS)
def test_what_a_look_keeps_is_kept_by_the_next_start(tmp_path: Path, cls: Any) -> None:
    alike(tmp_path, cls, lambda c: c.total, lambda c: c.add(7), lambda c: c.total, lambda c: c.bill(), lambda c: c.billed[0])


@pytest.mark.parametrize("cls", [each for each in KEEPERS if each is not Deep])
def test_what_is_kept_already_is_a_plain_read(cls: Any) -> None:
    system: Any = memory_system(cls, validation="off")
    assert [system.total for _ in range(3)] == [5, 5, 5]
    assert control(system).index == 1
    system.add(1)
    assert system.total == 5 and control(system).index == 2


@pytest.mark.parametrize("cls", KEEPERS)
def test_a_past_state_keeps_it_too(cls: Any) -> None:
    system: Any = memory_system(cls, validation="off")
    system.add(1)
    assert system.total
    system.bill()
    assert control(system).replay(1).billed == []
    assert state_of(control(system).replay()) == state_of(domain_of(system))


def test_a_missing_attribute_that_is_not_made_raises_as_before() -> None:
    system: Any = memory_system(Missing, validation="off")
    assert not hasattr(system, "nothing") and getattr(system, "nothing", 3) == 3


class Plainly:
    """Nothing here keeps anything."""

    kind = "plain"

    def __init__(self) -> None:
        self.lines = [1]

    @property
    def total(self) -> int:
        return sum(self.lines)

    @property
    @readonly
    def asked(self) -> int:
        self.__dict__["_asked"] = 1
        return int(self.__dict__.pop("_asked"))


def test_attributes_that_write_nothing_are_read_as_before() -> None:
    system: Any = memory_system(Plainly, validation="off")
    assert (system.total, system.kind, system.lines, system.asked) == (1, "plain", [1], 1)
    assert control(system).index == 0


@pytest.mark.parametrize("cls", [Cached, Kept, Lazy, Missing])
def test_a_process_that_sends_its_calls_keeps_it_as_well(tmp_path: Path, cls: Any) -> None:
    writer: Any = init_system(cls, tmp_path, shared=True, validation="off")
    other: Any = init_system(cls, tmp_path, shared=True, validation="off")
    assert other.total == 5
    other.add(7)
    writer.bill()
    control(other).sync()
    assert other.billed == [5] and control(writer).index == 3
    control(other).close()
    control(writer).close()


# -- callables that the object has


def _noted(owner: Any, what: Any) -> int:
    owner.notes.append(what)
    return len(owner.notes)


def _doubled(number: int) -> int:
    return 2 * number


class _Rung:
    def __init__(self, owner: Any) -> None:
        self.owner = owner

    def __call__(self, what: Any) -> int:
        return _noted(self.owner, what)

    def ring(self, what: Any) -> int:
        return _noted(self.owner, what)


class _Counting:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self, what: Any) -> int:
        self.count += 1
        return self.count

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Counting) and other.count == self.count

    __hash__ = None  # type: ignore[assignment]


class _Tally:
    """A part of the state that is no container."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, what: Any) -> int:
        self.count += 1
        return self.count

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Tally) and other.count == self.count

    __hash__ = None  # type: ignore[assignment]


def _added(what: Any, tally: _Tally) -> int:
    return tally.add(what)


class Triggers:
    """Callables of all kinds that reach the state."""

    def __init__(self) -> None:
        self.notes: list[Any] = []
        self.partial = functools.partial(self.note)
        self.method = self.note
        self.given = functools.partial(_noted, self)
        self.keyword = functools.partial(_noted, owner=self)
        self.nested = functools.partial(functools.partial(_noted, self))
        self.closure = lambda what: self.note(what)
        self.default = lambda what, owner=self: _noted(owner, what)
        self.of_list = self.notes.append
        self.rung = _Rung(self)
        self.of_part = self.rung.ring
        self.counting = _Counting()
        tally = self.tally = _Tally()
        self.with_part = functools.partial(_Tally.add, self.tally)
        self.with_part_by_name = functools.partial(_added, tally=self.tally)
        self.over_part = lambda what: tally.add(what)
        self.part_by_default = lambda what, owner=tally: owner.add(what)
        count = 0

        def counted(what: Any) -> int:
            nonlocal count
            count += 1
            return count

        self.counted = counted

    @property
    def put(self) -> Any:
        return self.notes.append

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("note_"):
            raise AttributeError(name)
        return functools.partial(
            _noted,
            self,
        )

    def note(self, what: Any) -> int:
        self.notes.append(what)
        return len(self.notes)


CALLABLES = [
    *("partial", "method", "given", "nested", "closure", "default", "of_list", "rung", "of_part", "put", "note_it"),
    *("counting", "counted", "with_part", "with_part_by_name", "over_part", "part_by_default"),
]


@pytest.mark.parametrize("name", CALLABLES)
def test_a_callable_that_reaches_the_state_is_recorded_by_its_name(tmp_path: Path, name: str) -> None:
    def call(obj: Any) -> Any:
        return getattr(obj, name)("tea")

    assert alike(tmp_path, Triggers, call, call) == 2


def test_a_callable_with_the_object_as_a_keyword_is_recorded(tmp_path: Path) -> None:
    assert alike(tmp_path, Triggers, lambda c: c.keyword(what="tea")) == 1


class _Command:
    """Gives each object a function over it, under the name that the class has for it."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else lambda *args: instance.notes.append((self.what, *args))


class Commanded:
    def __init__(self) -> None:
        self.notes: list[Any] = []

    go = _Command("go")
    stop = _Command("stop")


def test_a_function_that_a_descriptor_makes_over_the_object_is_recorded_when_it_is_called(tmp_path: Path) -> None:
    alike(tmp_path, Commanded, lambda c: c.go("north"), lambda c: c.stop())


def test_so_it_is_for_asyncio(tmp_path: Path) -> None:
    async def main() -> Any:
        async with coopy.aio.open(Commanded, tmp_path, validation="off") as commanded:
            await commanded.go("north")
            function = await commanded.stop
            await function()

    asyncio.run(main())
    with init_system(Commanded, tmp_path, validation="off") as system:
        assert system.notes == [("go", "north"), ("stop",)]


class Listens:
    """Callables that know nothing of the object, and one that only looks."""

    def __init__(self) -> None:
        self.lines = [3]
        self.double = _doubled
        self.size = len
        self.rounded = functools.partial(round, ndigits=1)
        self.kind = dict
        self.upper = "tea".upper
        self.look = self.total

    @readonly
    def total(self) -> int:
        return sum(self.lines)


def test_callables_that_know_nothing_of_the_object_stay_as_they_are() -> None:
    system: Any = memory_system(Listens, validation="off")
    assert (system.double(2), system.size([1]), system.rounded(1.26), system.kind(), system.upper()) == (4, 1, 1.3, {}, "TEA")
    assert (system.double, system.size, system.kind) == (_doubled, len, dict) and system.double is _doubled
    assert system.look() == 3 and control(system).index == 0


def test_what_is_read_looks_like_the_callable_and_is_equal_to_it() -> None:
    system: Any = memory_system(Triggers, validation="off")
    theirs = domain_of(system).partial
    assert system.partial == theirs and theirs == system.partial and hash(system.partial) == hash(theirs)
    assert system.partial == system.partial and system.partial != system.given
    assert isinstance(system.partial, functools.partial) and callable(system.partial)
    assert system.partial.func == theirs.func and repr(system.partial) == repr(theirs)
    assert system.method.__name__ == "note"
    kept = system.partial
    system.partial = _doubled
    assert kept(4) == 8, "it is called by its name"


def test_what_raises_in_a_callable_is_raised_and_recorded(tmp_path: Path) -> None:
    alike(tmp_path, Triggers, lambda c: c.method(), lambda c: c.of_list(1, 2), lambda c: c.method(3))


def test_a_process_that_sends_its_calls_calls_them_where_the_state_is(tmp_path: Path) -> None:
    writer: Any = init_system(Simple, tmp_path, shared=True, validation="off")
    other: Any = init_system(Simple, tmp_path, shared=True, validation="off")
    assert other.trigger("tea") == 1 and writer.trigger("milk") == 2
    control(other).sync()
    assert other.notes == writer.notes == ["tea", "milk"]
    control(other).close()
    control(writer).close()


class Simple:
    def __init__(self) -> None:
        self.notes: list[Any] = []
        self.trigger = functools.partial(_noted, self)


# -- attributes that hide methods


class Sized:
    def __init__(self, getsizeof: Any = None) -> None:
        self.held: list[Any] = []
        if getsizeof is not None:
            self.getsizeof = getsizeof

    @staticmethod
    def getsizeof(value: Any) -> int:
        return 1

    def put(self, value: Any) -> int:
        self.held.append((value, self.getsizeof(value)))
        return len(self.held)

    @readonly
    def size(self) -> int:
        return sum(size for _, size in self.held)

    def step(self) -> str:
        self.held.append("slow")
        return "slow"

    def hurry(self) -> None:
        self.step = self.quick  # type: ignore[method-assign]

    def calm(self) -> None:
        del self.step  # type: ignore[method-assign]

    def quick(self) -> str:
        self.held.append("quick")
        return "quick"

    def become(self, name: str, value: Any) -> None:
        setattr(self, name, value)

    @outside
    def twice(self) -> str:
        return self.step() + self.step()


def _three(*_: Any) -> int:
    return 3


def test_an_attribute_that_hides_a_method_is_called() -> None:
    system: Any = memory_system(Sized(getsizeof=_three), validation="off")
    assert system.getsizeof("tea") == 3 and system.put("tea") == 1 and system.size() == 3
    plain: Any = memory_system(Sized, validation="off")
    assert plain.getsizeof("tea") == 1


@pytest.mark.parametrize("name", ["getsizeof", "size", "put", "step"])
def test_one_that_is_given_to_the_system_is_called_from_then_on(tmp_path: Path, name: str) -> None:
    def give(obj: Any) -> None:
        setattr(obj, name, _three)

    def take(obj: Any) -> None:
        delattr(obj, name)

    def call(obj: Any) -> Any:
        return getattr(obj, name)(*["tea"] * (name in ("getsizeof", "put")))

    alike(tmp_path / "a", Sized, call, give, call, take, call)
    alike(tmp_path / "b", Sized, call, lambda c: c.become(name, _three), call, lambda c: c.become(name, len), call)


def test_a_method_that_takes_the_place_of_another_is_called_and_recorded(tmp_path: Path) -> None:
    steps: list[Callable[[Any], Any]] = [
        lambda c: c.step(),
        lambda c: c.hurry(),
        lambda c: c.step(),
        lambda c: c.calm(),
        lambda c: c.step(),
    ]
    assert alike(tmp_path, Sized, *steps) == 5


def test_an_attribute_that_hides_a_method_does_so_at_the_next_start(tmp_path: Path) -> None:
    system: Any = init_system(Sized, tmp_path, validation="off")
    system.size = _three
    control(system).close()
    again: Any = init_system(Sized, tmp_path, validation="off")
    assert again.size() == 3 and again.twice() == "slowslow"
    control(again).close()


def test_the_front_door_has_the_mark() -> None:
    assert coopy.action in vars(coopy).values()


# -- a node that takes no actions


@pytest.mark.parametrize("cls", [each for each in KEEPERS if each is not Deep])
def test_a_node_that_only_reads_computes_and_keeps_nothing(cls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    system: Any = memory_system(cls, validation="off")
    before = state_of(domain_of(system))
    _refuse_actions(system, monkeypatch)
    assert [system.total, system.total] == [5, 5]
    assert state_of(domain_of(system)) == before and control(system).index == 0


def test_a_node_that_only_reads_refuses_what_writes_deeper(monkeypatch: pytest.MonkeyPatch) -> None:
    system: Any = memory_system(Deep, validation="off")
    _refuse_actions(system, monkeypatch)
    with pytest.raises(ReadOnlyNode, match="read-only"):
        assert system.total
    assert system.lines == [5]


def _refuse_actions(system: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ReadOnlyNode("This is a read-only instance.")

    monkeypatch.setattr(type(system._coopy_engine), "call", refuse)


class Renamed(dict[str, Any]):
    """Has a ``__dict__`` of its own making."""

    __dict__ = property(lambda self: dict(self))  # type: ignore[assignment]

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(type(self), name):
            object.__setattr__(self, name, value)
        else:
            self[name] = value


@pytest.mark.parametrize("name", ["values", "pop", "clear"])
def test_an_attribute_hides_a_method_of_a_class_that_has_a_dict_of_its_own_making(name: str) -> None:
    system: Any = memory_system(Renamed(a=1), validation="off")
    assert callable(getattr(system, name))
    setattr(system, name, "hidden")
    system.other = 2
    assert getattr(system, name) == "hidden" and system == {"a": 1, "other": 2}
