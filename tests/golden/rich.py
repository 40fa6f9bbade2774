"""A domain that keeps what it is given: arguments of every kind that is stored in a way of its own."""

from __future__ import annotations

import collections
import dataclasses
import enum
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple
from uuid import UUID


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


@dataclasses.dataclass
class Line:
    name: str
    amount: int


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: Any = None


class Pair(NamedTuple):
    one: Any
    two: Any


class Careful:
    """Says what is kept of it, so that it is loaded when the turn of its call has come."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __getstate__(self) -> dict[str, int]:
        return {"value": self.value}

    def __setstate__(self, state: dict[str, int]) -> None:
        self.value = state["value"]

    def __repr__(self) -> str:
        return f"Careful({self.value})"


class Shelf:
    def __init__(self) -> None:
        self.held: list[str] = []

    def put(self, *args: Any, **kwargs: Any) -> None:
        self.held.append(repr((args, sorted(kwargs.items()))))


HOUR = timezone(timedelta(hours=1), "one hour")
VALUES: list[Any] = [
    datetime(2024, 5, 17, 12, 30, tzinfo=HOUR),
    date(2024, 5, 17),
    time(12, 30),
    timedelta(microseconds=147),
    Decimal("12.34"),
    UUID(int=147),
    Fraction(1, 3),
    complex(1, 2),
    range(147),
    [1, Decimal("0.1"), "text"],
    {"a": 1.5, "b": date(2024, 1, 1)},
    {147},
    bytearray(b"\x93"),
    [[1], [2]],
    Colour.RED,
    Line("tea", 147),
    Point(1, [2]),
    Pair(Line("milk", 403), 2),
    collections.deque([1, 2], 5),
    Careful(1),
]
