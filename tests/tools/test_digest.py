"""Equal states have equal digests, wherever and however they were made; others have others."""

from __future__ import annotations

import copy
import datetime as dt
import enum
import functools
import gc
import pickle
import time
import tracemalloc
import uuid
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import program
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import coopy
from coopy import EncodingError, init_system
from coopy.values import digest as digests_module
from coopy.values.digest import DIGEST_BYTES, OutOfTime, OwnCode, digest, digests, members


class Plain:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class Slots:
    __slots__ = ("a", "b", "__dict__", "__private")

    def __init__(self, **attributes: Any) -> None:
        for name, value in attributes.items():
            setattr(self, name, value)


class OnlySlots:
    __slots__ = ("a", "b")

    def __init__(self, a: Any = None) -> None:
        self.a = a


@dataclass
class Data:
    a: Any
    b: Any = None


@dataclass(frozen=True)
class Frozen:
    a: Any
    b: Any = None


class Point(NamedTuple):
    x: Any
    y: Any


Row = namedtuple("Row", "x y")


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Mood(enum.Flag):
    GOOD = 1
    LOUD = 2


class Number(int):
    pass


class Words(list):  # type: ignore[type-arg]
    pass


class Shelf(dict):  # type: ignore[type-arg]
    pass


class Cached:
    """Keeps its items and not its cache."""

    def __init__(self, items: list[int], cache: object) -> None:
        self.items, self.cache = items, cache

    def __getstate__(self) -> dict[str, Any]:
        return {"items": self.items}


class Reduced:
    def __init__(self, *args: Any) -> None:
        self.args = args

    def __reduce__(self) -> Any:
        return Reduced, self.args, None, iter([1, 2]), iter([("k", "v")])

    def append(self, item: int) -> None:
        assert item in (1, 2)

    def __setitem__(self, key: str, value: str) -> None:
        assert (key, value) == ("k", "v")


class Fresh:
    """Says what it is in objects that are made for the answer alone."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> Any:
        return Fresh, ((self.number, (self.number,), 0),)


class Node:
    def __init__(self, name: str = "", following: Any = None) -> None:
        self.name = name
        self.following = following


def text(value: str) -> str:
    """An equal text that is another object."""
    return "".join(list(value))


def ring(*names: str) -> Node:
    nodes = [Node(name) for name in names]
    for node, following in zip(nodes, nodes[1:] + nodes[:1], strict=True):
        node.following = following
    return nodes[0]


def both(value: Any) -> list[Any]:
    return [value, value]


def adder(number: int) -> Callable[[int], int]:
    return lambda other: other + number


def counter() -> Callable[[], int]:
    count = 0

    def up() -> int:
        nonlocal count
        count += 1
        return count

    return up


def neighbours(pairs: list[tuple[str, str]]) -> set[Any]:
    """A graph: nodes that know one another, in a set."""
    nodes = {name: Plain(name=name, near=set()) for pair in pairs for name in pair}
    for one, other in pairs:
        nodes[one].near.add(nodes[other])
        nodes[other].near.add(nodes[one])
    return set(nodes.values())


def without(value: Any) -> Any:
    del value.b
    return value


NAN = float("nan")


def nine() -> list[Any]:
    return [[number] for number in range(9)]


UTC = dt.timezone.utc
EAST = dt.timezone(dt.timedelta(hours=1))
NOON = dt.datetime(2020, 1, 1, 12)
EQUAL: dict[str, Callable[[], tuple[Any, Any]]] = {
    "equal texts, one object and two": lambda: ([text("abc")] * 2, [text("abc"), text("abc")]),
    "equal texts, interned and not": lambda: (["abc"], [text("abc")]),
    "equal bytes, one object and two": lambda: (both(bytes(300)), [bytes(300), bytes(300)]),
    "big numbers": lambda: ([1 << 200] * 2, [1 << 200, int("1" + "0" * 200, 2)]),
    "equal tuples, one object and two": lambda: (both((1, text("x"))), [(1, "x"), (1, text("x"))]),
    "nested tuples, shared and not": lambda: (both((1, (2, (3,)))), [(1, (2, (3,))), (1, (2, (3,)))]),
    "tuples around one list, shared and not": lambda: (
        (lambda inner: both((1, inner)))([1]),
        (lambda inner: [(1, inner), (1, inner)])([1]),
    ),
    "nans": lambda: ([NAN, (NAN,), {NAN: NAN}], [-NAN, (float("nan"),), {float("nan"): -NAN}]),
    "nan in an object": lambda: (Plain(a=NAN), Plain(a=-NAN)),
    "nan alone": lambda: (NAN, -NAN),
    "nan beside a list": lambda: ([NAN, []], [-NAN, []]),
    "nan deep in a tuple": lambda: ([(1, (NAN,)), (NAN, [])], [(1, (-NAN,)), (-NAN, [])]),
    "sets filled in another order": lambda: ({8, 0, 16, "a", "b"}, {"b", 16, "a", 0, 8}),
    "sets of kinds that cannot be compared": lambda: ({1, "a", None, 2.5, (1, 2)}, {(1, 2), 2.5, None, "a", 1}),
    "frozensets in sets": lambda: ({frozenset({"a", "b"}), "c"}, {"c", frozenset({"b", "a"})}),
    "sets of tuples of tuples": lambda: ({(1, (2, "a")), (3, ())}, {(3, ()), (1, (2, text("a")))}),
    "objects in sets": lambda: ({Plain(a=1), Plain(a=2)}, {Plain(a=2), Plain(a=1)}),
    "data in sets": lambda: ({Frozen(1), Frozen("x")}, {Frozen("x"), Frozen(1)}),
    "an object in a set and beside it": lambda: [(lambda a, b: [{a, b}, a])(Plain(n=1), Plain(n=1)) for _ in "12"],
    "graphs": lambda: (neighbours([("a", "b"), ("b", "c")]), neighbours([("c", "b"), ("a", "b")])),
    "rings in sets": lambda: ({ring("a", "b"), ring("c")}, {ring("c"), ring("a", "b")}),
    "attributes set in another order": lambda: (Plain(a=1, b=2), Plain(b=2, a=1)),
    "slots set in another order": lambda: (Slots(a=1, b=2, c=3), Slots(c=3, b=2, a=1)),
    "kept attributes": lambda: (Cached([1], cache=1), Cached([1], cache=2)),
    "dates": lambda: ([NOON, NOON.date(), NOON.time(), EAST], copy.deepcopy([NOON, NOON.date(), NOON.time(), EAST])),
    "datetimes of one zone, shared and not": lambda: (
        both(NOON.replace(tzinfo=EAST)),
        [NOON.replace(tzinfo=dt.timezone(dt.timedelta(hours=1))), NOON.replace(tzinfo=EAST)],
    ),
    "paths in pieces": lambda: (PurePosixPath("a", "b"), PurePosixPath("a/b")),
    "numbers of other modules": lambda: (
        both([Decimal("1.0"), Fraction(1, 2), uuid.UUID(int=1), 1j, range(3)]),
        both([Decimal("1.0"), Fraction(2, 4), uuid.UUID(int=1), complex(0, 1), range(0, 3, 1)]),
    ),
    "closures": lambda: (adder(1), adder(1)),
    "defaults and counters": lambda: (counter(), counter()),
    "rings": lambda: (ring("a", "b"), ring("a", "b")),
    "rows": lambda: (both(Point(1, [2])), both(Point(1, [2]))),
    "containers of the library": lambda: [
        [OrderedDict(a=1), defaultdict(list, a=[]), Counter("ab"), deque([1], 5), bytearray(b"x")] for _ in "12"
    ],
    "reduced": lambda: (Reduced(1, [2]), Reduced(1, [2])),
    "errors": lambda: (ValueError("x", 1), ValueError("x", 1)),
}

UNEQUAL: dict[str, Callable[[], tuple[Any, ...]]] = {
    "scalars": lambda: (1, True, 1.0, "1", b"1", 1j, Decimal(1), Fraction(1), Number(1), (1,), [1], {1}, frozenset({1}), None),
    "scalars in a list": lambda: ([1], [True], [1.0], ["1"], [b"1"], [bytearray(b"1")], [(1,)], [[1]], [{1}], [{1: 1}], [None]),
    "scalars in a tuple": lambda: ((1, []), (True, []), (1.0, []), ("1", [])),
    "scalars in a set": lambda: ({1, "a"}, {True, "a"}, {1.0, "a"}),
    "nothing": lambda: (
        [],
        (),
        {},
        set(),
        frozenset(),
        "",
        b"",
        bytearray(),
        0,
        False,
        0.0,
        None,
        object(),
        ...,
        NotImplemented,
    ),
    "floats": lambda: (0.0, -0.0, float("inf"), float("nan"), 5e-324),
    "precision": lambda: (Decimal("1.0"), Decimal("1.00"), Decimal("-1"), Decimal("nan")),
    "order of a list": lambda: ([1, 2], [2, 1]),
    "order of a dict": lambda: ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "keys and values": lambda: ({1: 2, 3: 4}, {1: 3, 2: 4}, {1: 4, 3: 2}),
    "what is inside what": lambda: ([[1], 2], [[1, 2]], [[], 1, 2], [1, [2]], [[1], [2]]),
    "what is inside which": lambda: ([[[1]], []], [[], [[1]]], [[[]], [1]]),
    "marks of ours": lambda: ([[]], [...], [(0,)], [("nan",)], [NAN], [("tuple", ())], [()], ["list", 0], [("list", 0)]),
    "one list and two": lambda: (both([1]), [[1], [1]]),
    "one object and two": lambda: (both(Plain(a=1)), [Plain(a=1), Plain(a=1)]),
    "one set and two": lambda: (both({1}), [{1}, {1}]),
    "one list in two tuples and two": lambda: ((lambda inner: [(inner,), (inner,)])([]), [([],), ([],)]),
    "one list among many and another": lambda: ([*nine(), *both([])], [*nine(), [], []]),
    "one list before many and another": lambda: ((lambda one: [one, [*nine(), one]])([]), [[], [*nine(), []]]),
    "which is shared": lambda: ((lambda a, b: [a, b, a])([], []), (lambda a, b: [a, b, b])([], [])),
    "cells": lambda: ((lambda f: [f, f])(counter()), [counter(), counter()]),
    "attributes": lambda: (Plain(a=1), Plain(b=1), Plain(a=1, b=None), Plain(), Plain(a=2), Plain(a=[1])),
    "classes": lambda: (Plain(a=1), Slots(a=1), Data(1), Data(1, 1), Frozen(1), OnlySlots(1), Node()),
    "slots": lambda: (OnlySlots(1), OnlySlots(2), OnlySlots()),
    "subclasses": lambda: ([1], Words([1]), deque([1]), deque([1], 2), {"a": 1}, Shelf(a=1), OrderedDict(a=1), Counter("a")),
    "factories": lambda: (defaultdict(list), defaultdict(set), defaultdict(None)),
    "rows": lambda: (Point(1, 2), Row(1, 2), (1, 2), Point(2, 1)),
    "members": lambda: (Colour.RED, Colour.BLUE, 1, Mood.GOOD, Mood.GOOD | Mood.LOUD),
    "classes and functions": lambda: (Plain, Node, int, ring, len, both, NAN.hex, [].append, [1].append, Node("a").__repr__),
    "lambdas": lambda: (adder(1), adder(2), lambda: 1, lambda: 2, lambda a=1: a, lambda a=2: a, lambda: len),
    "partials": lambda: (functools.partial(ring, "a"), functools.partial(ring, "b"), functools.partial(both, "a")),
    "times": lambda: (
        NOON,
        NOON.replace(fold=1),
        NOON.replace(tzinfo=UTC),
        NOON.replace(tzinfo=EAST),
        NOON.date(),
        NOON.time(),
    ),
    "paths": lambda: (PurePosixPath("a"), PureWindowsPath("a"), Path("a"), "a"),
    "reduced": lambda: (Reduced(1), Reduced(2), Reduced([1])),
    "kept attributes": lambda: (Cached([1], 0), Cached([2], 0)),
    "what is made to be digested": lambda: [[Fresh(number % count) for number in range(100)] for count in (1, 2, 100)],
    "objects in sets": lambda: ({Plain(a=1)}, {Plain(a=2)}, {Plain(a=[1])}, {Plain(a=1), Plain(a=1)}),
    "graphs": lambda: (
        neighbours([("a", "b"), ("b", "c")]),
        neighbours([("a", "b"), ("a", "c")]),
        neighbours([("a", "b"), ("b", "c"), ("c", "a")]),
    ),
    "rings": lambda: (ring("a"), ring("a", "a"), ring("a", "b"), ring("b", "a"), Node("a")),
    "rings in sets": lambda: ({ring("a", "b", "c")}, {ring("a", "c", "b")}, {ring("a", "b")}),
    "elements": lambda: ({"a"}, {"b"}, {"a", "b"}, {("a",)}, {(("a",),)}, {frozenset("a")}),
}


@pytest.mark.parametrize("case", EQUAL)
def test_what_is_equal_has_one_digest(case: str) -> None:
    one, other = EQUAL[case]()
    assert digest(one) == digest(other)
    assert digest(Plain(held=one)) == digest(Plain(held=other))
    assert digest([{"held": (1, one)}]) == digest([{"held": (1, other)}])


@pytest.mark.parametrize("case", UNEQUAL)
@pytest.mark.parametrize("held", [lambda value: value, lambda value: [0, value], lambda value: Plain(a=(0, value))])
def test_what_is_not_equal_has_another_digest(case: str, held: Callable[[Any], Any]) -> None:
    values = [held(value) for value in UNEQUAL[case]()]
    found = [digest(value) for value in values]
    alike = [(one, other) for other, each in enumerate(found) for one in range(other) if found[one] == each]
    assert not alike
    assert {len(each) for each in found} == {DIGEST_BYTES}


def every_case() -> Iterator[Any]:
    for make in EQUAL.values():
        yield from make()
    for name, several in UNEQUAL.items():
        if name not in ("lambdas", "cells", "what is made to be digested"):
            yield from several()


def test_a_pickle_round_trip_changes_no_digest() -> None:
    for value in every_case():
        try:
            data = pickle.dumps(value, 5)
        except (AttributeError, pickle.PicklingError, TypeError):
            continue  # Closures.
        again = pickle.loads(data)
        assert digest(again) == digest(value), value
        assert digest([again, again]) == digest([value, value]), value


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.binary(max_size=4)
    | st.decimals(allow_nan=False)
    | st.dates()
)
hashable = st.recursive(scalars, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=4)
states = st.recursive(
    hashable,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(hashable, inner, max_size=4)
        | st.sets(hashable, max_size=4)
        | st.builds(Node, st.text(max_size=2), inner)
        | st.builds(both, inner)
        | st.builds(Data, inner, inner)
    ),
    max_leaves=20,
)


@given(states)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_copies_have_the_digest_of_what_they_are_copies_of(state: Any) -> None:
    assert digest(copy.deepcopy(state)) == digest(state)
    assert digest(pickle.loads(pickle.dumps(state, 5))) == digest(state)


@given(st.lists(hashable, unique_by=repr, min_size=2, max_size=6))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_a_set_has_the_digest_of_a_set_filled_the_other_way_round(elements: list[Any]) -> None:
    def held(order: list[Any]) -> Any:
        return [set(order), {Frozen(each) for each in order}, frozenset(order)]

    # What is equal and not the same, 1 and True, is there once, as it came first.
    if len(set(elements)) == len(elements):
        assert digest(held(elements)) == digest(held(elements[::-1]))


def test_other_processes_have_the_same_digests_whatever_their_hashes(tmp_path: Path) -> None:
    script = program.write(
        tmp_path / "shown.py",
        """
        import dataclasses
        from coopy.values.digest import digest

        @dataclasses.dataclass(frozen=True)
        class Word:
            text: str
            near: object = None

        class Page:
            def __init__(self, name):
                self.name = name
                self.links = set()

        words = ["tea", "milk", "sugar", "salt", "", "a", "b", "c"]
        pages = [Page(word) for word in words]
        for page, following in zip(pages, pages[1:] + pages[:1]):
            page.links |= {following, pages[0]}
        state = [
            set(words), frozenset(words), {(word, (word, 1)) for word in words}, {Word(word) for word in words},
            {frozenset({word, 1}) for word in words}, {"kept": set(words)}, set(pages), pages[3].links, pages,
            {Word(word, frozenset({Word(other) for other in words})) for word in words},
            lambda text: text in {"tea", "milk", "sugar"},
        ]
        print(digest(state).hex(), [digest(each).hex() for each in state])
        """,
    )
    found = {program.run(script, PYTHONHASHSEED=seed) for seed in ("0", "1", "2", "77")}
    assert len(found) == 1


@pytest.mark.parametrize(
    "deep",
    [
        lambda inner: Node("n", inner),
        lambda inner: [inner],
        lambda inner: (inner,),
        lambda inner: {"k": inner},
        lambda inner: frozenset({inner}),
        lambda inner: (1, [inner]),
        lambda inner: Words([inner]),
        lambda inner: Point(inner, 1),
    ],
    ids=["nodes", "lists", "tuples", "dicts", "frozensets", "both", "subclass", "rows"],
)
def test_nothing_is_nested_too_deeply(deep: Callable[[Any], Any]) -> None:
    def made(bottom: int) -> list[Any]:
        value: Any = bottom
        kept = []
        for _ in range(5_000):
            value = deep(value)
            kept.append(value)
        # All of them, so that they are freed one by one and not one inside the other.
        return kept

    one, other, third = made(1), made(1), made(2)
    assert digest(one[-1]) == digest(other[-1]) != digest(third[-1])
    if type(one[-1]) in (Node, frozenset):
        assert digest({one[-1]}) == digest({other[-1]}) != digest({third[-1]}), "in a set, too"
    while one:
        for kept in (one, other, third):
            kept.pop()


def test_tuples_that_share_are_walked_once() -> None:
    def tower(height: int, bottom: Any) -> Any:
        for _ in range(height):
            bottom = (bottom, bottom)
        return bottom

    assert digest([tower(200, 1)]) == digest([tower(200, 1)]) != digest([tower(200, 2)])
    assert digest({tower(15, (1,))}) == digest({tower(15, (1,))}) != digest({tower(15, (2,))})


def test_the_clock_and_the_env_that_a_domain_is_equipped_with_do_not_count() -> None:
    from coopy.spine.machine import equip

    for make in (lambda: Plain(a=1), lambda: Slots(a=1), lambda: Shelf(a=1), lambda: Cached([1], 0), lambda: Plain(me=set())):
        bare, equipped = make(), make()
        equip(equipped)
        assert digest(bare) == digest(equipped)
        assert digests(bare) == digests(equipped)
    own = Plain(a=1, _clock="a clock of the domain's own")
    assert digest(own) != digest(Plain(a=1))


class Self:
    def __init__(self) -> None:
        self.count = 0
        self.proxy: Any = None

    def count_up(self) -> None:
        self.count += 1

    def keep(self, proxy: Any) -> None:
        self.proxy = proxy


def test_a_system_in_its_own_state_stands_for_itself(tmp_path: Path) -> None:
    states = []
    for name in "ab":
        with init_system(Self, tmp_path / name, validation="off") as system:
            system.keep(system)
            states.append(coopy.control(system)._system.engine.machine.domain)
            found = digest(states[-1])
            system.count_up()
            assert digest(states[-1]) != found
    assert digest(states[0]) == digest(states[1])


@pytest.mark.parametrize(
    ("state", "place"),
    [
        (lambda bad: Plain(pages={"Home": Plain(file=bad)}), ".pages['Home'].file"),
        (lambda bad: [0, (1, [bad])], "[1][1][0]"),
        (lambda bad: Plain(a=[1], kept=deque([1, bad])), ".kept[1]"),
        (lambda bad: Shelf(a=1, b={"c": bad}), "['b']['c']"),
        (lambda bad: Plain(near={Plain(lock=bad)}), ".near{...}.lock"),
        (lambda bad: Plain(a=functools.partial(ring, bad)), ".a"),
        (lambda bad: bad, "the state"),
    ],
)
@pytest.mark.parametrize("bad", [lambda: memoryview(b"x"), lambda: iter(x for x in "ab"), lambda: open(__file__, "rb")])
def test_what_cannot_be_digested_is_named_with_its_place(
    state: Callable[[Any], Any], place: str, bad: Callable[[], Any]
) -> None:
    value = bad()
    with pytest.raises(EncodingError) as caught:
        digest(state(value))
    assert str(caught.value).startswith(place)
    assert type(value).__name__ in str(caught.value)
    if hasattr(value, "close"):
        value.close()


def test_a_digest_leaves_nothing_for_the_collector() -> None:
    state = [Plain(a=Slots(a={frozenset({1})}), b=deque([NOON, ring("a")])), *every_case()]
    digest(state)
    gc.collect()
    gc.disable()
    try:
        digest(state)
        left = {type(each).__qualname__ for each in gc.get_objects() if type(each).__module__ == "coopy.values.digest"}
        assert "_Walk" not in left
    finally:
        gc.enable()


def test_the_members_of_a_state_have_digests_by_their_place() -> None:
    one = Plain(pages={"Home": 1}, names={"a"}, at=NOON)
    other = Plain(pages={"Home": 2}, names={"a"}, at=NOON)
    differing = [place for place, found in digests(one).items() if digests(other)[place] != found]
    assert differing == [".pages"]
    assert list(digests({"a": 1, (1, 2): 2, Colour.RED: 3})) == ["['a']", "[(1, 2)]", "[<key 2>]"]
    assert list(digests([1, 2])) == ["[0]", "[1]"]
    assert dict(members(Words([5]))) == {".<argument 1>": Words, "[0]": 5}
    assert digests({1}) == digests(1) == digests("text") == {}


class Tags(set):  # type: ignore[type-arg]
    pass


class Fixed(frozenset):  # type: ignore[type-arg]
    pass


class Named(set):  # type: ignore[type-arg]
    def __init__(self, elements: Any = (), name: str = "") -> None:
        super().__init__(elements)
        self.name = name


@pytest.mark.parametrize("kind", [Tags, Fixed, Named], ids=lambda kind: kind.__name__)
def test_the_order_of_a_set_of_a_class_of_its_own_is_no_difference(kind: Any) -> None:
    one, other = kind([8, 0]), kind([0, 8])
    assert list(one) != list(other), "the two come in another order"
    assert digest(one) == digest(other)
    assert digest({"tags": [one]}) == digest({"tags": [other]})
    assert digest(kind([8, 0])) != digest(kind([8, 1]))


def test_what_a_set_of_a_class_of_its_own_has_besides_is_a_difference() -> None:
    assert digest(Named([1], "a")) != digest(Named([1], "b"))
    assert digest(Tags([1])) != digest(Fixed([1]))


class Counting:
    def __init__(self) -> None:
        self.asked = 0

    def __getstate__(self) -> dict[str, Any]:
        self.asked += 1
        return {"asked": 0}


@pytest.mark.parametrize(
    "plain", [[1, {2}], Plain(a=deque([1]), b=Counter("ab"), c=dt.date(2020, 1, 1)), Tags], ids=["list", "object", "class"]
)
def test_without_its_own_code_a_state_of_plain_objects_has_the_same_digest(plain: Any) -> None:
    assert digest(plain, runs_code=False) == digest(plain)


@pytest.mark.parametrize(
    "place", [lambda one: one, lambda one: [one], lambda one: {"a": (1, {2: one})}], ids=["itself", "list", "deeper"]
)
def test_without_its_own_code_no_code_of_an_object_runs(place: Callable[[Any], Any]) -> None:
    counting = Counting()
    with pytest.raises(OwnCode):
        digest(place(counting), runs_code=False)
    assert counting.asked == 0


@pytest.mark.parametrize(
    "large",
    [
        lambda: list(range(1_000_000)),
        lambda: [dict.fromkeys(range(1_000_000))],
        lambda: [set(range(1_000_000))],
        lambda: ["x" * 300_000_000],
        lambda: Plain(a=[bytes(300_000_000)]),
    ],
    ids=["list", "dict", "set", "text", "bytes"],
)
def test_a_large_part_of_a_state_is_not_walked_where_there_is_no_time(
    large: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Made here: what a module of tests holds is in each process of the tests, and each fork copies its tables.
    state = large()
    # Time stands still: it is given up for what is there, before the first of it is copied.
    monkeypatch.setattr("time.thread_time", lambda: 0.0)
    with pytest.raises(OutOfTime):
        digest(state, until=0.1)


def test_a_digest_that_takes_too_long_is_given_up() -> None:
    with pytest.raises(OutOfTime):
        digest([[number] for number in range(10_000)], until=0.0)


# -- what is large


class Vector:
    """Gives pickle its buffer, as arrays of numpy do."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Vector, (pickle.PickleBuffer(self.data),)


def large_states() -> list[Any]:
    block, text = bytes(range(256)) * 400, "é" * 70_000
    return [
        [1, block, "a", block, 2.5],
        {"a": block, "b": bytearray(block), "c": [text, "", b""], 1: text},
        [bytearray(block), bytearray(3), block[:10]],
        block,
        [(block, 1), [block, float("nan")], {text}],
        [str(number) for number in range(20_000)] + [block],
        [Vector(block), Vector(bytearray(block))],
    ]


@pytest.mark.parametrize("number", range(7))
def test_a_large_text_is_hashed_as_it_lies_and_gives_the_same(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for heavy, large in ((1 << 40, 1 << 40), (1, 1 << 40), (1, 1000), (1, 0)):
        monkeypatch.setattr(digests_module, "_HEAVY_BYTES", heavy)
        monkeypatch.setattr(digests_module, "_LARGE_BYTES", large)
        found.append(digest(large_states()[number]))
    assert len(set(found)) == 1


def test_what_pickle_is_given_as_a_buffer_counts_by_its_bytes() -> None:
    def of(data: Any) -> bytes:
        return digest([Vector(data)])

    assert of(b"abc") == of(bytearray(b"abc")) != of(b"abd")
    assert of(memoryview(b"abcdef").cast("B", (2, 3))) == of(b"abcdef")


def test_no_copy_is_made_of_what_is_large() -> None:
    size = 8 * 1024 * 1024
    for state in ([bytes(size)], [bytearray(size)], [Vector(bytearray(size))], [b"x" * 100_000] * 80):
        digest(state)
        tracemalloc.start()
        try:
            digest(state)
            assert tracemalloc.get_traced_memory()[1] < size // 8
        finally:
            tracemalloc.stop()


def test_a_large_buffer_takes_more_time_than_there_is() -> None:
    for state in ([bytearray(50_000_000)], [Vector(bytearray(50_000_000))]):
        with pytest.raises(OutOfTime):
            digest(state, time.thread_time() + 0.01)
