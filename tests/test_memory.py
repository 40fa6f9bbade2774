"""What is dropped is gone at once: no state is left in a cycle, counted in objects while the collector is off.

COOPY_LOOKS=2000 (`make memory`) repeats each operation so often.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import coopy
from coopy import abort_exception, aio, control, init_system, readonly, testing, transactional
from coopy.errors import CheckFailed, CoopyError, JournalError, ReplayError, SystemClosed, UsageError
from coopy.ground import collector
from coopy.past.reading import Reading
from coopy.tools import tree
from coopy.tools.rehearse import rehearse
from coopy.tools.verify import verify

LOOKS = int(os.environ.get("COOPY_LOOKS", 8))
alive: weakref.WeakSet[Any] = weakref.WeakSet()
interrupted: list[bool] = []
otherwise: list[bool] = []


class Kept:
    """Knows how many objects of it there are."""

    def __new__(cls, *_: object) -> Any:
        made = object.__new__(cls)
        alive.add(made)
        return made


class Shop(Kept):
    def __init__(self) -> None:
        self.rows = [[number] for number in range(50)]
        self.sold = 0

    def sell(self) -> int:
        self.sold += 1
        if otherwise:
            raise KeyError("no")
        return self.sold

    @transactional
    def fail(self) -> None:
        self.sold += 1
        raise KeyError("no")

    @transactional(parts=("sold",))
    def fail_in_part(self) -> None:
        self.fail()

    @abort_exception
    def refuse(self) -> None:
        raise KeyError("no")

    def run_out_of_memory(self) -> None:
        self.sold += 1
        if interrupted:
            interrupted.pop()
            raise MemoryError

    def shelf(self) -> list[list[int]]:
        return self.rows

    @readonly
    def sell_in_a_read(self) -> None:
        self.sold += 1


class LaterShop(Shop):
    sell = None  # type: ignore[assignment]


class Caller(Kept):
    """Holds its own proxy."""

    def __init__(self) -> None:
        self.me: Any = None
        self.count = 0

    def meet(self, both: list[Any]) -> None:
        self.me = both[0]  # As an argument by itself it would be the object.

    def add(self) -> None:
        self.count += 1

    def add_by_proxy(self) -> None:
        self.me.add()


class WithLambda(Kept):
    """What only dill can keep."""

    def __init__(self) -> None:
        self.rows = [[number] for number in range(50)]
        self.price = lambda count: 3 * count

    def add(self) -> None:
        self.rows.append([])


class Tree(Kept):
    """A state that is in cycles itself."""

    def __init__(self) -> None:
        self.leaves: list[Any] = [[self] for _ in range(20_000)]

    def grow(self) -> None:
        self.leaves.append([self])


def refused(error: type[BaseException], function: Callable[..., object], *args: Any, **options: Any) -> None:
    with pytest.raises(error):
        function(*args, **options)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Any]:
    with init_system(Shop, tmp_path / "shop", validation="off") as shop:
        for _ in range(5):
            shop.sell()
        yield shop


@pytest.fixture
def basedir(shop: Any) -> str:
    return control(shop).basedir


@pytest.fixture
def closed(tmp_path: Path) -> str:
    with init_system(Shop, tmp_path / "closed", validation="off") as shop:
        shop.sell()
    return str(tmp_path / "closed")


def settle(others: set[threading.Thread]) -> None:
    """Waits for the threads of what was closed; ``others`` are those of other tests."""
    for thread in {*threading.enumerate()} - others:
        if thread.name.startswith("coopy"):
            thread.join(60)


def objects() -> int:
    """All that the collector knows of. Python 3.12 freezes what is immortal at each collection."""
    return len(gc.get_objects()) + gc.get_freeze_count()


def leaves_nothing(operation: Callable[[], object]) -> None:
    """Asserts that an operation leaves neither a state nor other objects, however often it is repeated."""
    others = {*threading.enumerate()}
    for _ in range(3):
        operation()
    settle(others)
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        before = objects()
        states = len(alive)
        for _ in range(LOOKS):
            operation()
        settle(others)
        assert len(alive) == states
        assert objects() - before < LOOKS
    finally:
        if enabled:
            gc.enable()


# -- looks at the past


def test_a_past_that_is_dropped_is_gone(shop: Any, basedir: str) -> None:
    leaves_nothing(lambda: coopy.replay(Shop, basedir, until=3))
    leaves_nothing(lambda: control(shop).replay(until=3))


def test_a_past_that_holds_its_own_proxy_is_gone(tmp_path: Path) -> None:
    with init_system(Caller, tmp_path / "caller", validation="off") as caller:
        caller.meet([caller])
        caller.add_by_proxy()
        leaves_nothing(lambda: coopy.replay(Caller, tmp_path / "caller"))
        leaves_nothing(lambda: control(caller).replay())
        past = control(caller).replay()
        gc.collect()
        past.add_by_proxy()
        assert (past.count, past.me.count, caller.count) == (2, 2, 1)


def test_a_past_that_can_not_be_is_gone(basedir: str) -> None:
    leaves_nothing(lambda: refused(UsageError, coopy.replay, LaterShop, basedir))
    otherwise.append(True)
    try:
        leaves_nothing(lambda: refused(ReplayError, coopy.replay, Shop, basedir))
    finally:
        otherwise.clear()


def test_a_past_that_dill_has_kept_is_gone(tmp_path: Path) -> None:
    with init_system(WithLambda, tmp_path / "lambda", validation="off") as system:
        system.add()
        leaves_nothing(lambda: control(system).replay())


def test_the_collector_is_told_of_pasts_that_are_cycles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gc.isenabled()
    # A quarter of all there is in this process depends on the tests before: here it comes with any growth.
    monkeypatch.setattr(collector, "GROWTH", 1.0)
    monkeypatch.setattr(collector, "BLOCKS_MIN", 0)
    with init_system(Tree, tmp_path / "tree") as tree_system:
        tree_system.grow()
        most, before = 0, len(alive)
        for _ in range(8):
            coopy.replay(Tree, tmp_path / "tree", until=0)
            most = max(most, len(alive) - before)
    assert most <= 4, "of 8"


# -- calls


@pytest.mark.parametrize("method", ["fail", "fail_in_part", "refuse"])
def test_a_call_that_raises_leaves_nothing(shop: Any, method: str) -> None:
    leaves_nothing(lambda: refused(KeyError, getattr(shop, method)))


def test_a_machine_that_was_interrupted_is_gone_when_another_takes_its_place(shop: Any) -> None:
    def interrupt() -> None:
        interrupted.append(True)
        refused(MemoryError, shop.run_out_of_memory)
        shop.sell()

    leaves_nothing(interrupt)


def test_what_a_check_has_found_leaves_nothing() -> None:
    checked = testing.memory_system(Shop, check=True, validation="off")

    def find() -> None:
        refused(CheckFailed, checked.sell_in_a_read)
        checked.shelf().append([])
        refused(CheckFailed, checked.sell)
        refused(KeyError, checked.fail)

    leaves_nothing(find)


# -- systems


@pytest.mark.parametrize("options", [{}, {"fork": False}, {"snapshot_growth": 1 << 20}], ids=["fork", "inline", "growth"])
def test_a_system_that_is_closed_leaves_nothing(closed: str, options: dict[str, Any]) -> None:
    def use() -> None:
        with init_system(Shop, closed, validation="off", **options) as shop:
            shop.sell()
            control(shop).take_snapshot()

    leaves_nothing(use)


def test_who_keeps_a_closed_system_does_not_keep_its_state(closed: str) -> None:
    before = len(alive)
    shop = init_system(Shop, closed, validation="off")
    shop.sell()
    shop.close()
    assert len(alive) == before
    assert control(shop).closed and control(shop).effects == []
    with pytest.raises(SystemClosed):
        control(shop).state_digest()


def test_a_system_that_is_dropped_ends_its_threads(closed: str) -> None:
    others = {*threading.enumerate()}
    shop = init_system(Shop, closed, validation="off", snapshot_growth=1 << 20)
    shop.sell()
    assert len(threading.enumerate()) == len(others) + 1
    del shop
    gc.collect()
    settle(others)
    assert len(threading.enumerate()) <= len(others)


def test_an_opening_that_fails_leaves_nothing(basedir: str, closed: str) -> None:
    leaves_nothing(lambda: refused(CoopyError, init_system, LaterShop, closed, validation="off"))
    leaves_nothing(lambda: refused(CoopyError, init_system, Caller, closed, validation="off"))
    leaves_nothing(lambda: refused(CoopyError, init_system, Shop, basedir, validation="off"))


def test_a_system_for_tests_leaves_nothing() -> None:
    def use() -> None:
        shop = testing.memory_system(Shop(), validation="off")
        shop.sell()
        refused(KeyError, shop.fail)
        testing.assert_replays(shop)
        shop = testing.crash(shop)
        control(shop).take_snapshot()
        control(shop).close()

    leaves_nothing(use)


def test_a_system_whose_disk_failed_leaves_nothing(closed: str) -> None:
    def fail() -> None:
        shop = testing.open_system(Shop, closed, validation="off")
        with testing.failing(shop, "sync"):
            refused(JournalError, shop.sell)
        refused(JournalError, shop.sell)
        control(shop).close()

    leaves_nothing(fail)


def test_a_system_of_asyncio_leaves_nothing(closed: str) -> None:
    async def use() -> None:
        async with aio.open(Shop, closed, validation="off") as shop:
            await asyncio.gather(*(shop.sell() for _ in range(20)))
            with pytest.raises(KeyError):
                await shop.fail()

    async def fail() -> None:
        with pytest.raises(CoopyError):
            await aio.open(LaterShop, closed, validation="off")

    loop = asyncio.new_event_loop()
    leaves_nothing(lambda: loop.run_until_complete(use()))
    leaves_nothing(lambda: loop.run_until_complete(fail()))
    loop.close()


def test_the_tools_leave_nothing(shop: Any, basedir: str) -> None:
    def look() -> None:
        with Reading(basedir, Shop) as reading:
            one, other = reading.machine(1).domain, reading.machine(4).domain
            assert list(tree.differences(one, other)) and list(tree.tree(one))
            list(reading.actions())

    leaves_nothing(look)
    leaves_nothing(lambda: rehearse(basedir, Shop))
    leaves_nothing(lambda: control(shop).state_digest())
    states = len(alive)
    verify(basedir, Shop)
    assert len(alive) == states


# -- the collector


def test_what_was_hidden_from_the_collector_is_collected_once_all_has_grown_by_a_quarter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blocks = 1_000_000
    collected: list[int] = []
    monkeypatch.setattr(collector, "_known", 0)
    monkeypatch.setattr(sys, "getallocatedblocks", lambda: blocks)
    monkeypatch.setattr(gc, "collect", lambda *generation: collected.append(blocks))
    for blocks in (1_000_000, 1_349_000, 1_351_000, 1_700_000, 1_000_000, 1_351_000):  # noqa: B007 - the lambda reads it
        collector.look_if_grown()
    assert collected == [1_351_000, 1_351_000]


def test_an_interrupted_restore_leaves_the_collector_as_it_was() -> None:
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        try:
            with pytest.raises(KeyboardInterrupt), collector.off():
                raise KeyboardInterrupt
            assert gc.isenabled() is enabled
        finally:
            gc.enable()
