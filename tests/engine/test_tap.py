"""Who subscribes is told of each action that may be told, in order, without gaps, outside the lock, on every kind of system."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster.memory_nodes import Node
from contract.test_calling import KINDS, Called, Opened, Shop, inside
from faults import Faulty, open_with

import coopy
from coopy import SystemClosed, UsageError, aio, control, init_system
from coopy.disk.fs import Calls
from coopy.errors import JournalError, Unreadable
from coopy.ground.line import MemoryServer
from coopy.spine.tap import Subscription
from coopy.testing import memory_system

SOON_S = 30


class Listener:
    """Keeps what it is told of."""

    def __init__(self) -> None:
        self.ranges: list[tuple[int, int]] = []

    def __call__(self, first: int, last: int) -> None:
        self.ranges.append((first, last))

    @property
    def told(self) -> list[int]:
        return [index for first, last in self.ranges for index in range(first, last + 1)]


@pytest.fixture(params=[kind for kind in KINDS if kind != "a past state"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    found = KINDS[request.param](tmp_path / "shop")
    yield found
    found.close()


@pytest.fixture
def shop() -> Iterator[Any]:
    found = memory_system(Shop)
    yield found
    control(found).close()


def engine_of(opened: Opened) -> Any:
    return opened.calling


def listening(engine: Any, after: int | None = None) -> tuple[Listener, Subscription]:
    listener = Listener()
    return listener, engine.subscribe(listener, after)


def test_each_action_is_told_once_and_in_order(opened: Opened) -> None:
    engine = engine_of(opened)
    opened.shop.sell("before")
    before = engine.log.last
    listener, subscription = listening(engine)
    opened.shop.sell("tea")
    for name in ("sell", "refuse"):
        with pytest.raises((ValueError, KeyError)):
            getattr(opened.shop, name)("nothing")
    opened.shop.count()
    calls = [Called("sell", number) for number in range(200)] + [Called("sell", ["a", "list"]), Called("each")]
    list(engine.settled(engine.begin_all(calls), calls))
    opened.shop.count()
    assert subscription.wait(SOON_S)
    assert listener.told == list(range(before + 1, engine.log.last + 1))
    assert len(listener.told) >= 3 + len(calls)
    subscription.close()


def test_what_was_told_is_settled_and_has_been_applied(opened: Opened) -> None:
    engine = engine_of(opened)
    seen: list[tuple[bool, bool]] = []

    def told(first: int, last: int) -> None:
        settled = engine.log.settled
        seen.append((last <= settled, last <= engine.machine.reached))

    subscription = engine.subscribe(told)
    for number in range(20):
        opened.shop.sell(number)
    assert subscription.wait(SOON_S)
    assert seen and set(seen) == {(True, True)}


def test_the_lock_is_free_while_a_callback_runs(opened: Opened) -> None:
    found: list[int] = []
    subscription = engine_of(opened).subscribe(lambda first, last: found.append(opened.shop.count()))
    assert opened.shop.sell("tea") == opened.shop.count() == 1  # A copy comes there with the next read.
    assert subscription.wait(SOON_S)
    assert found == [1] * len(found) and found


def test_a_callback_may_call_the_system_and_is_told_of_that_too(opened: Opened) -> None:
    engine = engine_of(opened)
    listener = Listener()

    def told(first: int, last: int) -> None:
        listener(first, last)
        if opened.shop.count() < 3:
            opened.shop.sell("more")

    subscription = engine.subscribe(told)
    opened.shop.sell("tea")
    while opened.shop.count() < 3:
        assert subscription.wait(SOON_S)
    assert subscription.wait(SOON_S)
    assert listener.told == list(range(1, engine.log.last + 1)) or listener.told[0] > 1
    assert listener.told == list(range(listener.told[0], engine.log.last + 1))


def test_nothing_is_told_while_an_action_runs(shop: Any) -> None:
    listener, subscription = listening(shop._coopy_engine)

    seen: list[bool] = []
    inside.append(lambda: seen.append(subscription.wait(0) and listener.told == []))
    shop.look()
    inside.clear()
    assert subscription.wait(SOON_S)
    assert seen == [True] and listener.told == [1]


def test_whoever_begins_earlier_is_told_of_what_was(opened: Opened) -> None:
    engine = engine_of(opened)
    for number in range(5):
        opened.shop.sell(number)
    assert opened.shop.count() == 5
    last = engine.log.last
    for after in (0, 2, last):
        listener, subscription = listening(engine, after)
        assert subscription.wait(SOON_S)
        assert listener.told == list(range(after + 1, last + 1))
        subscription.close()


@pytest.mark.parametrize("after", [-1, 2, True, "1", 1.0])
def test_a_place_that_is_none_is_refused(shop: Any, after: Any) -> None:
    shop.sell("tea")
    with pytest.raises(UsageError, match="after="):
        control(shop).subscribe(Listener(), after)
    with pytest.raises(UsageError, match="subscribe"):
        control(shop).subscribe(None)  # type: ignore[arg-type]
    assert shop._coopy_engine.tap is None


def test_a_slow_callback_holds_up_neither_calls_nor_others_and_is_told_of_a_longer_range(shop: Any) -> None:
    entered, gate = threading.Event(), threading.Event()
    slow = Listener()

    def told(first: int, last: int) -> None:
        entered.set()
        assert gate.wait(SOON_S)
        slow(first, last)

    subscription = control(shop).subscribe(told)
    shop.sell(0)
    assert entered.wait(SOON_S)
    quick, other = listening(shop._coopy_engine)
    for number in range(1, 50):
        assert shop.sell(number) == number + 1
    assert other.wait(SOON_S)
    assert quick.told == list(range(2, 51))
    gate.set()
    assert subscription.wait(SOON_S)
    assert slow.ranges == [(1, 1), (2, 50)]


@pytest.mark.parametrize(
    "raised", [LookupError("no such shelf"), SystemExit("no such shelf")], ids=lambda each: type(each).__name__
)
def test_what_a_callback_raises_is_logged_and_it_is_told_of_what_comes(
    opened: Opened, caplog: pytest.LogCaptureFixture, raised: BaseException
) -> None:
    listener = Listener()

    def told(first: int, last: int) -> None:
        listener(first, last)
        raise raised

    subscription = engine_of(opened).subscribe(told)
    for number in range(3):
        opened.shop.sell(number)
        assert subscription.wait(SOON_S)
    assert listener.told[-1] == engine_of(opened).log.last
    assert "no such shelf" in caplog.text and all(each.levelno == logging.ERROR for each in caplog.records)


def test_nothing_is_told_after_the_end_of_a_subscription(opened: Opened) -> None:
    engine = engine_of(opened)
    listener = Listener()
    with engine.subscribe(listener) as subscription:
        opened.shop.sell("tea")
        assert subscription.wait(SOON_S)
    told = list(listener.told)
    opened.shop.sell("milk")
    subscription.close()
    assert listener.told == told and engine.tap is None


def test_a_callback_may_end_its_own_subscription(shop: Any) -> None:
    found: list[Subscription] = []
    listener, ended = Listener(), threading.Event()

    def told(first: int, last: int) -> None:
        listener(first, last)
        found[0].close()

    found.append(control(shop).subscribe(told, ended=ended.set))
    shop.sell("tea")
    assert ended.wait(SOON_S)
    shop.sell("milk")
    assert listener.told == [1]


def test_closing_a_system_tells_of_the_last_actions_and_ends_its_subscriptions(opened: Opened) -> None:
    engine = engine_of(opened)
    ended, gate = threading.Event(), threading.Event()
    listener = Listener()

    def told(first: int, last: int) -> None:
        assert gate.wait(SOON_S)
        listener(first, last)

    engine.subscribe(told, None, ended.set)
    for number in range(5):
        opened.shop.sell(number)
    opened.shop.count()  # A copy comes there with the next read.
    last = engine.log.last
    opened.close()
    gate.set()
    assert ended.wait(SOON_S)
    assert listener.told[-1] == last and listener.told == list(range(listener.told[0], last + 1))
    with pytest.raises(SystemClosed):
        engine.subscribe(listener)


def test_a_callback_may_close_the_system(tmp_path: Path) -> None:
    shop: Any = init_system(Shop, tmp_path)
    ended = threading.Event()
    control(shop).subscribe(lambda first, last: control(shop).close(), ended=ended.set)
    shop.sell("tea")
    assert ended.wait(SOON_S)
    assert control(shop).closed


def test_nothing_is_told_before_the_disk_has_it(tmp_path: Path) -> None:
    disk = Faulty()
    shop = open_with(disk, Shop, tmp_path / "shop")
    entered, gate = threading.Event(), threading.Event()
    real: Callable[[int], None] = disk.sync_data

    def sync_data(fd: int) -> None:
        entered.set()
        assert gate.wait(SOON_S)
        real(fd)

    listener, subscription = listening(shop._coopy_engine)
    disk.sync_data = sync_data  # type: ignore[method-assign]
    caller = threading.Thread(target=shop.sell, args=("tea",))
    caller.start()
    assert entered.wait(SOON_S)
    assert not subscription.wait(0.2) and listener.told == []
    gate.set()
    caller.join(SOON_S)
    assert subscription.wait(SOON_S) and listener.told == [1]
    control(shop).close()


def test_what_a_disk_that_failed_may_not_have_is_never_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    disk = Faulty()
    shop = open_with(disk, Shop, tmp_path / "shop")
    ended = threading.Event()
    listener = Listener()
    control(shop).subscribe(listener, ended=ended.set)
    disk.failing, disk.errno = "sync_data", errno.EIO
    with pytest.raises(JournalError):
        shop.sell("tea")
    assert ended.wait(SOON_S)
    assert listener.told == []
    disk.failing = ""
    control(shop).close()


def test_an_interrupted_action_is_told_of_once_it_is_withdrawn(shop: Any) -> None:

    def interrupt() -> None:
        inside.clear()
        raise MemoryError

    listener, subscription = listening(shop._coopy_engine)
    inside.append(interrupt)
    with pytest.raises(MemoryError):
        shop.look()
    assert subscription.wait(SOON_S) and listener.told == [1]
    assert [each.ended for each in control(shop).actions()] == ["withdrawn"]


def test_a_system_that_is_dropped_is_not_kept_by_its_subscribers(tmp_path: Path) -> None:
    shop: Any = init_system(Shop, tmp_path)
    ended = threading.Event()
    control(shop).subscribe(Listener(), ended=ended.set)
    shop.sell("tea")
    engine = weakref.ref(shop._coopy_engine)
    del shop
    for _ in range(1000):
        gc.collect()  # While the thread waits for the disk it has the engine.
        if ended.wait(0.01):
            break
    assert ended.is_set()
    gc.collect()
    assert engine() is None


def test_nodes_tell_of_the_actions_of_all_of_them() -> None:
    ends = MemoryServer().ends(2)
    one, other = Node(ends[0], "a", cls=Shop), Node(ends[1], "b", cls=Shop)
    listener, subscription = listening(one.engine)
    for number in range(10):
        (one if number % 2 else other).bank.sell(number)
    one.engine.sync(10)
    assert subscription.wait(SOON_S)
    assert listener.told == list(range(1, one.log.last + 1)) and len(listener.told) >= 10
    for node in (one, other):
        node.engine.close()


# -- the actions themselves


def test_actions_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    shop: Any = init_system(Shop, tmp_path)
    seen: list[Any] = []

    def told(first: int, last: int) -> None:
        seen.extend((each.index, each.method, each.args, each.ended) for each in control(shop).actions(first, last))

    with control(shop).subscribe(told) as subscription:
        shop.sell("tea")
        with pytest.raises(ValueError, match="nothing"):
            shop.sell("nothing")
        with pytest.raises(KeyError):
            shop.refuse("all")
        shop.sell_by(shop, "milk")
        assert subscription.wait(SOON_S)
    assert [each[:3] for each in seen[:3]] == [(1, "sell", ("tea",)), (2, "sell", ("nothing",)), (3, "refuse", ("all",))]
    assert seen[3][1] == "sell_by" and str(seen[3][2]) == "(<the system itself>, 'milk')"
    assert [each[3] for each in seen] == ["returned", "raised", "withdrawn", "returned"]
    assert [each.index for each in control(shop).actions(2, 3)] == [2, 3]
    assert [each.index for each in control(shop).actions(5)] == []
    control(shop).close()


@pytest.mark.parametrize("way", ["moved", "ENOTDIR", "EACCES", "ESTALE", "EMFILE"])
def test_actions_that_can_not_be_read_any_more_are_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    def refused(self: Calls, path: str, *more: Any) -> Any:
        raise OSError(getattr(errno, way), os.strerror(getattr(errno, way)), path)

    async def read() -> list[int]:
        async with aio.open(Shop, tmp_path / "other") as shop:
            await shop.sell("tea")
            with monkeypatch.context() as patch:
                patch.setattr(Calls, "names", refused)
                return [each.index async for each in aio.actions(shop, 0)]

    data = tmp_path / "data"
    with control(init_system(Shop, data)) as here:
        here.system.sell("tea")
        with monkeypatch.context() as patch:
            if way == "moved":
                data.rename(tmp_path / "elsewhere")
            else:
                patch.setattr(Calls, "names", refused)
            with pytest.raises(Unreadable, match="was not read, and nothing was changed") as raised:
                list(here.actions())
        assert raised.value.filename == str(data)
        if way == "moved":
            (tmp_path / "elsewhere").rename(data)
        assert [each.index for each in here.actions()] == [1]
    if way != "moved":
        with pytest.raises(Unreadable):
            asyncio.run(read())


def test_an_action_that_runs_is_none_that_can_be_read(shop: Any) -> None:

    found: list[int] = []

    def look() -> None:
        inside.clear()
        found.extend(each.index for each in control(shop).actions())

    shop.sell("tea")
    inside.append(look)
    shop.look()
    assert found == [1]


# -- asyncio


def test_ranges_and_actions_are_iterated_over_in_a_loop(tmp_path: Path) -> None:
    async def main() -> tuple[list[int], list[Any]]:
        told: list[int] = []
        async with aio.open(Shop, tmp_path) as shop:
            ranges = aio.subscribe(shop)
            await asyncio.gather(*(shop.sell(number) for number in range(30)))
            async for first, last in ranges:
                told += range(first, last + 1)
                if last == 30:
                    break
            await ranges.aclose()
            found = []
            async for each in aio.actions(shop, after=10):
                found.append((each.index, each.args))
                if each.index == 20:
                    break
        return told, found

    told, found = asyncio.run(main())
    assert told == list(range(1, 31))
    assert [index for index, _ in found] == list(range(11, 21))


def test_the_iteration_ends_with_the_system(tmp_path: Path) -> None:
    async def main() -> list[int]:
        async with aio.open(Shop, tmp_path) as shop:
            found: list[int] = []

            async def listen() -> None:
                async for each in aio.actions(shop, 0):
                    found.append(each.index)

            task = asyncio.ensure_future(listen())
            for number in range(3):
                await shop.sell(number)
            while len(found) < 3:
                await asyncio.sleep(0)
        await task
        return found

    assert asyncio.run(main()) == [1, 2, 3]


def test_nobody_who_does_not_listen_costs_a_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    shop = open_with(Calls(), Shop, tmp_path / "shop")
    shop.sell("tea")
    assert threading.active_count() <= before, "one of an earlier test may end meanwhile"
    assert shop._coopy_engine.tap is None
    coopy.control(shop).close()
