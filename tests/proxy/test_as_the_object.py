"""What programs do with an object that is no call of a method, done with a system."""

from __future__ import annotations

import collections
import copy
import dataclasses
import enum
import inspect
from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import attrs
import pytest

import coopy
from coopy.testing import assert_replays, memory_system
from coopy.values.digest import digest

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


# -- copies


class Shelf(dict[str, list[int]]):
    """What is inherited from a builtin, and attributes beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.label = "top"
        self.same = self.setdefault("a", [1])

    def add(self, name: str, number: int) -> None:
        self.setdefault(name, []).append(number)


class Slots:
    __slots__ = ("numbers",)

    def __init__(self) -> None:
        self.numbers = [1]

    def add(self, name: str, number: int) -> None:
        self.numbers.append(number)


class Own:
    """Says itself how it is copied."""

    def __init__(self) -> None:
        self.numbers = [1]
        self.how = ""

    def add(self, name: str, number: int) -> None:
        self.numbers.append(number)

    def __copy__(self) -> Own:
        other = Own()
        other.numbers, other.how = self.numbers, "copy"
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Own:
        other = Own()
        other.numbers, other.how = copy.deepcopy(self.numbers, memo), "deepcopy"
        return other


class Queue(collections.deque[int]):
    pass


class Refusing(Shelf):
    def __copy__(self) -> Any:
        raise TypeError("there is one shelf")


@pytest.mark.parametrize("cls", [Shelf, Slots, Own, Page, Slim, collections.Counter, Queue, collections.UserDict])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_of_a_system_is_a_plain_object_that_shares_nothing_with_it(cls: Any, copied: Any) -> None:
    system = memory_system(cls)
    change: Any = {Page: lambda each: each.write("b"), Slim: lambda each: each.write("b")}.get(
        cls, lambda each: each.add("a", 2)
    )
    if issubclass(cls, collections.deque):
        change = lambda each: each.append(2)  # noqa: E731
    elif issubclass(cls, (collections.Counter, collections.UserDict)):
        change = lambda each: each.update(a=2)  # noqa: E731
    change(system)
    made = copied(system)
    assert type(made) is cls
    before = digest(made)
    change(system)
    assert digest(made) == before and coopy.control(system).index == 2
    change(made)
    assert_replays(system)
    assert coopy.control(system).index == 2, "what is done with the copy is not recorded"


def test_what_a_copy_holds_twice_it_holds_twice() -> None:
    made = copy.copy(memory_system(Shelf))
    assert made.same is made["a"] and made == {"a": [1]} and made.label == "top"


def test_a_class_that_says_how_it_is_copied_is_asked() -> None:
    own = memory_system(Own)
    assert (copy.copy(own).how, copy.deepcopy(own).how) == ("copy", "deepcopy")
    assert copy.copy(own).numbers is not own.numbers
    with pytest.raises(TypeError, match="there is one shelf"):
        copy.copy(memory_system(Refusing))


def test_a_copy_is_of_what_there_was_between_two_actions_and_of_a_past_state_too() -> None:
    shelf = memory_system(Shelf)
    shelf.add("a", 2)
    past = coopy.control(shelf).replay()
    assert copy.deepcopy({"shelves": [shelf]})["shelves"][0] == copy.copy(past) == {"a": [1, 2]}


def test_a_closed_system_is_not_copied() -> None:
    shelf = memory_system(Shelf)
    coopy.control(shelf).close()
    with pytest.raises(coopy.SystemClosed):
        copy.copy(shelf)
