"""Locks and elections for tasks."""

from __future__ import annotations

import asyncio
import doctest
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sync.hands import Hand
from sync.test_lock import PATIENCE_S

from coopy import UsageError, aio, close_all, control
from coopy.aio import Election, Lock, RLock, election, gates, locks, party
from coopy.errors import LockLost, NotHeld
from coopy.sync import Lock as ThreadLock
from coopy.sync import Locks, Term
from coopy.sync.claims import HOLDS
from coopy.sync.presence import Presence
from coopy.testing import memory_system


def in_loop(test: Callable[[Any], Awaitable[None]]) -> Callable[[], None]:
    """Has a test run in an event loop, with a system of locks."""

    async def main() -> None:
        locks = memory_system(Locks)
        try:
            await asyncio.wait_for(test(locks), PATIENCE_S)
        finally:
            await asyncio.get_running_loop().run_in_executor(None, control(locks).close)

    def run() -> None:
        asyncio.run(main())

    run.__name__ = test.__name__
    return run


async def until(question: Callable[[], Any]) -> None:
    while not question():
        await asyncio.sleep(0.001)


def test_the_examples_show_what_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        told = [doctest.testmod(module) for module in (locks, election, gates, party)]
    finally:
        close_all()
    assert all(tried and not failed for failed, tried in told)


@in_loop
async def test_a_lock_whose_callback_raises_is_not_held_by_anybody(locks: Any) -> None:
    async def tells() -> None:
        raise ValueError("told nobody")

    lock = Lock("stock", tells, system=locks)
    with pytest.raises(ValueError, match="told nobody"):
        await lock.acquire()
    assert not lock.held and await lock.contenders() == []


@in_loop
async def test_what_a_block_raises_is_raised_also_if_the_lock_was_released_inside(locks: Any) -> None:
    lock = Lock("stock", system=locks)
    with pytest.raises(ValueError, match="mine"):
        async with lock:
            await lock.release()
            raise ValueError("mine")
    with pytest.raises(NotHeld):
        async with lock:
            await lock.release()


@in_loop
async def test_tasks_take_turns_in_order_and_with_larger_and_larger_tokens(locks: Any) -> None:
    lock, tokens, came = Lock("stock", system=locks), list[int](), list[int]()

    async def take(number: int) -> None:
        async with lock:
            came.append(number)
            tokens.append(lock.token)
            await asyncio.sleep(0)

    await lock.acquire()
    tasks = []
    for number in range(60):
        tasks.append(asyncio.ensure_future(take(number)))
        if number % 20 == 0:
            await until(lambda: len(locks.contenders("stock")) > number // 2)
    await lock.release()
    await asyncio.gather(*tasks)
    assert sorted(came) == list(range(60)) and tokens == sorted(set(tokens)) and not lock.held


@in_loop
async def test_a_task_that_is_cancelled_leaves_no_place_behind(locks: Any) -> None:
    one, other = Lock("stock", system=locks), Lock("stock", system=locks)
    await one.acquire()
    for delay_s in (0.0, 0.0005, 0.002, 0.02):
        task = asyncio.ensure_future(other.acquire())
        await asyncio.sleep(delay_s)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: len(locks.contenders("stock")) == 1)
    await one.release()
    await until(lambda: locks.held() == {})
    assert await other.acquire(timeout=PATIENCE_S)


@in_loop
async def test_a_time_limit_a_try_and_cancel_give_up(locks: Any) -> None:
    one, other = Lock("stock", system=locks), Lock("stock", system=locks)
    await one.acquire()
    assert not await other.acquire(blocking=False) and not await other.acquire(timeout=0.01)
    task = asyncio.ensure_future(asyncio.wait_for(asyncio.shield(waits := asyncio.ensure_future(other.acquire(timeout=9))), 9))
    await until(lambda: len(locks.contenders("stock")) == 2)
    other.cancel()
    assert await task is False and waits.done()
    await until(lambda: len(locks.contenders("stock")) == 1)  # The system is told by another thread.
    with pytest.raises(NotHeld):
        await other.release()
    with pytest.raises(NotHeld):
        other.check()
    with pytest.raises(ValueError):
        await other.acquire(False, 1)


@in_loop
async def test_a_second_handle_in_the_same_task_raises_where_it_would_wait_for_itself(locks: Any) -> None:
    async with Lock("stock", system=locks):
        with pytest.raises(UsageError, match="this task holds"):
            await Lock("stock", system=locks).acquire()
        task = asyncio.ensure_future(Lock("stock", system=locks).acquire())
        await until(lambda: len(locks.contenders("stock")) == 2)
    assert await task


@in_loop
async def test_a_task_acquires_an_rlock_again_and_no_other_task_releases_it(locks: Any) -> None:
    lock = RLock("stock", system=locks)
    async with lock:
        assert await lock.acquire()
        for use in (lock.release, lock.release):
            with pytest.raises(NotHeld, match="this thread or task"):
                await asyncio.ensure_future(use())
        task = asyncio.ensure_future(lock.acquire())
        await until(lambda: len(locks.contenders("stock")) == 2)
        await lock.release()
        assert lock.held and not task.done()
    assert await task and lock.held
    lock.cancel()
    assert len(await lock.contenders()) == 1


@in_loop
async def test_a_handle_that_could_not_be_made_is_made_at_the_next_use(locks: Any) -> None:
    lock = Lock("stock", system=7)
    for _ in range(2):
        with pytest.raises(UsageError, match="has no locks"):
            await lock.acquire()
    lock._system = locks
    assert await lock.acquire()


@in_loop
async def test_tasks_and_threads_take_turns(locks: Any) -> None:
    there = ThreadLock("stock", system=locks)
    there.acquire()
    lock = Lock("stock", system=locks)
    task = asyncio.ensure_future(lock.acquire())
    await until(lambda: len(locks.contenders("stock")) == 2)
    there.release()
    assert await task and lock.held and await lock.renew() == lock.deadline
    await lock.close()
    assert locks.held() == {}


def test_a_loss_is_told_in_the_loop_and_the_end_of_the_block_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand(monkeypatch)

    @in_loop
    async def test(locks: Any) -> None:
        lost = asyncio.Event()

        async def told() -> None:
            lost.set()

        lock = Lock("stock", None, told, system=locks)
        with pytest.raises(LockLost):
            async with lock:
                hand.go(11)
                assert not lock.held
                await lost.wait()
        async with lock:
            assert lock.held

    test()


def test_what_is_lost_before_the_task_that_waits_has_heard_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    hand, step = Hand(monkeypatch), Presence._step

    def late(self: Presence, claim: Any, until_ns: Any) -> int:
        left_ns = step(self, claim, until_ns)
        if claim.state == HOLDS:
            hand.go(11)
            assert not self.holds(claim)
        return left_ns

    @in_loop
    async def check(locks: Any) -> None:
        first, second = Lock("stock", system=locks), Lock("stock", system=locks)
        await first.acquire()
        # Before the second one asks: the step in which it learns that it waits may last until it has the lock.
        monkeypatch.setattr(Presence, "_step", late)
        waiting = asyncio.ensure_future(second.acquire())
        while len(await first.contenders()) < 2:
            await asyncio.sleep(0.001)
        await first.release()
        with pytest.raises(LockLost, match="two thirds"):
            await waiting

    check()


@pytest.mark.parametrize("lost", ["before the term", "in the term"])
def test_one_that_loses_the_lead_at_once_stands_again(lost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hand, begin = Hand(monkeypatch), Term.__init__
    moments = [lost]

    def late(self: Term, lock: Any, stop: Any) -> None:
        if moments == ["before the term"]:
            moments.pop()
            hand.go(11)
        begin(self, lock, stop)
        if moments == ["in the term"]:
            moments.pop()
            hand.go(11)
            assert not self.leads

    monkeypatch.setattr(Term, "__init__", late)

    @in_loop
    async def check(locks: Any) -> None:
        told: list[int] = []

        async def lead(term: Term) -> None:
            if not term.leads:
                await asyncio.sleep(PATIENCE_S)
            told.append(term.token)

        await Election("shard", lead, system=locks).run()
        assert len(told) == 1

    check()


def test_a_system_of_asyncio_is_taken_as_it_is(tmp_path: Path) -> None:
    async def main() -> None:
        async with aio.open(Locks, tmp_path / "data") as locks:
            lock = Lock("stock", system=locks)
            async with lock:
                assert await locks.contenders("stock") == await lock.contenders()

    asyncio.run(main())


# -- elections


@in_loop
async def test_one_task_leads_and_the_next_takes_over(locks: Any) -> None:
    said: list[str] = []

    def candidate(name: str) -> tuple[Election, asyncio.Future[None]]:
        async def lead(term: Term) -> None:
            said.append(f"{name} leads")
            await term.stop.wait()

        election = Election("shard", lead, lambda: said.append(f"{name} lost"), system=locks)
        return election, asyncio.ensure_future(election.run())

    (one, ran), (other, ran_too) = candidate("one"), candidate("other")
    await until(lambda: said)
    first, second = (one, other) if one.leads else (other, one)
    assert first.leads and not second.leads
    first.shutdown()
    await until(lambda: second.leads and len(said) == 3)
    second.shutdown()
    await asyncio.gather(ran, ran_too)
    assert [each.split()[1] for each in said] == ["leads", "lost", "leads", "lost"] and locks.held() == {}


def test_the_work_is_cancelled_when_leading_is_lost_and_it_stands_again(monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand(monkeypatch)

    @in_loop
    async def test(locks: Any) -> None:
        said: list[str] = []

        async def lead() -> None:
            said.append("leads")
            try:
                await asyncio.sleep(PATIENCE_S)
            except asyncio.CancelledError:
                said.append("cancelled")
                raise

        election = Election("shard", lead, lambda: said.append("lost"), system=locks)
        ran = asyncio.ensure_future(election.run())
        await until(lambda: said)
        hand.go(11)
        assert not election.leads
        await until(lambda: said[3:] == ["leads"])
        assert sorted(said[1:3]) == ["cancelled", "lost"]
        election.shutdown()
        await ran
        assert said[4:] == ["cancelled", "lost"]

    test()


@in_loop
async def test_work_that_raises_or_returns_resigns_and_a_run_that_is_cancelled_too(locks: Any) -> None:
    said: list[str] = []

    async def dies() -> None:
        raise KeyError("the work died")

    with pytest.raises(KeyError):
        await Election("shard", dies, lambda: said.append("lost"), system=locks).run()

    async def returns(term: Term) -> None:
        assert term.leads

    await Election("shard", returns, lambda: said.append("lost"), system=locks).run()
    assert said == ["lost", "lost"] and locks.held() == {}

    async def goes_on() -> None:
        said.append("leads")
        await asyncio.sleep(PATIENCE_S)

    ran = asyncio.ensure_future(Election("shard", goes_on, lambda: said.append("lost"), system=locks).run())
    await until(lambda: said[2:] == ["leads"])
    ran.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ran
    assert said[3:] == ["lost"] and locks.held() == {}


@in_loop
async def test_one_that_stands_can_be_shut_down_and_cancelled(locks: Any) -> None:
    there = ThreadLock("shard", system=locks)
    there.acquire()

    async def lead() -> None:
        raise AssertionError("it does not lead")

    for end in ("shutdown", "cancel"):
        election = Election("shard", lead, system=locks)
        ran = asyncio.ensure_future(election.run())
        await until(lambda: len(locks.contenders("shard")) == 2)
        if end == "shutdown":
            election.shutdown()
            await ran
        else:
            ran.cancel()
            with pytest.raises(asyncio.CancelledError):
                await ran
        await until(lambda: len(locks.contenders("shard")) == 1)
