"""What programs do with an object that is no call of a method, done with a system."""

from __future__ import annotations

import collections
import dataclasses
import enum
import inspect
from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import attrs
import pytest

from coopy.testing import assert_replays, memory_system

# -- the class


@dataclasses.dataclass
class Page:
    name: str = "home"
    words: list[str] = dataclasses.field(default_factory=list)
    LIMIT: ClassVar[int] = 3

    def write(self, word: str) -> int:
        self.words.append(word)
        return self.LIMIT


@attrs.define
class Slim:
    name: str = "home"
    words: list[str] = attrs.field(factory=list)

    def write(self, word: str) -> None:
        self.words.append(word)


class Level(enum.Enum):
    LOW = 1


class Place(NamedTuple):
    row: int


class Shape(ABC):
    kind: str

    @abstractmethod
    def sides(self) -> int: ...


class Square(Shape):
    kind = "square"
    Inner = Place
    LEVELS = tuple(Level)

    def sides(self) -> int:
        return 4

    @classmethod
    def named(cls, name: str) -> str:
        return f"{cls.kind} {name}"

    @staticmethod
    def twice(number: int) -> int:
        return 2 * number


def test_dataclasses_take_a_system_for_an_object_of_its_class() -> None:
    page = memory_system(Page)
    page.write("a")
    assert dataclasses.is_dataclass(page)
    assert dataclasses.asdict(page) == {"name": "home", "words": ["a"]} and dataclasses.astuple(page) == ("home", ["a"])
    assert (
        [field.name for field in dataclasses.fields(page)]
        == ["name", "words"]
        == [field.name for field in dataclasses.fields(type(page))]
    )
    other = dataclasses.replace(page, name="other")
    assert type(other) is Page and (other.name, page.name) == ("other", "home")
    with pytest.raises(TypeError):
        dataclasses.fields(memory_system(Slim))


def test_attrs_take_a_system_for_an_object_of_its_class() -> None:
    slim = memory_system(Slim)
    slim.write("a")
    assert attrs.has(type(slim)) and [field.name for field in attrs.fields(type(slim))] == ["name", "words"]
    assert attrs.asdict(slim) == {"name": "home", "words": ["a"]} and attrs.astuple(slim) == ("home", ["a"])
    assert attrs.evolve(slim, name="b").name == "b" and slim.name == "home"


def test_the_class_of_a_system_answers_as_the_domain_class() -> None:
    square = memory_system(Square)
    cls: Any = type(square)
    assert (cls.kind, cls.Inner, cls.LEVELS, cls.named("a"), cls.twice(2)) == ("square", Place, (Level.LOW,), "square a", 4)
    assert not inspect.isabstract(cls) and not hasattr(cls, "nothing")
    with pytest.raises(AttributeError, match="type object 'Square' has no attribute 'nothing'"):
        cls.nothing  # noqa: B018
    # What one of the two is an instance of is remembered for each by itself.
    assert isinstance(square, Shape) and isinstance(Square(), Shape) and not isinstance(square, Page)


def test_the_class_of_a_system_makes_plain_objects() -> None:
    page = memory_system(Page)
    made = type(page)("b", words=["c"])
    assert type(made) is Page and (made.name, made.words, page.name) == ("b", ["c"], "home")


def test_a_constant_that_is_changed_by_the_class_of_a_system_is_changed_for_its_methods() -> None:
    page = memory_system(Page)
    try:
        type(page).LIMIT = 4
        assert page.write("a") == Page.LIMIT == page.LIMIT == 4
    finally:
        Page.LIMIT = 3


class Mapping(dict[Any, Any]):
    pass


class Ordered(collections.OrderedDict[Any, Any]):
    pass


class Bytes(bytearray):
    pass


def test_classmethods_of_builtin_types_are_those_of_the_class() -> None:
    mapping = memory_system(Mapping)
    mapping["a"] = 1
    for each in (mapping, type(mapping)):
        made = each.fromkeys("bc", 2)
        assert type(made) is Mapping and made == {"b": 2, "c": 2}
    assert type(memory_system(Ordered).fromkeys([1])) is Ordered
    assert memory_system(Bytes).fromhex("6162") == b"ab"
    counted = memory_system(collections.Counter("aab"))
    with pytest.raises(NotImplementedError):
        counted.fromkeys("a")
    assert mapping == {"a": 1}
    assert_replays(mapping)
