"""Code that takes hold of functions when it is imported, in every way that is followed. Imports no coopy."""

from __future__ import annotations

import functools
import os
import random
import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from logging import Formatter  # noqa: F401
from random import choice, shuffle  # noqa: F401
from secrets import randbits, token_hex
from time import time as seconds
from typing import Any

now = datetime.now
in_utc = functools.partial(datetime.now, None)
MAKERS = {"id": uuid.uuid4, "at": datetime.now}
CLOCKS = [time.time_ns]


class Late(datetime):
    pass


late = Late.now


@dataclass
class Entry:
    at: datetime = field(default_factory=datetime.now)
    day: date = field(default_factory=date.today)
    key: uuid.UUID = field(default_factory=uuid.uuid4)
    stamp: float = field(default_factory=time.time)


class Service:
    clock = time.time
    key = staticmethod(uuid.uuid4)
    makers = {"draw": random.random}

    class Inner:
        draw = random.random

    def default(self, now: Callable[[], Any] = datetime.now, *, draw: Callable[[int], bytes] = os.urandom) -> Any:
        return now(), draw(4)

    @classmethod
    def of_class(cls, now: Callable[[], Any] = time.time_ns) -> Any:
        return now()

    @staticmethod
    def of_nobody(now: Callable[[], Any] = time.time_ns) -> Any:
        return now()

    @property
    def shown(self, now: Callable[[], Any] = time.time_ns) -> Any:
        return now()

    @functools.lru_cache(maxsize=None)
    def cached(self, now: Callable[[], Any] = time.time_ns) -> Any:
        return now()


def closed() -> Callable[[], Any]:
    draw, clock = random.random, time.time

    def inner() -> Any:
        return draw(), clock()

    @functools.wraps(inner)
    def outer() -> Any:
        return inner()

    return outer


inner = closed()
bits = random.SystemRandom().getrandbits

try:
    import attrs
except ImportError:
    attrs = None  # type: ignore[assignment]
else:

    @attrs.define
    class Record:
        at: datetime = attrs.field(factory=datetime.now)
        key: uuid.UUID = attrs.field(factory=uuid.uuid4)


def later() -> type:
    """A class made from another after its functions were replaced."""

    @dataclass
    class Later(Entry):
        note: str = ""

    return Later


def later_record() -> type:
    @attrs.define
    class Later(Record):
        note: str = ""

    return Later


ASKED: dict[str, Callable[[], Any]] = {
    "from import": lambda: (seconds(), choice(range(10**9)), token_hex()),
    "from import of a bound method": lambda: randbits(64),
    "a name": lambda: now(),
    "a partial": lambda: in_utc(),
    "a dict": lambda: (MAKERS["id"](), MAKERS["at"]()),
    "a list": lambda: CLOCKS[0](),
    "a method of a subclass": lambda: late(),
    "fields of a dataclass": lambda: Entry(),
    "fields of a later dataclass": lambda: later()(),
    "a class attribute": lambda: (Service.clock(), Service().clock()),
    "a static method": lambda: Service.key(),
    "a dict of a class": lambda: Service.makers["draw"](),
    "a class in a class": lambda: Service.Inner.draw(),
    "default arguments": lambda: Service().default(),
    "default of a class method": lambda: Service.of_class(),
    "default of a static method": lambda: Service.of_nobody(),
    "default of a property": lambda: Service().shown,
    "default of a cached method": lambda: Service().cached(),
    "a closure in a closure": lambda: inner(),
    "a method of a generator": lambda: bits(64),
    "secrets": lambda: (secrets.randbits(64), secrets.choice(range(10**9))),
}
if attrs is not None:
    ASKED["fields of attrs"] = lambda: Record()
    ASKED["fields of a later attrs class"] = lambda: later_record()()
