"""What programs do with an object that is no call of a method, done with a system."""

from __future__ import annotations

import collections
import copy
import dataclasses
import enum
import functools
import inspect
import itertools
import json
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import attrs
import pytest

import coopy
from coopy.testing import assert_replays, memory_system
from coopy.values import arguments
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


# -- arguments


class Desk:
    """Keeps what it is given, as it was given."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def keep(self, *given: Any, **named: Any) -> str:
        self.kept += [*given, *named.values()]
        return ", ".join(type(each).__name__ for each in (*given, *named.values()))

    def take(self, items: Any, how_many: int = -1) -> list[Any]:
        self.kept.append([each for _, each in zip(range(how_many), items, strict=False)] if how_many >= 0 else list(items))
        return list(self.kept[-1])

    def leave(self, kind: Any, error: Any, traceback: Any) -> str:
        self.kept += [kind, error, traceback]
        return f"{kind.__name__} {error} {traceback}"


class Numbers(list[int]):
    pass


class Names(set[str]):
    pass


def shelf_of(*numbers: int) -> Shelf:
    shelf = memory_system(Shelf)
    for number in numbers:
        shelf.add("b", number)
    return shelf


def test_a_system_that_is_an_argument_is_given_as_a_copy_of_its_state() -> None:
    desk, shelf = memory_system(Desk), shelf_of(5)
    assert desk.keep(shelf, [shelf, (shelf,)], {"a": shelf}, name=frozenset({1})) == "Shelf, list, dict, frozenset"
    first, (second, (third,)), fourth, _ = desk.kept
    assert isinstance(first, Shelf) and first is second is third is fourth["a"], "what is one is one"
    shelf.add("b", 6)
    assert first == {"a": [1], "b": [5]}
    assert_replays(desk)


def test_operators_and_methods_of_builtin_types_take_systems() -> None:
    numbers, more = memory_system(Numbers), memory_system(Numbers([1, 2]))
    numbers += more
    numbers.extend(more)
    numbers[1:2] = more
    names, others = memory_system(Names({"a", "b"})), memory_system(Names({"b", "c"}))
    names |= others
    names -= others
    names.symmetric_difference_update(others)
    mapping = memory_system(Mapping)
    mapping.update(memory_system(Mapping({"a": 1})))
    mapping["b"] = others
    assert numbers == [1, 1, 2, 1, 2] and names == {"a", "b", "c"} and mapping == {"a": 1, "b": {"b", "c"}}
    for each in (numbers, names, mapping):
        assert_replays(each)


def test_the_own_system_is_given_beside_another_system() -> None:
    desk = memory_system(Desk, results="recorded")
    desk.keep(desk, shelf_of())
    assert desk.kept[0] is desk and isinstance(desk.kept[1], Shelf)
    assert_replays(desk)


def test_two_systems_are_given_to_each_other_by_two_threads() -> None:
    one, other = memory_system(Desk), memory_system(Desk)

    def give(to: Any, what: Any) -> None:
        for _ in range(20):
            to.take([what], 0)

    threads = [threading.Thread(target=give, args=each, daemon=True) for each in ((one, other), (other, one))]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert not any(each.is_alive() for each in threads) and len(one.kept) == len(other.kept) == 20


ITERATORS: list[Any] = [
    lambda: (each for each in "abc"),
    lambda: iter(["a", "b", "c"]),
    lambda: map(str.lower, "ABC"),
    lambda: filter(None, ["a", "", "b", "c"]),
    lambda: itertools.chain("a", (each for each in "bc")),
    lambda: itertools.islice(itertools.cycle("abc"), 3),
    lambda: iter({"a": 1, "b": 2, "c": 3}),
    lambda: reversed(["c", "b", "a"]),
    lambda: iter(collections.deque("abc")),
]


@pytest.mark.parametrize("make", ITERATORS, ids=lambda make: type(make()).__name__)
def test_an_iterator_is_run_to_its_end_before_the_call_is_recorded(make: Any) -> None:
    desk, iterator = memory_system(Desk), make()
    assert desk.take(iterator) == ["a", "b", "c"] and list(iterator) == []
    assert desk.take(items=make(), how_many=2) == ["a", "b"]
    assert_replays(desk)


def test_an_iterator_of_a_class_of_its_own_is_kept_as_what_it_is() -> None:
    desk, cursor = memory_system(Desk), Cursor()
    assert desk.keep(cursor, itertools.count(3)) == "Cursor, count" and cursor.place == 0
    assert desk.kept[0].place == 0 and next(desk.kept[1]) == 3


class Cursor:
    def __init__(self) -> None:
        self.place = 0

    def __iter__(self) -> Cursor:
        return self

    def __next__(self) -> int:
        self.place += 1
        return self.place


def test_what_an_iterator_raises_is_raised_and_nothing_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = memory_system(Desk)
    with pytest.raises(ZeroDivisionError):
        desk.take(1 // each for each in (1, 0))
    monkeypatch.setattr(arguments, "ITEMS_MAX", 100)
    with pytest.raises(coopy.EncodingError, match="with more than 100 items"):
        desk.take(map(str, itertools.count()))
    with pytest.raises(coopy.EncodingError, match=r"'items'.* is a generator|items\[0\] is of the type"):
        desk.take([(each for each in "abc")])
    assert coopy.control(desk).index == 0


def test_views_of_dicts_are_given_as_lists() -> None:
    desk, found = memory_system(Desk), collections.OrderedDict(a=1, b=2)
    assert (
        desk.keep(found.keys(), found.values(), found.items(), {3: 4}.items(), [{5: 6}.keys()])
        == "list, list, list, list, list"
    )
    assert desk.kept == [["a", "b"], [1, 2], [("a", 1), ("b", 2)], [(3, 4)], [[5]]]
    mapping = memory_system(Mapping)
    mapping.update({"a": 1}.items())
    assert mapping == {"a": 1}
    assert_replays(desk)


class Failure(Exception):
    def __init__(self, what: str, number: int) -> None:
        super().__init__(f"{what} {number}")
        self.number = number


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize("error", [Failure("a", 1), ValueError("a"), OSError(2, "a", "b"), KeyError("a")], ids=repr)
def test_an_exception_is_given_with_what_it_says_and_without_its_frames(error: BaseException) -> None:
    desk, caught = memory_system(Desk), raised(error)
    said = desk.leave(type(caught), caught, caught.__traceback__)
    assert said == f"{type(error).__name__} {error} None"
    kept = desk.kept[1]
    assert (type(kept), kept.args, vars(kept)) == (type(error), error.args, vars(error)) and kept.__traceback__ is None
    desk.keep([caught], error=caught)
    assert_replays(desk)


def test_what_can_not_be_kept_beside_these_is_named() -> None:
    desk = memory_system(Desk)
    for given in ((shelf_of(), threading.Lock()), (Failure("a", 1), threading.Lock()), ({}.keys(), threading.Lock())):
        with pytest.raises(coopy.EncodingError, match="argument '#2' of Desk.keep.* is a lock"):
            desk.keep(*given)
    with pytest.raises(coopy.EncodingError, match="#1"):
        desk.keep([shelf_of(), threading.Lock()])
    assert coopy.control(desk).index == 0 and desk.kept == []


# -- methods


@pytest.mark.parametrize("name", ["class", "lambda", "None", "import", "yield"])
def test_a_method_whose_name_is_a_keyword_is_called_by_getattr(tmp_path: Path, name: str) -> None:
    def method(self: Any, number: int) -> int:
        self.total = getattr(self, "total", 0) + number
        return int(self.total)

    odd = type("Odd", (), {name: method, "from": coopy.readonly(lambda self, more=0: self.total + more)})
    system: Any = coopy.init_system(odd, tmp_path / "data", validation="off")
    assert [getattr(system, name)(2), getattr(system, "from")(), getattr(system, "from")(more=1)] == [2, 2, 3]
    with pytest.raises(TypeError, match="number"):
        getattr(system, name)()
    coopy.control(system).close()
    with coopy.init_system(odd, tmp_path / "data", validation="off") as again:
        assert again.total == 2


class Cached:
    def __init__(self) -> None:
        self.asked = 0

    @coopy.readonly
    def square(self, number: int) -> int:
        return square(number)

    @coopy.readonly
    @functools.lru_cache(maxsize=7)  # noqa: B019
    def cube(self, number: int) -> int:
        return number**3

    @functools.cache  # noqa: B019
    def half(self, number: int) -> float:
        return number / 2


@functools.cache
def square(number: int) -> int:
    return number**2


def test_the_cache_of_a_method_is_reached_through_the_system() -> None:
    cached: Any = memory_system(Cached, validation="off")
    Cached.cube.cache_clear()
    assert [cached.cube(2), cached.cube(2), cached.half(3)] == [8, 8, 1.5]
    assert cached.cube.cache_info().hits == 1 and cached.cube.cache_parameters()["maxsize"] == 7
    assert type(cached).half.cache_info().currsize == cached.half.cache_info().currsize > 0
    cached.cube.cache_clear()
    cached.half.cache_clear()
    assert cached.cube.cache_info().currsize == cached.half.cache_info().currsize == 0
    assert not hasattr(cached.square, "cache_clear")


# -- json, and the attributes


def test_json_in_python_takes_a_dict_or_a_list_and_json_in_c_says_that_it_does_not() -> None:
    mapping, numbers = memory_system(Mapping), memory_system(Numbers)
    mapping["a"] = [1]
    numbers.append(2)
    assert json.loads("".join(json.JSONEncoder(indent=1).iterencode({"b": mapping, "c": numbers}))) == {
        "b": {"a": [1]},
        "c": [2],
    }
    for each, plain in ((mapping, {"a": [1]}), (numbers, [2])):
        with pytest.raises(TypeError, match="is not JSON serializable"):
            json.dumps(each)
        assert json.loads(json.dumps(each, default=copy.copy)) == plain == json.loads(json.dumps(copy.copy(each)))


@pytest.mark.parametrize("cls", [Shelf, Own, Desk])
def test_vars_of_a_system_are_those_of_the_object(cls: Any) -> None:
    system = memory_system(cls)
    assert (
        {"label": "top", "same": [1]}.items() <= vars(system).items() if cls is Shelf else set(vars(system)) >= set(vars(cls()))
    )
    with pytest.raises((TypeError, AttributeError)):
        vars(memory_system(Slots))
