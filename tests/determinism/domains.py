"""Domain classes for the tests of coopy.determinism.check. A comment ``# <name>`` marks a line a test asks for."""

from __future__ import annotations

import functools
import os
import random
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from coopy.decorators import readonly


class _Clock:
    """Stands in for coopy's clock: an object of a module, whose methods have the names of others."""

    def now(self) -> datetime:
        return datetime(2024, 1, 1)


clock = _Clock()
generator = random.Random(42)
alias = datetime.now


def stamp() -> datetime:
    return datetime.now()  # stamp


def touch() -> datetime:
    return stamp()


def even(n: int) -> bool:
    return n == 0 or odd(n - 1)


def odd(n: int) -> bool:
    return n != 0 and even(n - 1)


def never_used() -> float:
    return time.time()


@functools.lru_cache
def cached_stamp() -> float:
    return time.time()  # cached_stamp


def named(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return call


def unnamed(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return call


class Page:
    def __init__(self, name: str) -> None:
        self.name = name
        self.created = datetime.now()  # page

    def age(self) -> float:
        return time.time()  # age of page

    @classmethod
    def blank(cls) -> Page:
        time.time_ns()  # blank
        return cls("")


@dataclass
class Comment:
    text: str
    written: datetime = field(default_factory=datetime.now)  # written
    key: str = field(default_factory=lambda: str(uuid.uuid4()))  # key
    votes: list[int] = field(default_factory=list)
    chance: random.Random = field(default_factory=random.Random)  # chance


class UsesHelper:
    def create(self) -> None:
        self.at = stamp()

    def again(self) -> None:
        self.at = stamp()


class UsesHelperOfHelper:
    def create(self) -> None:
        self.at = touch()


class UsesHelperAsValue:
    def create(self, names: list[str]) -> None:
        self.at = list(map(lambda make: make(), [stamp for _ in names]))


class UsesCachedHelper:
    def create(self) -> None:
        self.at = cached_stamp()


class UsesCircle:
    def create(self) -> bool:
        return even(4)


class MakesPage:
    def create(self, name: str) -> None:
        self.page = Page(name)


class MakesPageByClassMethod:
    def create(self) -> None:
        self.page = Page.blank()


class MakesComment:
    def create(self, text: str) -> None:
        self.comment = Comment(text)


class OnlyAsksAboutPage:
    def create(self, page: Page) -> float:
        assert isinstance(page, Page)
        return page.age()


class UsesClock:
    def create(self) -> datetime:
        return clock.now()


class UsesGenerator:
    def create(self, names: list[str]) -> str:
        return generator.choice(names)  # generator


class UsesAlias:
    def create(self) -> None:
        self.at = alias()  # alias


class HasAlias:
    now = datetime.now
    ticks = staticmethod(time.time)
    later = datetime.now

    def __init__(self) -> None:
        self.later = clock.now

    def create(self) -> None:
        self.at = self.now()  # has alias
        self.tick = self.ticks()  # has static alias
        self.end = self.later()


class HasGenerator:
    dice = random.Random(42)

    def roll(self) -> int:
        return self.dice.randint(1, 6)  # has generator


@dataclass
class Diary:
    started: date = field(default_factory=date.today)  # started
    tags: set[str] = field(default_factory=set)
    years: set[int] = field(default_factory=set)

    def lines(self) -> list[str]:
        return list(self.tags)  # tags

    def ages(self) -> list[int]:
        return list(self.years)


class Reads:
    @readonly
    def age(self) -> float:
        return time.time()

    @property
    @readonly
    def seconds(self) -> float:
        return time.time()

    @readonly
    @named
    def wrapped(self) -> float:
        return time.time()

    @named
    @readonly
    def wrapped_too(self) -> float:
        return time.time()


class UsesItsReads:
    @readonly
    def age(self) -> float:
        return time.time()  # age

    @property
    @readonly
    def seconds(self) -> float:
        return time.monotonic()  # seconds

    @readonly
    def unused(self) -> float:
        return time.time()

    def create(self) -> None:
        self.at = self.age() + self.seconds


class EveryKindOfMethod:
    def __init__(self) -> None:
        self.made = time.time()  # __init__

    def __len__(self) -> int:
        return int(time.time())  # __len__

    @property
    def getter(self) -> float:
        return time.time()  # getter

    @getter.setter
    def getter(self, value: float) -> None:
        self.set_at = time.time()  # setter

    @getter.deleter
    def getter(self) -> None:
        self.deleted_at = time.time()  # deleter

    @functools.cached_property
    def cached(self) -> float:  # coopy: ignore[CPY214]
        return time.time()  # cached

    @staticmethod
    def static() -> float:
        return time.time()  # static

    @classmethod
    def of_class(cls) -> float:
        return time.time()  # of_class

    @named
    def decorated(this) -> float:
        return time.time()  # decorated

    @unnamed
    def decorated_silently(self) -> float:
        return time.time()  # decorated_silently

    assigned = lambda self: time.time()  # assigned

    def generated(self) -> Iterator[float]:
        yield time.time()  # generated

    def nested(self) -> Callable[[], float]:
        def inner() -> float:
            return time.time()  # nested

        return inner

    def nested_self(self) -> Callable[[Any], float]:
        return lambda self: time.time()  # nested_self


class Base:
    def kept(self) -> float:
        return time.time()  # kept

    def replaced(self) -> float:
        return time.time()

    def extended(self) -> float:
        return time.time()  # extended


class Derived(Base):
    def replaced(self) -> float:
        return 0.0

    def extended(self) -> float:
        return super().extended() + 1


class DictDomain(dict):  # type: ignore[type-arg]
    def touch(self, name: str) -> None:
        self[name] = time.time()  # dict domain


class WithDefault:
    def create(self, name: str, at: datetime = datetime.now(), *, make: Any = uuid.uuid4) -> None:  # default
        self.at = at


def early() -> float:
    return time.time()  # early


def later() -> str:
    return str(uuid.uuid4())  # later


class HasStart:
    since = time.time()  # attribute made at start
    until = [datetime.now()]  # attribute of another
    other = time.time()

    def __init__(self) -> None:
        self.other = 0.0


@dataclass
class MadeAtStart(HasStart):
    at: datetime = datetime.now()  # field made at start
    key: str = field(default_factory=functools.partial(str, uuid.uuid4))  # field made by helper
    keys: str = field(default_factory=later)

    def create(
        self,
        a: datetime = datetime.now(),  # parameter made at start
        b: tuple[float, ...] = (early(), random.random()),  # parameter made by helper
        c: Callable[[], datetime] = lambda: datetime.now(),  # parameter made later
        d: Callable[[], uuid.UUID] = uuid.uuid4,  # parameter called later
        e: str = os.getcwd(),  # parameter of files
    ) -> object:
        return self.since, HasStart.until


class HasUnusedStart(HasStart):
    def create(self) -> float:
        return self.other

    @readonly
    def age(self) -> float:
        return self.since


def ignored() -> float:
    return time.time()  # coopy: ignore[CPY101]


@dataclass
class Ignores:
    at: datetime = datetime.now()  # coopy: ignore[CPY104]
    key: str = field(  # coopy: ignore[CPY103]
        default_factory=lambda: str(uuid.uuid4()),
    )

    def create(  # coopy: ignore
        self,
        name: str,
        at: datetime = datetime.now(),
    ) -> object:
        return ignored(), _KeptElsewhere.since


class _KeptElsewhere:
    since = time.time()  # coopy: ignore[CPY104]


class RunsBoth:
    def create(self) -> float:
        return early()

    def change(self, at: float = early()) -> float:
        return early()


class Tags:
    def __init__(self) -> None:
        self.tags: set[str] = set()
        self.years: set[int] = set()
        self.mixed = set()  # type: ignore[var-annotated]
        self.ordered = {}  # type: ignore[var-annotated]

    def freeze(self) -> None:
        self.mixed = sorted(self.mixed)
        self.tags |= {"new"}

    def walked(self) -> None:
        for tag in self.tags:  # for
            self.ordered[tag] = 1

    def listed(self) -> list[str]:
        return [tag.upper() for tag in self.tags]  # list comprehension

    def keyed(self) -> dict[str, int]:
        return {tag: 1 for tag in self.tags}  # dict comprehension

    def joined(self) -> str:
        return ", ".join(self.tags)  # join

    def first(self) -> str:
        return next(iter(self.tags))  # iter

    def popped(self) -> str:
        return self.tags.pop()  # pop

    def starred(self) -> list[str]:
        return [*self.tags]  # star

    def united(self, names: list[str]) -> list[str]:
        return list(self.tags | set(names))  # union

    def local(self, names: list[str]) -> None:
        unique = set(names)
        for name in unique:  # local
            self.ordered[name] = 1

    def without_order(self, names: list[str]) -> object:
        for number in {1, 2, 3}:
            self.years.add(number)
        for number in set(range(9)):
            self.years.add(number)
        for tag in sorted(self.tags):
            self.ordered[tag] = len(self.tags)
        for year in self.years:
            self.ordered[year] = 1
        for name in self.mixed:
            self.ordered[name] = 1
        for name in self.ordered:
            self.tags.add(name)
        self.tags.update(name.upper() for name in set(names))
        lengths = {len(tag) for tag in self.tags}
        return (
            "x" in self.tags,
            sum(len(tag) for tag in self.tags),
            any(tag for tag in self.tags),
            sorted([tag for tag in self.tags]),
            sorted(list(set(names))),
            min(self.tags),
            max(*self.tags),
            frozenset(map(str.upper, self.tags)),
            {tag for tag in self.tags},
            {*self.tags},
            self.ordered.pop("x"),
            lengths,
        )


class TellsIdentity:
    def __init__(self) -> None:
        self.key = ""

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"<TellsIdentity at {id(self):#x}>"
