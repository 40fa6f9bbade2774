"""Semaphores, conditions, events, barriers and parties for tasks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import BrokenBarrierError
from typing import Any

import pytest
from sync.hands import Hand
from sync.test_aio_locks import in_loop, until
from sync.test_lock import PATIENCE_S

from coopy import UsageError, sync
from coopy.aio import Barrier, Condition, Event, Lock, Party, Semaphore
from coopy.aio.handles import in_executor
from coopy.errors import LockLost, NotHeld
from coopy.sync import Term


@in_loop
async def test_permits_go_to_tasks_and_threads_in_order(locks: Any) -> None:
    seats, there = Semaphore("seats", 2, system=locks), sync.Semaphore("seats", 2, system=locks)
    assert await seats.acquire() and await in_executor(there.acquire) and not await seats.acquire(blocking=False)
    assert not await seats.acquire(timeout=0.01) and seats.held == 1
    task = asyncio.ensure_future(seats.acquire())
    await until(lambda: len(locks.contenders("seats")) == 3)
    await in_executor(there.release)
    assert await task and seats.held == 2
    with pytest.raises(ValueError, match="holds 2 permits"):
        await seats.release(3)
    await seats.release(2)
    assert seats.held == 0 and await seats.contenders() == []
    task = asyncio.ensure_future(_enter(Semaphore("taken", 1, system=locks)))
    async with Semaphore("taken", 1, system=locks) as taken:
        with pytest.raises(KeyError, match="mine"):
            async with Semaphore("other", 1, system=locks):
                raise KeyError("mine")
        await until(lambda: len(locks.contenders("taken")) == 2 or task.done())
    await task
    assert taken.held == 0


@in_loop
async def test_a_time_limit_that_is_over_is_no_limit_of_none(locks: Any) -> None:
    there, seats = sync.Semaphore("seats", 1, system=locks), Semaphore("seats", 1, system=locks)
    for limit in (-1, -0.5):
        assert await in_executor(there.acquire, True, limit)  # There is one at once.
        assert not await seats.acquire(timeout=limit)
        await in_executor(there.release)
    await seats.acquire()
    assert not await in_executor(there.acquire, True, -1)
    with pytest.raises(ValueError):
        await in_executor(there.acquire, False, -2)


async def _enter(seats: Semaphore) -> None:
    async with seats:
        pass


def test_a_permit_that_is_lost_is_told_at_the_end_of_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand(monkeypatch)

    @in_loop
    async def test(locks: Any) -> None:
        with pytest.raises(LockLost):
            async with Semaphore("seats", 1, system=locks) as seats:
                hand.go(11)
                assert seats.held == 0

    test()


@in_loop
async def test_a_block_is_not_entered_if_cancel_is_called_while_it_waits(locks: Any) -> None:
    holder, seats = Semaphore("seats", 1, system=locks), Semaphore("seats", 1, system=locks)
    await holder.acquire()
    task = asyncio.ensure_future(_enter(seats))
    await until(lambda: len(locks.contenders("seats")) == 2)
    seats.cancel()
    with pytest.raises(LockLost, match="cancel"):
        await task


@in_loop
async def test_a_task_that_waits_for_a_condition_is_told_and_has_a_larger_token(locks: Any) -> None:
    news, told = Condition("news", system=locks), Condition("news", system=locks)
    tokens = []

    async def wait() -> bool:
        async with news, news:
            tokens.append(news.lock.token)
            found = await news.wait()
            tokens.append(news.lock.token)
            return found

    task = asyncio.ensure_future(wait())
    await until(lambda: tokens and not locks.held())
    async with told:
        assert await told.notify() == 1 and await told.notify_all() == 0
        tokens.append(told.lock.token)
        assert not task.done()
    assert await task is True and sorted(tokens) == sorted(set(tokens)) and tokens[0] < tokens[1] < tokens[2]
    await until(lambda: not locks.held())
    for use in (news.wait, news.notify, news.notify_all, news.release):
        with pytest.raises(NotHeld):
            await use()
    assert await news.wait_for(lambda: [1]) == [1]


@in_loop
async def test_a_condition_may_have_a_lock_that_others_use_too(locks: Any) -> None:
    lock = Lock("stock", system=locks)
    news = Condition("news", lock)
    async with news:
        assert lock.held and await news.wait_for(lambda: 0, timeout=0.01) == 0 and lock.held
    assert not lock.held and await news.acquire() and lock.held
    await news.release()


async def _wait_and_be_cancelled(news: Condition, before: Callable[[], object] = int) -> bool:
    """Returns whether a task that was cancelled in its wait has the lock. Raises what the end of its block raises."""
    held: list[bool] = []
    async with news:
        before()
        try:
            await news.wait()
        except asyncio.CancelledError:
            held.append(news.lock.held)
    return held.pop()


@in_loop
async def test_a_task_whose_wait_was_cancelled_does_not_have_the_lock_and_the_block_says_so(locks: Any) -> None:
    news = Condition("news", system=locks)
    waits = asyncio.ensure_future(_wait_and_be_cancelled(news))
    await until(lambda: locks._sessions and not locks.held())
    waits.cancel()
    with pytest.raises(NotHeld):
        await waits
    await until(lambda: not locks._sessions)


@in_loop
async def test_a_task_that_is_cancelled_before_a_thread_begins_its_wait_does_not_have_the_lock_either(locks: Any) -> None:
    news, go_on, one = Condition("news", system=locks), threading.Event(), ThreadPoolExecutor(1)

    def occupy() -> None:
        one.submit(go_on.wait)
        asyncio.get_running_loop().set_default_executor(one)

    waits = asyncio.ensure_future(_wait_and_be_cancelled(news, occupy))
    await until(one._work_queue.qsize)
    waits.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(NotHeld):
        await waits
    await until(lambda: not locks._sessions)


@in_loop
async def test_an_event_that_a_thread_sets_is_seen_by_all_tasks(locks: Any) -> None:
    ready, there = Event("ready", system=locks), sync.Event("ready", system=locks)
    assert not await ready.is_set() and await ready.wait(timeout=0.01) is False
    tasks = [asyncio.ensure_future(ready.wait()) for _ in range(3)]
    await until(lambda: len(there._presence._watchers) == 3)
    await in_executor(there.set)
    await in_executor(there.clear)
    assert await asyncio.gather(*tasks) == [True] * 3 and not await ready.is_set()
    await ready.set()
    assert await in_executor(there.wait) and await ready.wait()
    await ready.clear()
    assert not await in_executor(there.is_set)


@in_loop
async def test_tasks_and_threads_meet_and_one_that_is_cancelled_breaks_the_barrier(locks: Any) -> None:
    start, there = Barrier("start", 3, system=locks), sync.Barrier("start", 3, system=locks)
    for _ in range(3):
        found = await asyncio.gather(start.wait(), in_executor(there.wait), start.wait())
        assert sorted(found) == [0, 1, 2] and not await start.broken() and await start.n_waiting() == 0
    waits, cancelled = asyncio.ensure_future(start.wait()), asyncio.ensure_future(start.wait())
    await until(lambda: there.n_waiting == 2)
    cancelled.cancel()
    with pytest.raises(BrokenBarrierError, match="did not wait until all had come"):
        await waits
    assert await start.broken() and there.broken
    await start.reset()
    with pytest.raises(BrokenBarrierError):
        await start.wait(timeout=0.01)
    await start.reset()
    await start.abort()
    with pytest.raises(BrokenBarrierError, match="abort"):
        async with start:
            raise AssertionError("it is broken")


@pytest.mark.parametrize("number", [0, -1])
def test_a_number_that_is_none_is_refused_at_once(number: int) -> None:
    for kind in (Semaphore, Barrier, sync.Semaphore, sync.Barrier):
        with pytest.raises(UsageError, match="must be a whole number, at least 1"):
            kind("any", number)


@in_loop
async def test_the_shards_of_a_party_are_shared_out_again_when_a_member_goes(locks: Any) -> None:
    busy: list[str] = []

    async def work(shard: str, term: Term) -> None:
        assert shard not in busy, "two lead one shard"
        busy.append(shard)
        try:
            await asyncio.sleep(PATIENCE_S)
        finally:
            busy.remove(shard)

    # Members of one process are one, so the other one joins as a place in the same order.
    shards = ["a", "b", "c"]
    async with Party("indexers", shards, work, system=locks) as party:
        assert await party.wait_until_led(PATIENCE_S) and party.leads() == shards == sorted(busy)
        assert await party.members() == [await party.here()]
        with pytest.raises(UsageError, match="joined already"):
            await party.join()
        locks.acquire("indexers", "elsewhere/1", ttl=600, limit=sync.gates.ALL)
        await until(lambda: party.leads() == ["a", "c"])
        assert await party.members() == [await party.here(), "elsewhere"] and await party.wait_until_led(PATIENCE_S)
        locks.drop("elsewhere/1")
        await until(lambda: party.leads() == shards)
    assert busy == [] and not locks._sessions
    with pytest.raises(UsageError, match="must be there once"):
        Party("indexers", ["a", "a"], work)


@in_loop
async def test_a_member_whose_wait_for_the_membership_failed_may_join_again(locks: Any) -> None:
    async def work(shard: str, term: Term) -> None:
        await term.stop.wait()

    party = Party("indexers", ["a"], work, system=7)
    for _ in range(2):
        with pytest.raises(UsageError, match="has no locks"):
            await party.join()
    await party.close()
