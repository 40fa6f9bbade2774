"""What users of other libraries complain about: a test for each complaint.

Where it was reported is said with each; the names are those of the projects on GitHub.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from batteries.opened import memory_system

import coopy.aio
from coopy import StateChanged, control, init_system
from coopy.batteries import (
    Deque,
    Dict,
    Frozen,
    Leaderboard,
    List,
    LRUCache,
    MultiDict,
    PriorityQueue,
    Queue,
    Set,
    TTLCache,
    async_handle,
    handle,
)
from coopy.testing import Clock, assert_replays

ROOT = Path(__file__).resolve().parents[2]


class Basket:
    """An object, of which readers get a copy."""

    def __init__(self) -> None:
        self.items: list[str] = []


# -- "d[k]['x'] = 1 is not saved": sqlitedict 23, 80, 115, 117, 135; pottery 182; ZODB's "persistent"


@pytest.mark.parametrize(
    ("make", "read"),
    [
        (lambda value: Dict(k=value), lambda found: found["k"]),
        (lambda value: List([value]), lambda found: found[0]),
        (lambda value: Deque([value]), lambda found: found[-1]),
        (lambda value: MultiDict([("k", value)]), lambda found: found["k"][0]),
        (lambda value: _set(TTLCache(), value), lambda found: found["k"]),
        (lambda value: _set(LRUCache(), value), lambda found: found["k"]),
    ],
    ids=["Dict", "List", "Deque", "MultiDict", "TTLCache", "LRUCache"],
)
def test_a_value_that_is_changed_in_place_raises_or_is_a_copy_and_edit_saves_it(make: Any, read: Any, tmp_path: Path) -> None:
    with init_system(make({"x": 0}), tmp_path / "plain") as found:
        with pytest.raises(Frozen, match="with structure.edit"):
            read(found)["x"] = 1
        if hasattr(found, "edit"):
            with found.edit("k" if "k" in found else 0) as value:
                value["x"] = 1
            assert control(found).index == 1
    with init_system(make({"x": 0}), tmp_path / "plain") as found:
        assert read(found)["x"] == (1 if hasattr(found, "edit") else 0)
    system = memory_system(make(Basket()))
    read(system).items.append("tea")
    assert read(system).items == []


def _set(cache: Any, value: Any) -> Any:
    cache["k"] = value
    return cache


def test_check_reports_an_object_of_the_state_that_is_changed_in_place(tmp_path: Path) -> None:
    class Leaky(Dict[str, Basket]):
        def basket(self, key: str) -> Any:
            return self._items[key].value

    with init_system(Leaky(k=Basket()), tmp_path, check=True, validation="off") as found:
        found.basket("k").items.append("tea")
        with pytest.raises(StateChanged):
            found["x"] = 1
        assert found["k"].items == [] and "x" not in found


# -- "a TTL or expiry that nobody learns of": diskcache 115


@pytest.mark.parametrize("kind", ["watch", "expire", "expired"])
def test_an_expiry_is_an_action_with_an_index_and_is_learnt_of(kind: str) -> None:
    clock = Clock()
    clock.freeze()
    cache = memory_system(TTLCache(ttl=60), clock=clock)
    watched = cache.watch("tea", timeout=30)
    cache["tea"] = 1
    clock.move(60)
    if kind == "expire":
        assert cache.expire() == ["tea"]
    else:
        cache["ink"] = 2
    if kind == "expired":
        assert cache.expired() == [(1, "tea")]
    assert [(change.index, change.kind) for change in (next(watched), next(watched))] == [(1, "added"), (2, "expired")]


# -- "maxlen, peek, rotate missing, later wrong": diskcache 190, 64, 369 (maxlen=None breaks appends), 370 (extend(d) never ends)


def test_a_deque_has_maxlen_peek_and_rotate_and_its_maxlen_can_be_taken_away() -> None:
    last = memory_system(Deque("abc", maxlen=3))
    last.rotate(1)
    assert (list(last), last.peek(), last.peekleft(), last.maxlen) == (["c", "a", "b"], "b", "c", 3)
    last.resize(None)
    last.append("d")
    last.append("e")
    assert list(last) == ["c", "a", "b", "d", "e"] and last.maxlen is None
    assert_replays(last)


@pytest.mark.parametrize(
    "make", [lambda: Deque("ab"), lambda: List("ab"), lambda: Deque("ab", maxlen=3)], ids=["Deque", "List", "maxlen"]
)
def test_to_extend_by_itself_ends(make: Any) -> None:
    found = memory_system(make())
    found.extend(found)
    assert list(found) == (["b", "a", "b"] if getattr(found, "maxlen", None) else ["a", "b", "a", "b"])
    plain = make()
    plain.extend(plain)
    assert plain == found


# -- "get blocks for ever, or data sits in the process": diskcache 287, sqlitedict 93


@pytest.mark.parametrize("kind", [Queue, PriorityQueue])
def test_get_has_a_time_limit_and_what_it_has_returned_is_recorded(kind: Any, tmp_path: Path) -> None:
    with init_system(kind, tmp_path) as jobs:
        with pytest.raises(Empty):
            handle(jobs).get(timeout=0.01)
        assert control(jobs).index == 0
        jobs.put(1)
        assert handle(jobs).get(timeout=30) == 1 and control(jobs).durable == 2


def test_what_was_put_survives_a_program_that_ends_without_closing(tmp_path: Path) -> None:
    program = f"import os, coopy\nfrom coopy.batteries import Queue\ncoopy.init_system(Queue, {str(tmp_path)!r}).put('wash')\nos._exit(1)"
    ran = subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert ran.returncode == 1
    with init_system(Queue, tmp_path) as jobs:
        assert jobs.get() == "wash"


# -- "no async twin": hazelcast-python-client 783, 788


def test_every_method_has_an_async_twin(tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(Dict, tmp_path / "stock") as stock:
            await stock.set("tea", [1])
            async with await stock.edit("tea") as tea:
                tea.append(2)
            assert await stock.pop("tea") == [1, 2]
        async with coopy.aio.open(Queue, tmp_path / "jobs") as jobs:
            waiting = asyncio.ensure_future(async_handle(jobs).get(timeout=30))
            await jobs.put("wash")
            assert await waiting == "wash"
        async with coopy.aio.open(Set, tmp_path / "seen") as seen:
            watched = seen.watch(timeout=30)
            await seen.add("tea")
            async for change in watched:
                assert change.key == "tea"
                break

    asyncio.run(main())


# -- "a key that compares but does not sort; None among keys": BTrees 74


@pytest.mark.parametrize("item", [None, ("b", 1), float("nan"), object()])
def test_a_priority_that_has_no_order_is_refused_when_it_is_put_in(item: Any) -> None:
    jobs = memory_system(PriorityQueue)
    jobs.put_many([2, 1])
    with pytest.raises((TypeError, ValueError)):
        jobs.put(item) if type(item) is not object else jobs.put("x", priority=None or {})
    assert jobs.drain() == [1, 2]


def test_a_score_that_has_no_order_is_refused() -> None:
    board = memory_system(Leaderboard)
    for score in (float("nan"), None, "many"):
        with pytest.raises((TypeError, ValueError)):
            board.set("ann", score)
    assert len(board) == 0


def test_none_may_be_a_key_where_no_order_is_needed() -> None:
    assert memory_system(Dict({None: 1, 2: 3}))[None] == 1 and None in memory_system(Set([None, 1]))


# -- "hash order": ReplSet.pop of PySyncObj is set.pop on each node


@pytest.mark.parametrize("hash_seed", ["0", "1", "42"])
def test_pop_takes_the_oldest_whatever_the_hash_seed(hash_seed: str) -> None:
    program = (
        "from coopy.batteries import Set, Dict\n"
        "found = Set(['zebra', 'ant', 'mule'])\nfound.update({'b', 'a', 'c'})\n"
        "print([found.pop() for _ in range(6)], list(Dict.fromkeys({'y', 'x', 'z'})))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout == "['zebra', 'ant', 'mule', 'a', 'b', 'c'] ['x', 'y', 'z']\n"


# -- "ties compare payloads": the idiom of heapq


def test_of_equal_priorities_the_first_comes_first_and_payloads_are_not_compared() -> None:
    jobs = memory_system(PriorityQueue)
    for number in range(5):
        jobs.put((1, {"n": number}))
        jobs.put(Basket(), priority=0)
    drained = jobs.drain()
    assert [type(each) for each in drained[:5]] == [Basket] * 5
    assert [payload["n"] for _, payload in drained[5:]] == [0, 1, 2, 3, 4]


# -- and what was asked for besides: one call that reads and writes, for several at once


def test_threads_that_read_and_write_do_not_lose_what_others_wrote() -> None:
    stock = memory_system(Dict(tea=0))

    def add() -> None:
        for _ in range(100):
            while not stock.replace_if_same("tea", before := stock["tea"], before + 1):
                pass

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stock["tea"] == 400
