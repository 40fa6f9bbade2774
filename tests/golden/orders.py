"""The domain of the directories whose name ends in -fields: classes of every kind that stored bytes say something of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

TYPES = """
@dataclass(frozen=True, slots=True)
class Order:
    article: str
    price: int
    refund: int

@dataclass
class Page:
    title: str

class Point(NamedTuple):
    x: int
    y: int

class Cell:
    __slots__ = ("value",)

class Colour(Enum):
    RED = 1
    BLUE = 2
"""


def define(types: str) -> None:
    """Gives this module its classes; other ones, if a test changes them."""
    exec(types, globals())


define(TYPES)
Order: Any
Page: Any
Point: Any
Cell: Any
Colour: Any


class Desk:
    def __init__(self) -> None:
        self.things: list[Any] = []

    def put(self, *things: Any) -> None:
        self.things.extend(things)

    def title(self, text: str) -> None:
        self.things.append(Page(text))

    def fill(self, value: int) -> None:
        cell = Cell()
        cell.value = value
        self.things.append(cell)


def plain(thing: Any) -> Any:
    """A thing as JSON has it, with the names of its fields."""
    if isinstance(thing, Enum):
        return [type(thing).__name__, thing.name]
    names = getattr(thing, "_fields", None) or getattr(thing, "__slots__", None) or list(vars(thing))
    return [type(thing).__name__, {name: getattr(thing, name) for name in names}]
