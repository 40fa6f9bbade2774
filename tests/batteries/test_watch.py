"""Changes are heard once each, in the order of the log, as they may be told: live, after a restart, on a node, in a loop, and by slow readers."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from batteries.opened import memory_system
from batteries.operations import REFUSED, STRUCTURES, Draws, Point
from cluster.memory_nodes import Node

import coopy
import coopy.aio
import coopy.batteries
from coopy import SystemClosed, UsageError, abort_exception, control, init_system, listeners, transactional
from coopy.batteries import (
    ALL,
    NOT_TOLD,
    Barrier,
    Change,
    Counter,
    Deque,
    Dict,
    Ids,
    Latch,
    Leaderboard,
    List,
    LRUCache,
    MultiDict,
    PriorityQueue,
    Queue,
    RateLimiter,
    ReplDict,
    Semaphore,
    SessionStore,
    Set,
    TTLCache,
    Watch,
    changes,
    watch,
    watching,
)
from coopy.ground.line import MemoryServer
from coopy.testing import Clock

SOON_S = 30


def heard(system: Any, watched: Watch) -> list[tuple[Any, ...]]:
    """Returns what a watch has by now, without times."""
    upto = control(system).index
    found = []
    while True:
        assert watched._facts._subscription is None or watched._facts._subscription.wait(SOON_S)
        change = watched._next_or_fetched()
        if change is None:
            break
        found.append((change.index, change.kind, change.key, change.before, change.after))
    assert watched.last == upto
    return found


def told(found: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [each[1:] for each in found]


def calls(system: Any, *made: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """Calls methods, and returns what is told of each."""
    with system.watch() as watched:
        for name, *args in made:
            getattr(system, name)(*args)
        return told(heard(system, watched))


# -- every structure, every kind

Told = list[tuple[Any, ...]]
Row = tuple[str, Callable[[], Any], list[tuple[Any, ...]], Told]


def filled(structure: Any, *made: tuple[Any, ...]) -> Any:
    for name, *args in made:
        getattr(structure, name)(*args)
    return structure


ROWS: list[Row] = [
    ("Counter.set", Counter, [("set", 5)], [("set", ALL, 0, 5)]),
    ("Counter.add", Counter, [("add", 5), ("sub", 2)], [("set", ALL, 0, 5), ("set", ALL, 5, 3)]),
    ("Counter.inc", Counter, [("inc",), ("dec",)], [("set", ALL, 0, 1), ("set", ALL, 1, 0)]),
    ("Counter.compare_and_set", Counter, [("compare_and_set", 1, 2), ("compare_and_set", 0, 2)], [("set", ALL, 0, 2)]),
    ("Counter.get_and_set", Counter, [("get_and_set", 2)], [("set", ALL, 0, 2)]),
    ("Ids", Ids, [("new",), ("reserve", 9)], [("set", ALL, 0, 1), ("set", ALL, 1, 10)]),
    ("Dict.__setitem__", Dict, [("__setitem__", "a", [1]), ("set", "a", 2)], [("added", "a", None, [1]), ("set", "a", [1], 2)]),
    ("Dict.__delitem__", lambda: Dict(a=1), [("__delitem__", "a")], [("removed", "a", 1, None)]),
    (
        "Dict.setdefault",
        Dict,
        [("setdefault", "a", 1), ("setdefault", "a", 2)],
        [("added", "a", None, 1)],
    ),
    ("Dict.update", lambda: Dict(a=1), [("update", {"a": 2, "b": 3})], [("set", "a", 1, 2), ("added", "b", None, 3)]),
    ("Dict.pop", lambda: Dict(a=1), [("pop", "x", 0), ("pop", "a")], [("removed", "a", 1, None)]),
    ("ReplDict.pop", lambda: ReplDict(a=1), [("pop", "x"), ("pop", "a")], [("removed", "a", 1, None)]),
    ("Dict.popitem", lambda: Dict(a=1, b=2), [("popitem",)], [("removed", "b", 2, None)]),
    ("Dict.clear", lambda: Dict(a=1, b=2), [("clear",)], [("removed", "a", 1, None), ("removed", "b", 2, None)]),
    (
        "Dict.reset",
        lambda: Dict(a=1, b=2, c=3),
        [("reset", {"b": 2, "c": 4, "d": 5})],
        [("removed", "a", 1, None), ("set", "c", 3, 4), ("added", "d", None, 5)],
    ),
    ("Dict.put_if_absent", Dict, [("put_if_absent", "a", 1), ("put_if_absent", "a", 2)], [("added", "a", None, 1)]),
    (
        "Dict.replace_if_same",
        lambda: Dict(a=1),
        [("replace_if_same", "a", 2, 3), ("compare_and_set", "a", 1, 3)],
        [("set", "a", 1, 3)],
    ),
    (
        "Dict.remove_if_same",
        lambda: Dict(a=1),
        [("remove_if_same", "a", 2), ("remove_if_same", "a", 1)],
        [("removed", "a", 1, None)],
    ),
    ("Dict.__ior__", Dict, [("__ior__", {"a": 1})], [("added", "a", None, 1)]),
    ("Dict.finish_edit", lambda: Dict(a=[1]), [("finish_edit", "a", [1], [2])], [("set", "a", [1], [2])]),
    (
        "MultiDict",
        MultiDict,
        [("add", "a", 1), ("extend", [("a", 2), ("b", 3)]), ("set", "a", [4]), ("remove", "a", 4), ("set", "b", [])],
        [
            ("added", "a", None, 1),
            ("added", "a", None, 2),
            ("added", "b", None, 3),
            ("set", "a", [1, 2], [4]),
            ("removed", "a", 4, None),
            ("removed", "b", [3], None),
        ],
    ),
    (
        "MultiDict.pop",
        lambda: MultiDict([("a", 1), ("a", 2), ("b", 3)]),
        [("popone", "a"), ("popall", "a"), ("popall", "x"), ("clear",)],
        [("removed", "a", 1, None), ("removed", "a", [2], None), ("removed", "b", [3], None)],
    ),
    ("Set.add", Set, [("add", "a"), ("add", "a")], [("added", "a", None, None)]),
    (
        "Set.remove",
        lambda: Set("abc"),
        [("remove", "b"), ("discard", "x"), ("discard", "c")],
        [("removed", "b", None, None), ("removed", "c", None, None)],
    ),
    ("Set.pop", lambda: Set("ab"), [("pop",), ("clear",)], [("removed", "a", None, None), ("removed", "b", None, None)]),
    (
        "Set.update",
        lambda: Set("a"),
        [("update", ["a", "b"]), ("__ior__", {"c"})],
        [("added", "b", None, None), ("added", "c", None, None)],
    ),
    ("Set.reset", lambda: Set("ab"), [("reset", ["b", "c"])], [("removed", "a", None, None), ("added", "c", None, None)]),
    (
        "Set.intersection_update",
        lambda: Set("ab"),
        [("intersection_update", ["b"]), ("__iand__", {"x"})],
        [("removed", "a", None, None), ("removed", "b", None, None)],
    ),
    (
        "Set.difference_update",
        lambda: Set("ab"),
        [("difference_update", ["b"]), ("__isub__", {"a"})],
        [("removed", "b", None, None), ("removed", "a", None, None)],
    ),
    (
        "Set.symmetric_difference_update",
        lambda: Set("a"),
        [("symmetric_difference_update", ["a", "b"]), ("__ixor__", {"b"})],
        [("removed", "a", None, None), ("added", "b", None, None), ("removed", "b", None, None)],
    ),
    (
        "List.append",
        List,
        [("append", [1]), ("extend", "ab")],
        [("added", 0, None, [1]), ("added", 1, None, "a"), ("added", 2, None, "b")],
    ),
    (
        "List.insert",
        lambda: List("ab"),
        [("insert", -1, "x"), ("insert", 9, "y")],
        [("added", 1, None, "x"), ("added", 3, None, "y")],
    ),
    ("List.set", lambda: List("ab"), [("set", -1, "x"), ("__setitem__", 0, "y")], [("set", 1, "b", "x"), ("set", 0, "a", "y")]),
    (
        "List.pop",
        lambda: List("abcd"),
        [("pop",), ("pop", 0), ("remove", "c"), ("__delitem__", -1)],
        [("removed", 3, "d", None), ("removed", 0, "a", None), ("removed", 1, "c", None), ("removed", 0, "b", None)],
    ),
    ("List.clear", lambda: List("ab"), [("clear",)], [("removed", 1, "b", None), ("removed", 0, "a", None)]),
    ("List.reset", lambda: List("ab"), [("reset", "x")], [("set", ALL, None, None)]),
    (
        "List.sort",
        lambda: List("ba"),
        [("sort",), ("reverse",), ("__setitem__", slice(0, 1), "xy"), ("__delitem__", slice(0, 1)), ("__imul__", 2)],
        [("moved", ALL, None, None)] * 5,
    ),
    ("List.__iadd__", List, [("__iadd__", "a")], [("added", 0, None, "a")]),
    ("List.finish_edit", lambda: List([[1]]), [("finish_edit", 0, [1], [2])], [("set", 0, [1], [2])]),
    (
        "Deque.append",
        lambda: Deque("ab", maxlen=2),
        [("append", "c"), ("appendleft", "x")],
        [("evicted", 0, "a", None), ("added", 1, None, "c"), ("evicted", 1, "c", None), ("added", 0, None, "x")],
    ),
    (
        "Deque.extend",
        lambda: Deque("a", maxlen=2),
        [("extend", "bc"), ("extendleft", "x"), ("__iadd__", "y")],
        [
            ("added", 1, None, "b"),
            ("evicted", 0, "a", None),
            ("added", 1, None, "c"),
            ("evicted", 1, "c", None),
            ("added", 0, None, "x"),
            ("evicted", 0, "x", None),
            ("added", 1, None, "y"),
        ],
    ),
    (
        "Deque.pop",
        lambda: Deque("abcde"),
        [("pop",), ("popleft",), ("remove", "c"), ("__delitem__", 0), ("insert", 0, "x"), ("__setitem__", 0, "y"), ("clear",)],
        [
            ("removed", 4, "e", None),
            ("removed", 0, "a", None),
            ("removed", 1, "c", None),
            ("removed", 0, "b", None),
            ("added", 0, None, "x"),
            ("set", 0, "x", "y"),
            ("removed", 1, "d", None),
            ("removed", 0, "y", None),
        ],
    ),
    ("Deque.rotate", lambda: Deque("ab"), [("rotate", 1), ("reverse",), ("__imul__", 2)], [("moved", ALL, None, None)] * 3),
    (
        "Deque.resize",
        lambda: Deque("abc"),
        [("resize", 1), ("reset", "x")],
        [("evicted", 0, "a", None), ("evicted", 1, "b", None), ("set", ALL, None, None)],
    ),
    ("Deque.maxlen=0", lambda: Deque((), 0), [("append", 1), ("extend", [1])], []),
    ("Deque.finish_edit", lambda: Deque([[1]]), [("finish_edit", 0, [1], [2])], [("set", 0, [1], [2])]),
    (
        "Queue",
        lambda: Queue(maxsize=2),
        [("put", [1]), ("put_many", "ab"), ("put", "no room"), ("get",), ("drain",), ("get",), ("put_nowait", 2), ("clear",)],
        [
            ("added", ALL, None, [1]),
            ("added", ALL, None, "a"),
            ("removed", ALL, [1], None),
            ("removed", ALL, "a", None),
            ("added", ALL, None, 2),
            ("removed", ALL, 2, None),
        ],
    ),
    (
        "Queue.maxlen",
        lambda: Queue(maxlen=1),
        [("put", 1), ("put", 2)],
        [("added", ALL, None, 1), ("evicted", ALL, 1, None), ("added", ALL, None, 2)],
    ),
    ("Queue.maxlen=0", lambda: Queue(maxlen=0), [("put", 1)], []),
    (
        "PriorityQueue",
        PriorityQueue,
        [("put", 2), ("put_many", [1]), ("get_nowait",)],
        [("added", ALL, None, 2), ("added", ALL, None, 1), ("removed", ALL, 1, None)],
    ),
    (
        "TTLCache",
        lambda: TTLCache(ttl=60, maxsize=2),
        [
            ("set", "a", 1),
            ("touch", "a"),
            ("put_if_absent", "b", 2),
            ("__setitem__", "a", 3),
            ("set", "c", 4),
            ("pop", "a"),
            ("__delitem__", "c"),
        ],
        [
            ("added", "a", None, 1),
            ("touched", "a", 1, 1),
            ("added", "b", None, 2),
            ("set", "a", 1, 3),
            ("evicted", "b", 2, None),
            ("added", "c", None, 4),
            ("removed", "a", 3, None),
            ("removed", "c", 4, None),
        ],
    ),
    (
        "TTLCache.finish_edit",
        TTLCache,
        [("set", "a", [1]), ("finish_edit", "a", [1], [2]), ("clear",)],
        [("added", "a", None, [1]), ("set", "a", [1], [2]), ("removed", "a", [2], None)],
    ),
    (
        "LRUCache",
        lambda: LRUCache(maxsize=2),
        [
            ("set", "a", 1),
            ("__setitem__", "b", 2),
            ("get", "a"),
            ("set", "c", 3),
            ("pop", "x"),
            ("pop", "a"),
            ("resize", 1),
            ("__delitem__", "c"),
        ],
        [
            ("added", "a", None, 1),
            ("added", "b", None, 2),
            ("added", "c", None, 3),
            ("evicted", "b", 2, None),
            ("removed", "a", 1, None),
            ("removed", "c", 3, None),
        ],
    ),
    (
        "LRUCache.resize",
        lambda: filled(LRUCache(2), ("set", "a", 1), ("set", "b", [2])),
        [("resize", 1), ("finish_edit", "b", [2], [3]), ("clear",)],
        [("evicted", "a", 1, None), ("set", "b", [2], [3]), ("removed", "b", [3], None)],
    ),
    (
        "RateLimiter",
        lambda: RateLimiter(rate=1, burst=2),
        [("acquire", "ann", 2), ("acquire", "ann"), ("reset", "ann"), ("reset", "bob")],
        [("set", "ann", None, 2), ("removed", "ann", None, None)],
    ),
    (
        "Semaphore",
        lambda: Semaphore(3),
        [
            ("acquire", "ann"),
            ("acquire", "ann"),
            ("acquire", "bob", 9),
            ("release", "ann"),
            ("release", "ann"),
            ("resize", 5),
            ("acquire", "bob", 2),
            ("release_all", "bob"),
            ("release_all", "eve"),
        ],
        [
            ("added", "ann", None, 1),
            ("set", "ann", 1, 2),
            ("set", "ann", 2, 1),
            ("removed", "ann", 1, 0),
            ("set", ALL, 3, 5),
            ("added", "bob", None, 2),
            ("removed", "bob", 2, None),
        ],
    ),
    (
        "Latch",
        lambda: Latch(2),
        [("count_down",), ("reset", 5), ("count_down",), ("count_down",), ("reset", 3)],
        [("set", ALL, 2, 1), ("set", ALL, 1, 0), ("set", ALL, 0, 3)],
    ),
    (
        "Barrier",
        lambda: Barrier(2),
        [("arrive", "ann"), ("arrive", "bob"), ("arrive", "eve"), ("abort",), ("arrive", "late"), ("reset",)],
        [
            ("added", "ann", None, 0),
            ("added", "bob", None, 1),
            ("passed", ALL, 0, 1),
            ("added", "eve", None, 0),
            ("broken", ALL, 1, None),
            ("set", ALL, None, 2),
        ],
    ),
    (
        "Leaderboard",
        Leaderboard,
        [
            ("set", "ann", 3),
            ("set", "ann", 3),
            ("add", "ann", 1),
            ("add", "bob", 1),
            ("remove", "ann"),
            ("discard", "x"),
            ("discard", "bob"),
            ("set", "eve", 1),
            ("clear",),
        ],
        [
            ("added", "ann", None, 3),
            ("set", "ann", 3, 4),
            ("added", "bob", None, 1),
            ("removed", "ann", 4, None),
            ("removed", "bob", 1, None),
            ("added", "eve", None, 1),
            ("removed", "eve", 1, None),
        ],
    ),
]


@pytest.mark.parametrize(("make", "made", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_each_structure_says_what_it_changes(make: Callable[[], Any], made: list[tuple[Any, ...]], expected: Told) -> None:
    system = memory_system(make())
    assert calls(system, *made) == expected
    assert not listeners
    # And the same from the journal.
    again = told(heard(system, system.watch(after=0)))
    assert again == expected


def test_every_structure_is_watched_and_every_kind_is_told_somewhere() -> None:
    names = {row[0].partition(".")[0] for row in ROWS} | {"SessionStore"}
    assert names == {*STRUCTURES, "ReplDict"}
    kinds = {each[0] for row in ROWS for each in row[3]} | {"expired", "missed"}
    assert kinds == set(changes.KINDS)
    guide = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "batteries.md").read_text()
    assert [kind for kind in changes.KINDS if f'`"{kind}"`' not in guide] == []


@pytest.mark.parametrize("name", STRUCTURES)
def test_what_is_heard_live_is_what_is_heard_from_the_journal_after_a_restart(name: str, tmp_path: Path) -> None:
    make, operations = STRUCTURES[name]
    drawn = Draws(f"watch {name}")
    names = list(operations)
    with init_system(make(), tmp_path, durability="buffered", validation="off", self_check=False) as system:
        with system.watch() as watched:
            for number in range(120):
                chosen = drawn.chance.choice(names)
                with suppress(*REFUSED):
                    getattr(system, chosen)(*operations[chosen](drawn))
                if number == 60:
                    control(system).take_snapshot()
            live = heard(system, watched)
    with init_system(make(), tmp_path, validation="off", self_check=False) as system:
        assert heard(system, system.watch(after=0)) == live and live
        middle = live[len(live) // 2][0]
        assert heard(system, system.watch(after=middle)) == [each for each in live if each[0] > middle]


# -- time


def test_an_expiry_is_an_action_and_is_heard() -> None:
    clock = Clock()
    clock.freeze()
    cache = memory_system(TTLCache(ttl=60), clock=clock)
    cache["tea"] = 1
    watched = cache.watch("tea")
    other = cache.watch("ink")
    clock.move(60)
    cache["ink"] = 2
    assert heard(cache, watched) == [(2, "expired", "tea", 1, None)]
    assert heard(cache, other) == [(2, "added", "ink", None, 2)]
    clock.move(60)
    assert cache.expire() == ["ink"] and told(heard(cache, other)) == [("expired", "ink", 2, None)]


def test_sessions_are_heard_of_from_login_to_expiry() -> None:
    clock = Clock()
    clock.freeze()
    sessions = memory_system(SessionStore(ttl=60), clock=clock)
    watched = sessions.watch()
    first = sessions.create({"user": "ann"})
    sessions.update(first, cart=1)
    second = sessions.renew(first)
    third = sessions.create()
    sessions.delete(third)
    clock.move(60)
    sessions.expire()
    assert [(kind, key) for _, kind, key, _, _ in heard(sessions, watched)] == [
        ("added", first),
        ("set", first),
        ("removed", first),
        ("added", second),
        ("added", third),
        ("removed", third),
        ("expired", second),
    ]


def test_a_change_says_when_it_happened() -> None:
    clock = Clock()
    clock.freeze()
    counter = memory_system(Counter, clock=clock)
    watched = counter.watch(timeout=SOON_S)
    counter.inc()
    change = next(watched)
    assert change == Change(1, change.time, "set", ALL, 0, 1)
    assert change.time.timestamp() == pytest.approx(clock.time()) and change.time.tzinfo is not None


# -- what is told, and what is not


def test_a_watch_of_a_key_hears_of_that_key_and_of_what_concerns_all() -> None:
    stock = memory_system(Dict)
    tea, everything = stock.watch("tea"), stock.watch()
    stock["tea"], stock["ink"] = 1, 2
    stock.clear()
    assert told(heard(stock, tea)) == [("added", "tea", None, 1), ("removed", "tea", 1, None)]
    assert len(heard(stock, everything)) == 4
    items = memory_system(List("abc"))
    second = items.watch(1)
    items[0] = items[1] = "x"
    items.sort()
    assert told(heard(items, second)) == [("set", 1, "b", "x"), ("moved", ALL, None, None)]


def test_what_was_withdrawn_is_not_told_as_done() -> None:
    class Shop(Dict[str, int]):
        @abort_exception
        def refuse(self) -> None:
            self["refused"] = 1
            raise ValueError

        @transactional
        def take_back(self) -> None:
            self["taken back"] = 1
            raise ValueError

        def interrupted(self) -> None:
            self["interrupted"] = 1
            raise MemoryError

        def fail(self) -> None:
            self["kept"] = 1
            raise ValueError

    shop = memory_system(Shop)
    watched = shop.watch()
    for name in ("take_back", "interrupted", "refuse", "fail"):
        with pytest.raises((ValueError, MemoryError)):
            getattr(shop, name)()
        shop[name] = 2
    live = heard(shop, watched)
    assert [(kind, key) for _, kind, key, _, _ in live] == [
        ("added", "take_back"),
        ("added", "interrupted"),
        ("added", "refuse"),
        ("added", "kept"),
        ("added", "fail"),
    ]
    assert told(heard(shop, shop.watch(after=0))) == told(live)


def test_the_method_of_a_subclass_tells_of_all_that_it_changes() -> None:
    class Shop(Dict[str, int]):
        def stack(self, *articles: str) -> None:
            for number, article in enumerate(articles):
                self[article] = number
            del self[articles[0]]

    shop = memory_system(Shop)
    watched = shop.watch()
    shop.stack("tea", "ink")
    assert heard(shop, watched) == [
        (1, "added", "tea", None, 0),
        (1, "added", "ink", None, 1),
        (1, "removed", "tea", 0, None),
    ]


def test_values_are_frozen_and_objects_are_not_told() -> None:
    stock, jobs = memory_system(Dict), memory_system(Queue)
    watched, put = stock.watch(), jobs.watch()
    stock["list"], stock["object"] = [1], Point(1)
    jobs.put({"n": [1]})
    jobs.put(Point(2))
    jobs.get()["n"].append(2)
    found = heard(stock, watched)
    with pytest.raises(coopy.batteries.Frozen):
        found[0][4].append(2)
    assert found[1][4] is NOT_TOLD and repr(NOT_TOLD) == "NOT_TOLD" and repr(ALL) == "ALL"
    assert [each[4] for each in heard(jobs, put)[:2]] == [{"n": [1]}, NOT_TOLD]


def test_nothing_is_kept_while_nobody_listens_or_wants_it() -> None:
    stock = memory_system(Dict)
    assert not listeners
    watched = stock.watch("tea")
    assert len(listeners) == 1 and len(stock._coopy_engine.tap.listeners) == 1
    more = [stock.watch() for _ in range(5)]
    assert len(listeners) == 1 and len(stock._coopy_engine.tap.listeners) == 1
    for each in more:
        each.close()
    stock["ink"] = 1
    assert not watched._facts._pending
    watched.close()
    assert not listeners and stock._coopy_engine.tap is None


def test_a_watch_that_is_dropped_costs_nothing_any_more() -> None:
    stock = memory_system(Dict)
    watched = stock.watch()
    gone = weakref.ref(watched)
    subscription = watched._facts._subscription
    del watched
    gc.collect()
    assert gone() is None
    stock["tea"] = 1
    assert subscription is not None
    subscription._thread.join(SOON_S)
    assert not listeners and stock._coopy_engine.tap is None


# -- callbacks, loops, ends


@pytest.mark.parametrize(
    "raised", [LookupError("no such shelf"), SystemExit(3), asyncio.CancelledError()], ids=lambda each: type(each).__name__
)
def test_a_callback_is_called_with_each_change_and_what_it_raises_is_logged(
    caplog: pytest.LogCaptureFixture, raised: BaseException
) -> None:
    stock = memory_system(Dict)
    found: list[Change] = []
    done = threading.Event()

    def told(change: Change) -> None:
        found.append(change)
        if len(found) == 3:
            done.set()
        raise raised

    with stock.watch(callback=told):
        for number in range(3):
            stock[number] = number
        assert done.wait(SOON_S)
    assert [change.key for change in found] == [0, 1, 2] and caplog.text.count(f"raised {raised!r}") >= 2
    assert all(each.levelno == logging.ERROR for each in caplog.records)
    watched = stock.watch("tea", found.append)
    with pytest.raises(UsageError):
        watched(found.append)
    with pytest.raises(UsageError):
        stock.watch()(3)
    watched.close()


def test_a_loop_ends_when_no_change_comes_in_time_or_the_system_is_closed(tmp_path: Path) -> None:
    stock = init_system(Dict, tmp_path)
    watched = stock.watch(timeout=0.01)
    assert list(watched) == []
    stock["tea"] = 1
    assert [change.key for change in watched] == ["tea"]
    forever, found = stock.watch(), []
    thread = threading.Thread(target=lambda: found.extend(change.key for change in forever))
    thread.start()
    stock["ink"] = 2
    control(stock).close()
    thread.join(SOON_S)
    assert found == ["ink"] and list(forever) == []
    with pytest.raises(SystemClosed):
        stock.watch()


def test_a_callback_may_close_its_own_watch() -> None:
    stock = memory_system(Dict)
    ended = threading.Event()
    watched = stock.watch()

    def told(change: Change) -> None:
        watched.close()
        ended.set()

    watched(told)
    stock["tea"] = 1
    assert ended.wait(SOON_S)
    watched._thread.join(SOON_S)
    assert not listeners


def test_a_slow_reader_holds_up_nobody_and_misses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "CHANGES_MAX", 10)
    counter = memory_system(Counter)
    slow, quick = counter.watch(), counter.watch()
    for number in range(1, 100):
        counter.inc()
        if number % 5 == 0:
            assert len(heard(counter, quick)) == 5
    assert slow._facts._subscription is not None and slow._facts._subscription.wait(SOON_S)
    assert len(slow._queue) <= 10 and slow.last < 11
    assert [each[4] for each in heard(counter, slow)] == list(range(1, 100))
    counter.inc()
    assert told(heard(counter, slow)) == [("set", ALL, 99, 100)]


def test_last_says_where_to_go_on(tmp_path: Path) -> None:
    with init_system(Set, tmp_path) as found:
        watched = found.watch(timeout=SOON_S)
        found.update("abc")
        found.add("d")
        assert (next(watched).key, watched.last) == ("a", 0)
        assert [next(watched).key for _ in range(2)] == ["b", "c"] and watched.last == 1
        found.add("e")
        last = watched.last
    with init_system(Set, tmp_path) as found:
        assert [each[2] for each in heard(found, found.watch(after=last))] == ["d", "e"]


def test_what_was_pruned_is_told_as_missed(tmp_path: Path) -> None:
    with init_system(Counter, tmp_path) as counter:
        for _ in range(5):
            counter.inc()
            control(counter).take_snapshot()
        control(counter).prune(keep=1)
        watched = counter.watch(after=1)
        counter.inc()
        assert heard(counter, watched)[0][1:3] == ("missed", ALL) and heard(counter, counter.watch(after=5)) == [
            (6, "set", ALL, 5, 6)
        ]


@pytest.mark.parametrize("after", [-1, 2, True, "1", 1.5])
def test_a_place_that_is_none_is_refused(after: Any) -> None:
    counter = memory_system(Counter)
    counter.inc()
    with pytest.raises(UsageError, match="after="):
        counter.watch(after=after)
    assert not listeners


@pytest.mark.parametrize("name", STRUCTURES)
def test_to_watch_takes_no_lock_in_a_loop_and_is_no_action(name: str) -> None:
    system = memory_system(STRUCTURES[name][0]())
    entered, gate = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: system._coopy_engine.run(lambda: (entered.set(), gate.wait(SOON_S))))
    thread.start()
    assert entered.wait(SOON_S)

    async def main() -> Watch:
        found: Watch = system.watch()  # Nobody gets the lock now.
        gate.set()
        return found

    watched = asyncio.run(main())
    thread.join(SOON_S)
    assert control(system).index == 0 and watched.last == 0
    watched.close()


def test_what_can_not_be_watched_is_refused() -> None:
    with pytest.raises(UsageError, match="no keys"):
        memory_system(Counter).watch("tea")
    for position in (-1, "a", True):
        with pytest.raises(UsageError, match="position"):
            memory_system(List).watch(position)
    for structure in (Dict, Counter):
        with pytest.raises(UsageError, match="callback="):
            memory_system(structure).watch(lambda change: None)
    with pytest.raises(UsageError, match="open system"):
        Dict().watch("tea")
    with pytest.raises(ValueError):
        memory_system(Dict).watch(timeout=-1)
    assert not listeners


# -- structures of an own class


class Shop:
    def __init__(self) -> None:
        self.stock: Dict[str, int] = Dict()
        self.other: Dict[str, int] = Dict()
        self.shelves = {"a": Set("x")}

    def order(self, article: str) -> None:
        self.stock[article] = self.stock.get(article, 0) + 1
        self.other["tea"] = 0
        self.shelves["a"].add(article)

    @transactional
    def refuse(self, article: str) -> None:
        self.order(article)
        raise ValueError

    @coopy.outside
    def watch_stock(self, article: str) -> Watch:
        return watch(self, article, of="stock")


def test_a_structure_that_is_an_attribute_is_watched_by_its_name_or_by_what_finds_it(tmp_path: Path) -> None:
    with init_system(Shop, tmp_path) as shop:
        tea, shelf = shop.watch_stock("tea"), watch(shop, of=lambda shop: shop.shelves["a"])
        nothing = watch(shop, of="no.such.thing")
        shop.order("ink")
        shop.order("tea")
        with pytest.raises(ValueError):
            shop.refuse("tea")
        shop.order("tea")
        assert heard(shop, tea) == [(2, "added", "tea", None, 1), (4, "set", "tea", 1, 2)]
        assert told(heard(shop, shelf)) == [("added", "ink", None, None), ("added", "tea", None, None)]
        assert heard(shop, nothing) == []
        with pytest.raises(UsageError, match="of="):
            shop.stock.watch("tea")
    with init_system(Shop, tmp_path) as shop:
        assert len(heard(shop, watch(shop, "tea", of="stock", after=0))) == 2


# -- asyncio, nodes


def test_changes_are_iterated_over_in_a_loop(tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(Dict, tmp_path) as stock:
            await stock.set("before", 0)
            watched, other = stock.watch("tea", timeout=SOON_S), stock.watch(after=0)
            for number in range(3):
                await stock.set("tea", number)
                await stock.set("ink", number)
            found = []
            async for change in watched:
                found.append(change.after)
                if change.after == 2:
                    break
            assert found == [0, 1, 2]
            async for change in stock.watch(timeout=0.01):
                raise AssertionError(change)
            seen: list[Any] = []

            async def read() -> None:
                async for change in other:
                    seen.append(change.index)

            task = asyncio.ensure_future(read())
            told: list[Change] = []
            done = threading.Event()
            stock.watch(callback=lambda change: (told.append(change), done.set()))
            await stock.set("tea", 3)
            await asyncio.get_running_loop().run_in_executor(None, done.wait, SOON_S)
        await asyncio.wait_for(task, SOON_S)
        assert seen == list(range(1, 9)) and [change.after for change in told] == [3]

    asyncio.run(main())
    assert not listeners


def test_what_is_withdrawn_before_a_loop_has_settled_is_not_told(tmp_path: Path) -> None:
    class Stock(Dict[str, int]):
        @abort_exception
        def refuse(self) -> None:
            self["refused"] = 1
            raise ValueError

    stock = memory_system(Stock)
    facts = coopy.spine.facts.Facts.of(stock._coopy_engine)

    async def main() -> Watch:
        facts.settle, settle = lambda: None, facts.settle  # type: ignore[method-assign]
        watched = stock.watch(timeout=SOON_S)
        await asyncio.sleep(0)
        with pytest.raises(ValueError):
            stock.refuse()
        stock["tea"] = 1
        assert facts._subscription is None and len(facts._pending) == 2
        facts.settle = settle  # type: ignore[method-assign]
        assert (await watched.__anext__()).key == "tea"
        return watched

    asyncio.run(main()).close()


def test_nodes_hear_of_the_changes_of_all_of_them() -> None:
    ends = MemoryServer().ends(2)
    one, other = Node(ends[0], "a", cls=Shop), Node(ends[1], "b", cls=Shop)
    facts = coopy.spine.facts.Facts.of(one.engine)
    ear = _Ear()
    assert facts.listen(ear) == 0
    for number in range(10):
        (one if number % 2 else other).bank.order(str(number))
    one.engine.sync(10)
    assert facts._subscription is not None and facts._subscription.wait(SOON_S)
    assert [said[0][1] for said in ear.heard] == [str(number) for number in range(10)] and ear.sure
    facts.leave(ear)
    for node in (one, other):
        node.engine.close()


class _Ear:
    """Hears what is said of the stock of a shop."""

    def __init__(self) -> None:
        self.heard: list[tuple[tuple[Any, ...], int]] = []
        self.sure = True

    def wants(self, domain: Any, source: object, said: tuple[Any, ...]) -> bool:
        return source is domain.stock

    def hear(self, facts: list[Any], last: int, is_sure: bool) -> None:
        self.heard += [(fact.said, fact.index) for fact in facts]
        self.sure = self.sure and is_sure

    def end(self) -> None:
        pass


def test_a_system_that_is_dropped_is_not_kept_by_its_watches(tmp_path: Path) -> None:
    stock = init_system(Dict, tmp_path)
    watched, called = stock.watch(), stock.watch(callback=lambda change: None)
    engine = weakref.ref(stock._coopy_engine)
    del stock
    for _ in range(1000):
        gc.collect()
        if watched._ended and called._ended:
            break
        threading.Event().wait(0.005)
    assert watched._ended and called._ended
    gc.collect()
    assert engine() is None and not listeners
