"""What lies deep in one another is kept, loaded, compared and passed on like anything else. COOPY_DEPTH=100000 for all shapes."""

from __future__ import annotations

import io
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import coopy
from coopy import control, init_system, on_commit, testing, transactional
from coopy.disk import child
from coopy.errors import EncodingError, SharedArgument, SnapshotError
from coopy.past.reading import Reading
from coopy.tools import tree
from coopy.tools.verify import verify
from coopy.values import deep, digest, entities

DEPTH = int(os.environ.get("COOPY_DEPTH", 6_000))
"""Deeper than any pickler of C goes with the default limits."""


class Link:
    def __init__(self, following: Any) -> None:
        self.following = following


@dataclass(slots=True)
class Slot:
    following: Any
    value: int = 0


class Branch:
    """Knows what it grows from."""

    def __init__(self, stem: Branch | None) -> None:
        self.stem = stem
        self.branches: list[Branch] = []


class Reduced:
    """Is pickled by arguments, and by what is set afterwards."""

    def __init__(self, following: Any) -> None:
        self.following = following

    def __reduce__(self) -> Any:
        return Reduced, (self.following,), None, None, None


class Listed(list[Any]):
    pass


def grown(depth: int) -> Branch:
    root = branch = Branch(None)
    for _ in range(depth):
        branch.branches.append(Branch(branch))
        branch = branch.branches[0]
    return root


def nested(step: Callable[[Any], Any], depth: int) -> Any:
    found = step("the end")
    for _ in range(depth):
        found = step(found)
    return found


SHAPES: dict[str, Callable[[int], Any]] = {
    "objects": lambda depth: nested(Link, depth),
    "slots": lambda depth: nested(Slot, depth),
    "lists": lambda depth: nested(lambda inner: [inner], depth),
    "lists of lists": lambda depth: nested(lambda inner: [1, inner, 2], depth),
    "classes of lists": lambda depth: nested(lambda inner: Listed([inner]), depth),
    "dicts": lambda depth: nested(lambda inner: {"inner": inner}, depth),
    "tuples": lambda depth: nested(lambda inner: (inner,), depth),
    "reduced": lambda depth: nested(Reduced, depth),
    "a tree": grown,
}
shapes = pytest.mark.parametrize("shape", SHAPES)
forked_and_inline = pytest.mark.parametrize(
    "fork", [pytest.param(True, marks=pytest.mark.skipif(not child.AVAILABLE, reason="no fork")), False], ids=["fork", "inline"]
)


class Store:
    def __init__(self) -> None:
        self.kept: Any = None
        self.count = 0

    def grow(self, shape: str, depth: int) -> None:
        self.kept = {**(self.kept or {}), shape: SHAPES[shape](depth)}

    def keep(self, value: Any) -> int:
        self.kept = value
        return 1

    def add(self) -> None:
        self.count += 1

    @transactional(parts=("kept", "count"))
    def fail(self) -> None:
        self.kept = None
        self.count = -1
        raise KeyError("no")

    def tell(self, value: Any) -> None:
        on_commit(hear, value)

    def hide(self) -> None:
        self.kept = lambda kept=self.kept: kept


told: list[Any] = []


def hear(value: Any) -> None:
    told.append(value)


def end_of(value: Any) -> Any:
    """The innermost of what lies in one another."""
    while not isinstance(value, str):
        if isinstance(value, Branch):
            if not value.branches:
                return "the end"
            assert value.branches[0].stem is value
            value = value.branches[0]
        elif isinstance(value, (list, tuple)):
            value = value[len(value) // 2]
        elif isinstance(value, dict):
            value = value["inner"]
        else:
            value = value.following
    return value


@pytest.fixture
def basedir(tmp_path: Path) -> Path:
    return tmp_path / "data"


# -- the pickler


def values() -> Iterator[Any]:
    itself: list[Any] = []
    itself += [itself, (itself,), {"me": itself}]
    tuple_of_itself: Any = ([],)
    tuple_of_itself[0].append(tuple_of_itself)
    long = tuple(range(5)), (tuple_of_itself, 1, 2, 3, 4)
    shared = [1]
    yield from (
        itself,
        tuple_of_itself,
        long,
        [shared, shared],
        (),
        [],
        {},
        set(),
        frozenset(),
        [None, True, 1, 1.5, "x", b"x"],
    )
    yield list(range(2500)), {number: str(number) for number in range(2001)}, set(range(1001)), frozenset(range(3))
    yield [
        Link(1),
        Slot(2),
        Reduced(3),
        Listed([4, 5]),
        Branch(None),
        Link,
        len,
        int,
        bytearray(b"x"),
        1 + 2j,
        range(3),
        Exception("x"),
    ]
    import collections
    import datetime
    import decimal
    import fractions
    import uuid

    yield [
        collections.OrderedDict(a=1),
        collections.deque([1, 2]),
        collections.Counter("aab"),
        collections.defaultdict(list, a=[1]),
        datetime.datetime(2020, 1, 1),
        decimal.Decimal("1.5"),
        fractions.Fraction(1, 3),
        uuid.UUID(int=5),
        b"x" * 100_000,
        "y" * 100_000,
    ]


class Standard(pickle._Pickler):
    """As the standard library has it: dill, once it is imported, puts its own ways into that."""

    dispatch = deep.DISPATCH


@pytest.mark.parametrize("number", range(len(list(values()))))
def test_the_deep_pickler_writes_what_the_other_writes(number: int) -> None:
    value = list(values())[number]
    file, expected = io.BytesIO(), io.BytesIO()
    deep.Pickler(file, 5).dump(value)
    Standard(expected, 5).dump(value)
    assert file.getvalue() == expected.getvalue()
    assert digest.digest(pickle.loads(file.getvalue())) == digest.digest(pickle.loads(pickle.dumps(value, 5)))


class Unusual:
    def __init__(self, reduced: Any) -> None:
        self.reduced = reduced

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.reduced


def test_what_the_other_refuses_is_refused() -> None:
    for reduced in (5, (), (int,), (1, ()), (int, 5), (int, (), 1, 2, 3, 4, 5), "no such name"):
        for kind in (pickle._Pickler, deep.Pickler):
            with pytest.raises((pickle.PicklingError, TypeError)):
                kind(io.BytesIO(), 5).dump(Unusual(reduced))


# -- systems


@forked_and_inline
def test_what_lies_deep_is_kept_loaded_and_compared(fork: bool, basedir: Path) -> None:
    store = init_system(Store, basedir, fork=fork, validation="off")
    for shape in SHAPES:
        store.grow(shape, DEPTH if shape == "objects" or "COOPY_DEPTH" in os.environ else DEPTH // 3)
    store.take_snapshot()
    expected = control(store).state_digest()[1]
    store.add()
    store.close()
    with init_system(Store, basedir, validation="off") as store:
        assert {shape: end_of(kept) for shape, kept in store.kept.items()} == dict.fromkeys(SHAPES, "the end")
        past, now = control(store).replay(until=len(SHAPES)), control(store).replay()
        assert (past.count, now.count) == (0, 1)
        assert digest.digest(past).hex() == expected
        assert [(each.path, each.after) for each in tree.differences(past, now)] == [(".count", 1)]
        assert len(list(tree.tree(past, depth=5))) < 100
    with Reading(str(basedir), Store) as reading:
        assert len(list(reading.actions())) == len(SHAPES) + 1
    assert verify(basedir, Store).problems == []


def test_a_hundred_thousand_lists_in_one_another_are_kept(basedir: Path) -> None:
    with init_system(Store, basedir, fork=False, validation="off") as store:
        store.grow("lists", 100_000)
        store.take_snapshot()
    with init_system(Store, basedir, validation="off") as store:
        assert end_of(store.kept["lists"]) == "the end"


@shapes
def test_what_lies_deep_can_be_an_argument(shape: str, basedir: Path) -> None:
    given = SHAPES[shape](DEPTH)
    with init_system(Store, basedir, validation="off") as store:
        assert store.keep(given) == 1
        assert end_of(store.kept) == "the end"
        assert shape == "tuples" or store.kept is not given, "what can change is copied"
    assert end_of(coopy.replay(Store, basedir).kept) == "the end"


def test_a_system_can_begin_with_what_lies_deep(basedir: Path) -> None:
    first = Store()
    first.grow("objects", DEPTH)
    with init_system(first, basedir, validation="off") as store:
        assert end_of(store.kept["objects"]) == "the end"


def test_a_difference_far_down_is_found() -> None:
    one, other = SHAPES["objects"](DEPTH), SHAPES["objects"](DEPTH)
    innermost = other
    while isinstance(innermost.following, Link):
        innermost = innermost.following
    innermost.following = "another end"
    found = list(tree.differences(one, other))
    assert [(each.path, each.before, each.after) for each in found] == [(".following" * (DEPTH + 1), "the end", "another end")]
    assert digest.digest(one) != digest.digest(other)


def test_parts_that_lie_deep_are_put_back(basedir: Path) -> None:
    with init_system(Store, basedir, validation="off") as store:
        store.grow("objects", DEPTH)
        with pytest.raises(KeyError):
            store.fail()
        assert (end_of(store.kept["objects"]), store.count) == ("the end", 0)


def test_what_an_effect_is_given_may_lie_deep(basedir: Path) -> None:
    told.clear()
    with init_system(Store, basedir, validation="off") as store:
        store.tell(SHAPES["lists"](DEPTH))
    assert end_of(told[0]) == "the end"


def test_what_lies_deep_is_checked() -> None:
    store = testing.memory_system(Store, check=True, validation="off")
    given = SHAPES["lists"](DEPTH)
    store.keep(given)
    given.append("more")
    with pytest.raises(SharedArgument, match="was changed by the caller"):
        store.add()
    with pytest.raises(SharedArgument, match="is an object of the system"):
        store.keep(store.kept)
    control(store).close()


@forked_and_inline
def test_what_only_dill_can_keep_may_lie_deep(fork: bool, basedir: Path) -> None:
    with init_system(Store, basedir, fork=fork, validation="off") as store:
        store.grow("a tree", DEPTH)
        store.hide()
        store.take_snapshot()
    with init_system(Store, basedir, validation="off") as store:
        assert end_of(control(store).replay().kept()["a tree"]) == "the end"


@entities.entity("pages", key="title")
class Page:
    def __init__(self, title: str) -> None:
        self.title = title
        self.links: Any = None


class Wiki:
    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}

    def add(self, page: Page) -> None:
        self.pages[page.title] = page

    def link(self, title: str, way: Any) -> None:
        self.pages[title].links = way


def test_a_reference_to_an_entity_may_lie_deep(basedir: Path) -> None:
    with init_system(Wiki, basedir, validation="off") as wiki:
        wiki.add(Page("home"))
        wiki.link("home", nested_around(wiki.pages["home"]))
        assert innermost(wiki.pages["home"].links) is wiki.pages["home"]
    past = coopy.replay(Wiki, basedir)
    assert innermost(past.pages["home"].links) is past.pages["home"]


def nested_around(value: Any) -> Any:
    for _ in range(DEPTH):
        value = [value]
    return value


def innermost(value: Any) -> Any:
    while isinstance(value, list):
        value = value[0]
    return value


# -- what has no end


class Endless:
    """Each has a new one in it."""

    def __reduce__(self) -> Any:
        return Endless, (), [Endless()]


class CallsItself:
    def __getstate__(self) -> Any:
        return self.__getstate__()

    def __setstate__(self, state: Any) -> None:
        pass


@pytest.mark.parametrize("kind", [Endless, CallsItself])
@forked_and_inline
def test_what_never_ends_is_refused(kind: type, fork: bool, basedir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deep, "DEPTH_MAX", 20_000)
    with init_system(Store, basedir, fork=fork, validation="off") as store:
        with pytest.raises(
            EncodingError, match="argument 'value' of Store.keep.* never comes to its end.*Nothing was recorded"
        ):
            store.keep(kind())
        control(store)._system.engine.machine.domain.kept = kind()
        with pytest.raises((EncodingError, SnapshotError), match="never comes to its end"):
            store.take_snapshot()
        assert store.count == 0


def test_the_limit_of_recursion_and_the_threads_are_left_alone(basedir: Path) -> None:
    before = sys.getrecursionlimit()
    with init_system(Store, basedir, fork=False, validation="off") as store:
        store.keep(SHAPES["objects"](DEPTH))
        store.take_snapshot()
    assert sys.getrecursionlimit() == before
