"""A domain of several classes. A comment ``# <name>`` marks a line a test asks for."""

from __future__ import annotations

import datetime
import functools
import random
import time
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

from determinism import shop_items
from determinism.shop_items import Basket

import coopy
from coopy import init_system, readonly

MAKERS: dict[str, Callable[[], float]] = {"a": lambda: random.random()}  # table
STAMPS = [time.time]


class Colour(Enum):
    RED = 1

    def picked(self) -> float:
        return random.random()  # of an enum


class Stamped:
    """A descriptor that notes when its attribute was given."""

    def __set__(self, owner: Any, value: Any) -> None:
        vars(owner)["at"] = time.time()  # descriptor


class Timed:
    def __enter__(self) -> Timed:
        self.at = time.time()  # with
        return self

    def __exit__(self, *raised: object) -> None:
        pass


class Made(type):
    def __call__(cls, *args: Any) -> Any:
        time.time()  # metaclass
        return super().__call__(*args)


class OfMeta(metaclass=Made):
    pass


class Unused:
    """Nobody calls these in an action."""

    def now(self) -> float:
        return time.time()

    def get(self, key: str) -> float:
        return time.time()


class Order:
    def __init__(self, article: str) -> None:
        self.article = article

    def pay(self) -> None:
        self.paid = datetime.datetime.now()  # pay

    def __lt__(self, other: Order) -> bool:
        return random.random() < 0.5  # less

    @property
    def age(self) -> float:
        return time.time()  # age

    def shown(self) -> str:
        return f"{self.article} at {time.time()}"

    def __repr__(self) -> str:
        return f"{self.article} at {time.time()}"


@functools.singledispatch
def priced(what: object) -> float:
    return 0


@priced.register
def _(what: int) -> float:
    return random.random()  # registered


def counting() -> Callable[[], int]:
    count = 0

    def counted() -> int:  # closure
        nonlocal count
        count += 1
        return count

    return counted


counted = counting()


def kept(item: Any, items: list[Any] = []) -> int:  # noqa: B006 - what is told
    items.append(item)  # default of a helper
    return len(items)


class Shop:
    given = Stamped()

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        self.basket = Basket()
        self.unused = [Unused()]

    def order(self, name: str) -> None:
        self.orders[name] = Order(name)

    def pay(self, name: str) -> None:
        self.orders[name].pay()

    def look(self, name: str) -> float:
        return self.orders[name].age

    def pick(self, colour: str) -> float:
        return Colour[colour].picked() + Colour.RED.picked()

    def timed(self) -> None:
        with Timed():
            pass

    def meta(self) -> None:
        self.made = OfMeta()

    def put(self, item: str) -> None:
        self.basket.put(item)

    def price(self) -> float:
        return priced(1)

    def maker(self, name: str) -> float:
        return MAKERS[name]() + STAMPS[0]()  # stamps

    def count(self) -> int:
        return counted()

    def keep(self, item: Any) -> int:
        return kept(item)

    def named(self, module: str = "random") -> Any:
        return getattr(random, "random")() + getattr(time, "time")()  # noqa: B009  # by name

    def other(self, directory: str) -> None:
        with init_system(Shop, directory), coopy.connect(directory):  # opens
            pass

    @readonly
    def shown(self, name: str) -> str:
        return self.orders[name].shown()


class Harmless:
    """Nothing here is told, however it looks."""

    def __init__(self, tags: tuple[str, ...] = ()) -> None:
        self.orders: dict[str, Order] = {}
        self.tags = tags

    def add(self, name: str, order: Order) -> int:
        self.orders[name] = order
        return len(self.orders)

    def find(self, names: list[str] | None = None) -> Iterator[Any]:
        names = names or []
        names.append("a")
        yield self.orders.get(names[0])

    def copied(self, names: list[str] = []) -> list[str]:  # noqa: B006
        return [*names]

    @readonly
    def shown(self, name: str) -> str:
        return self.orders[name].shown()


class Defaults:
    def __init__(self, items: list[str] = []) -> None:  # noqa: B006
        self.items = items  # kept default

    def add(self, item: str, seen: list[str] = []) -> int:  # noqa: B006
        seen.append(item)  # changed default
        return len(seen)

    def note(self, item: str, *, seen: dict[str, int] = {}) -> int:  # noqa: B006
        seen[item] = 1  # noted default
        return len(seen)

    def put(self, item: str, group: set[str] = set()) -> None:  # noqa: B006
        self.items.append(group)  # type: ignore[arg-type]  # put default


class Neighbour:
    def ring(self) -> float:
        return time.time()  # neighbour


class Street:
    def ring(self, house: Any) -> None:
        house.ring()


class Orders:
    """The order of sets that is seen in other ways than by a loop."""

    def __init__(self) -> None:
        self.known = {"a": 1}

    def first(self, names: list[str]) -> Any:
        return dict.fromkeys(set(names))  # fromkeys

    def longest(self, names: list[str]) -> Any:
        return max(set(names), key=len)  # longest

    def both(self, names: dict[str, int]) -> Any:
        return list(self.known.keys() & names)  # both

    def apart(self, names: list[str]) -> Any:
        one, two = set(names)  # apart
        return one, two


assert shop_items
