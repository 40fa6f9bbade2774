"""Domains that replay can't repeat, each in a way of its own, and domains that it can; and the program that uses them.

    python domains.py live|killed|again FOLDER unrepeatable|repeatable

``live`` opens a system of each in the folder, acts, takes a snapshot, acts, and closes; ``killed`` ends without closing; ``again``
opens each once more and writes what its status says to standard output, as JSON.
"""

from __future__ import annotations

import contextvars
import datetime as dt
import decimal
import enum
import functools
import itertools
import json
import locale
import math
import os
import random
import sys
import threading
import weakref
from dataclasses import dataclass, field
from typing import Any

import coopy
from coopy import abort_exception, control, entity, init_system, transactional


class Piece:
    def __init__(self, name: str) -> None:
        self.name = name


class Touched:
    """What all of these have: an action that can be repeated."""

    def __init__(self) -> None:
        self.touched = 0

    def touch(self) -> None:
        self.touched += 1


# -- not repeatable


class SetAfterSnapshot(Touched):
    def __init__(self) -> None:
        super().__init__()
        self.free = {64, 1, 8, 130, *range(200, 400)}
        for number in range(200, 400):
            self.free.discard(number)
        self.taken: list[int] = []

    def act(self) -> None:
        self.taken.append(self.free.pop())


class SetOfTexts(Touched):
    def __init__(self) -> None:
        super().__init__()
        self.names = {f"name {number}" for number in range(100)}
        self.drawn: list[str] = []

    def act(self) -> None:
        self.drawn += list(self.names)


class Addresses(Touched):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def act(self) -> None:
        self.seen.append(id(self))


class SetOfObjects(Touched):
    def __init__(self) -> None:
        super().__init__()
        self.pieces = {Piece(f"{number}") for number in range(60)}
        self.order: list[str] = []

    def act(self) -> None:
        self.order += [piece.name for piece in self.pieces]


class WeakOrder(Touched):
    def __init__(self) -> None:
        super().__init__()
        self.pieces = [Piece(f"{number}") for number in range(60)]
        self.order: list[str] = []

    def act(self) -> None:
        self.order += [piece.name for piece in weakref.WeakSet(self.pieces)]


_known: weakref.WeakValueDictionary[str, Piece] = weakref.WeakValueDictionary()
_held: list[Piece] = []


class WeakCache(Touched):
    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    def act(self) -> Any:
        found = _known.get("tea")
        if found is None:
            found = _known["tea"] = Piece("tea")
            self.made += 1
        self.last = found.name
        return found


class Cache(Touched):
    def __init__(self) -> None:
        super().__init__()
        self.misses = 0

    def act(self) -> None:
        before = _square.cache_info().misses
        _square(7)
        self.misses += _square.cache_info().misses - before


@functools.lru_cache
def _square(number: int) -> int:
    return number * number


_serial = 0


class GlobalVariable(Touched):
    def __init__(self) -> None:
        super().__init__()
        self.last = 0

    def act(self) -> None:
        global _serial
        _serial += 1
        self.last = _serial


class ClassCounter(Touched):
    numbers = itertools.count(1)

    def __init__(self) -> None:
        super().__init__()
        self.orders: list[int] = []

    def act(self) -> None:
        self.orders.append(next(ClassCounter.numbers))


_user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")


class Context(Touched):
    def __init__(self) -> None:
        super().__init__()
        self.by: list[str] = []

    def act(self) -> None:
        self.by.append(_user.get())


_local = threading.local()


class ThreadLocal(Touched):
    def __init__(self) -> None:
        super().__init__()
        self.by: list[str] = []

    def act(self) -> None:
        self.by.append(getattr(_local, "user", "nobody"))


class Locale(Touched):
    def __init__(self) -> None:
        super().__init__()
        self.labels: list[str] = []

    def act(self) -> None:
        self.labels.append(locale.format_string("%.2f", 1.5))


class Environment(Touched):
    def __init__(self) -> None:
        super().__init__()
        self.shops: list[str] = []

    def act(self) -> None:
        self.shops.append(os.environ["SHOP"])


class ReadsFile(Touched):
    def __init__(self) -> None:
        super().__init__()
        self.rates: list[str] = []

    def act(self) -> None:
        with open(os.path.join(os.environ["FOLDER"], "rate")) as file:
            self.rates.append(file.read())


_dice = random.Random()


class Dice(Touched):
    def __init__(self) -> None:
        super().__init__()
        self.rolled: list[float] = []

    def act(self) -> None:
        self.rolled.append(_dice.random())


class TimeZone(Touched):
    def __init__(self) -> None:
        super().__init__()
        self.hours: list[int] = []

    def act(self) -> None:
        self.hours.append(dt.datetime.fromtimestamp(0).hour)


class ChangedByReading(Touched):
    """What a read leaves in the state no journal knows of."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = {"tea": 0}

    def act(self) -> None:
        self.asked["tea"] += 1

    @coopy.readonly
    def read(self) -> int:
        self.asked.setdefault("milk", 0)
        return self.asked["tea"]


class HoldsCode(Touched):
    """Has objects that say what is to be kept of them, and is not repeatable."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = Keeper()

    def act(self) -> None:
        self.kept.values.append(id(self))


class Keeper:
    def __init__(self) -> None:
        self.values: list[Any] = []
        self.cache: dict[Any, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"values": self.values}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.values, self.cache = state["values"], {}


UNREPEATABLE: list[type[Any]] = [
    SetAfterSnapshot,
    SetOfTexts,
    Addresses,
    SetOfObjects,
    WeakOrder,
    WeakCache,
    Cache,
    GlobalVariable,
    ClassCounter,
    Context,
    ThreadLocal,
    Locale,
    Environment,
    ReadsFile,
    Dice,
    TimeZone,
    ChangedByReading,
    HoldsCode,
]


# -- repeatable


class Tags(set):  # type: ignore[type-arg]
    pass


class SetsOfTexts(Touched):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.tags = Tags()
        self.groups: set[frozenset[str]] = set()

    def act(self) -> None:
        self.names |= {f"{len(self.names) + number}" for number in range(50)}
        self.tags |= self.names
        self.groups.add(frozenset(self.names))
        self.first = min(self.names)


class Floats(Touched):
    def __init__(self) -> None:
        super().__init__()
        self.values = [0.1, -0.0, math.inf]

    def act(self) -> None:
        self.values += [math.sin(self.values[0]) / 3, sum(self.values[:2]), 1e308 * 10]


class Nan(Touched):
    def __init__(self) -> None:
        super().__init__()
        self.values: dict[Any, Any] = {}

    def act(self) -> None:
        self.values[len(self.values)] = [float("nan"), -math.nan, complex(math.nan, 1), {math.nan}, (math.nan, 1)]


class Decimals(Touched):
    def __init__(self) -> None:
        super().__init__()
        self.sum = decimal.Decimal("1.10")

    def act(self) -> None:
        self.sum = self.sum / 3 + decimal.Decimal("0.00")


@dataclass
class Line:
    name: str
    prices: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Key:
    name: str


@dataclass(slots=True)
class Slim:
    name: str
    value: float = 0.5


class Dataclasses(Touched):
    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[Key, Any] = {}

    def act(self) -> None:
        number = len(self.lines)
        self.lines[Key(f"{number}")] = [Line("a", [number]), Slim("b")]


@entity("tables", key="id")
class Table:
    def __init__(self, id: int) -> None:
        self.id = id
        self.guests: list[str] = []


class Entities(Touched):
    def __init__(self) -> None:
        super().__init__()
        self.tables = {1: Table(1)}
        self.chosen: list[Table] = []

    def act(self) -> None:
        self.tables[1].guests.append("ann")
        self.chosen.append(self.tables[1])


class Locks(Touched):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.RLock()
        self.condition = threading.Condition()
        self.count = 0

    def act(self) -> None:
        with self.lock, self.condition:
            self.count += 1


class Deep(Touched):
    def __init__(self) -> None:
        super().__init__()
        self.chain: Any = None

    def act(self) -> None:
        for number in range(5000):
            self.chain = [number, self.chain]


class KeepsPart(Touched):
    def __init__(self) -> None:
        super().__init__()
        self.keeper = Keeper()

    def act(self) -> None:
        self.keeper.values.append(1)
        self.keeper.cache[id(self)] = id(self)


class Node:
    def __init__(self, before: Any = None) -> None:
        self.before = before
        self.around = {self, before} if before is not None else {self}


class Cycles(Touched):
    def __init__(self) -> None:
        super().__init__()
        self.node = Node()
        self.own: list[Any] = [self]

    def act(self) -> None:
        self.node = Node(self.node)
        self.own.append(self.own)


class Shared(Touched):
    def __init__(self) -> None:
        super().__init__()
        self.one: list[Any] = []
        self.places: list[Any] = [self.one, self.one]

    def act(self) -> None:
        self.one.append(len(self.places))
        self.places.append(self.one)
        self.places.append(list(self.one))


class Slots:
    __slots__ = ("a", "b", "__weakref__")

    def __init__(self, a: Any) -> None:
        self.a = a


class HoldsSlots(Touched):
    def __init__(self) -> None:
        super().__init__()
        self.slots: list[Any] = []

    def act(self) -> None:
        self.slots.append(Slots(self.slots and self.slots[-1]))


class Colour(enum.Enum):
    RED = 1


class ClockAndChance(Touched):
    _clock: Any
    _env: Any

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Any] = []

    def act(self) -> None:
        self.all += [self._clock.now(), self._env.random(), self._env.uuid4(), Colour.RED, dt.timedelta(1)]


class Raises(Touched):
    def __init__(self) -> None:
        super().__init__()
        self.tried: list[str] = []

    def act(self) -> None:
        for method in (self._raise, self._withdraw, self._put_back):
            try:
                method()
            except ValueError:
                continue

    def _raise(self) -> None:
        self.tried.append("raised")
        raise ValueError

    @abort_exception
    def refuse(self) -> None:
        raise ValueError

    @transactional
    def half(self) -> None:
        self.tried.append("half")
        raise ValueError

    def _withdraw(self) -> None:
        raise ValueError

    def _put_back(self) -> None:
        raise ValueError


class Pair:
    def __init__(self, one: Any, other: Any) -> None:
        self.both = one, other

    def __reduce__(self) -> Any:
        return Pair, self.both


class Reduces(Touched):
    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[Pair] = []

    def act(self) -> None:
        self.pairs.append(Pair(len(self.pairs), {"a", "b"}))


REPEATABLE: list[type[Any]] = [
    SetsOfTexts,
    Floats,
    Nan,
    Decimals,
    Dataclasses,
    Entities,
    Locks,
    Deep,
    KeepsPart,
    Cycles,
    Shared,
    HoldsSlots,
    ClockAndChance,
    Raises,
    Reduces,
]


# -- the program


def _shake() -> None:
    """Leaves holes in memory, so that objects do not lie as those of another process do."""
    made = [Piece("") for _ in range(5000)]
    random.shuffle(made)
    _held.extend(made[::2])


def use(system: Any) -> None:
    for _ in range(2):
        _held.append(system.act())
    if isinstance(system, Raises):
        for method in (system.refuse, system.half):
            try:
                method()
            except ValueError:
                continue
    control(system).take_snapshot()
    if hasattr(system, "read"):
        system.read()
    for _ in range(2):
        _held.append(system.act())
    system.touch()


def main(how: str, folder: str, which: str) -> None:
    domains = globals()[which.upper()]
    if how != "again":
        _user.set("ann")
        _local.user = "ann"
        locale._override_localeconv = {"decimal_point": ","}  # type: ignore[attr-defined]
    found = {}
    if how == "again":
        _shake()
    for cls in domains:
        system = init_system(cls, os.path.join(folder, cls.__name__), durability="buffered", validation="off")
        if how == "again":
            found[cls.__name__] = control(system).status()["divergence"]
        else:
            use(system)
        if how == "live":
            control(system).close()
    if how == "killed":
        os._exit(0)
    if found:
        print(json.dumps(found))


if __name__ == "__main__":
    import domains

    domains.main(*sys.argv[1:])
