"""Semaphore, Condition and Event, of several processes of one system."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sync.hands import Hand
from sync.test_lock import PATIENCE_S, die, elsewhere, until

from coopy import SystemClosed, UsageError, control, init_system
from coopy.errors import LockLost, NotHeld
from coopy.sync import Barrier, Condition, Event, Lock, Locks, RLock, Semaphore
from coopy.sync.claims import HOLDS
from coopy.sync.presence import Presence
from coopy.testing import memory_system


@pytest.fixture
def locks() -> Iterator[Any]:
    system = memory_system(Locks)
    yield system
    control(system).close()


def move(handle: Any, there: Any) -> Any:
    """Makes a handle one of another process."""
    handle._presence.leave()
    handle._forgotten.detach()
    handle._presence = there
    there.enter()
    return handle


def waits_in_a_condition(locks: Any) -> object:
    news = Condition("stock", system=locks)
    news.acquire()
    return news.wait()


WAITS = {
    "acquire": lambda locks: Lock("stock", system=locks).acquire(),
    "with": lambda locks: Lock("stock", system=locks).__enter__(),
    "in a time": lambda locks: Lock("stock", system=locks).acquire(timeout=PATIENCE_S),
    "an RLock": lambda locks: RLock("stock", system=locks).acquire(),
    "a Semaphore": lambda locks: Semaphore("stock", 1, system=locks).acquire(),
    "with a Semaphore": lambda locks: Semaphore("stock", 1, system=locks).__enter__(),
    "a Condition": waits_in_a_condition,
}


@pytest.mark.parametrize("waits", WAITS.values(), ids=WAITS)
def test_what_is_lost_before_who_waits_for_it_has_heard_is_an_error_and_no_answer(
    waits: Any, locks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand, step = Hand(monkeypatch), Presence._step
    first = Lock("stock", system=locks)
    is_late = threading.Event()

    def late(self: Presence, claim: Any, until_ns: Any) -> int:
        left_ns = step(self, claim, until_ns)
        if claim.state == HOLDS and claim is not first._claim and is_late.is_set():
            hand.go(11)  # The process stands still now, for longer than it may hold what it was just given.
            assert not self.holds(claim)
        return left_ns

    def roused() -> bool:
        first.acquire()
        if Condition("stock", first).notify_all():
            return True
        first.release()
        return False

    monkeypatch.setattr(Presence, "_step", late)
    with ThreadPoolExecutor(1) as pool:
        if waits is waits_in_a_condition:
            waiting = pool.submit(waits, locks)
            until(roused)
        else:
            first.acquire()
            waiting = pool.submit(waits, locks)
        until(lambda: len(first.contenders()) == 2)
        is_late.set()
        first.release()
        with pytest.raises(LockLost, match="two thirds") as told:
            waiting.result(PATIENCE_S)
        assert told.value.token > 1
    until(lambda: locks.held() == {})


def test_permits_go_on_in_order_and_one_that_is_lost_is_told(locks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand(monkeypatch)
    seats, more = Semaphore("seats", 2, system=locks), Semaphore("seats", 2, system=locks)
    assert seats.acquire() and seats.acquire() and not more.acquire(blocking=False)
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(more.acquire)
        until(lambda: len(seats.contenders()) == 3)
        seats.release()
        assert waits.result(PATIENCE_S)
    assert (seats.held, more.held) == (1, 1)
    with pytest.raises(ValueError, match="holds 1 permits"):
        seats.release(2)
    hand.go(11)
    assert seats.held == more.held == 0
    with pytest.raises(LockLost):
        seats.release()
    with pytest.raises(LockLost), more:
        hand.go(11)
    for wrong in (0, -1):
        with pytest.raises(UsageError):
            Semaphore("seats", wrong, system=locks)
    with pytest.raises(ValueError):
        seats.release(0)


def test_all_who_use_a_semaphore_say_the_same_value(locks: Any) -> None:
    one, other = Semaphore("seats", 2, system=locks), Semaphore("seats", 3, system=locks)
    one.acquire()
    with pytest.raises(UsageError, match="2 at once"):
        other.acquire()


def test_one_who_waits_for_a_condition_is_told_by_another_process_and_has_a_larger_token(locks: Any) -> None:
    there = elsewhere(locks)
    here, far = Condition("news", system=locks), Condition("news", system=locks)
    move(far.lock, there)
    tokens: list[int] = []

    def wait() -> bool:
        with here:
            tokens.append(here.lock.token)
            told = here.wait()
            tokens.append(here.lock.token)
            return told

    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(wait)
        until(lambda: tokens and not locks.held())
        with far:
            assert far.notify() == 1
            tokens.append(far.lock.token)
            assert not waits.done()
        assert waits.result(PATIENCE_S) is True
    assert tokens == sorted(set(tokens)) and locks.held() == {}
    far.lock.close()


def test_one_who_is_not_told_has_the_lock_again_all_the_same(locks: Any) -> None:
    news = Condition("news", system=locks)
    with news:
        assert news.wait(timeout=0.01) is False and news.lock.held
        assert news.wait_for(lambda: 0, timeout=0.01) == 0
    for use in (news.wait, news.notify, news.notify_all, news.release):
        with pytest.raises(NotHeld):
            use()


def test_a_place_before_a_condition_that_is_lost_is_told(locks: Any) -> None:
    news, began = Condition("news", system=locks), threading.Event()

    def wait() -> None:
        with news:
            began.set()
            news.wait()

    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(wait)
        assert began.wait(PATIENCE_S)
        until(lambda: not locks.held())
        locks.end(f"{news.lock.here}/15.0")
        with Lock("news", system=locks):
            pass
        with pytest.raises(LockLost):
            news.lock._presence._renew(news.lock._presence._sessions[15.0])
            waits.result(PATIENCE_S)


def test_an_event_is_seen_by_all_processes_and_after_a_restart(tmp_path: Path) -> None:
    with init_system(Locks, tmp_path / "data") as locks:
        there = elsewhere(locks)
        here, far = Event("ready", system=locks), move(Event("ready", system=locks), there)
        with ThreadPoolExecutor(1) as pool:
            waits = pool.submit(far.wait)
            until(lambda: there._watchers)
            here.set()
            here.clear()
            assert waits.result(PATIENCE_S) is True and not far.is_set()
        here.set()
        here.set()
        far.close()
    with init_system(Locks, tmp_path / "data") as locks:
        ready = Event("ready", system=locks)
        assert ready.is_set() and ready.wait()
        ready.clear()
        assert ready.wait(timeout=0.01) is False


def test_who_waits_for_an_event_when_the_system_is_closed_is_told(locks: Any) -> None:
    ready = Event("ready", system=locks)
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(ready.wait)
        until(lambda: ready._presence._watchers)
        control(locks).close()
        with pytest.raises(SystemClosed):
            waits.result(PATIENCE_S)


def test_a_permit_of_a_process_that_is_gone_is_free_after_its_time(locks: Any) -> None:
    there = elsewhere(locks)
    dead, waits = move(Semaphore("seats", system=locks, ttl=0.2), there), Semaphore("seats", system=locks)
    dead.acquire()
    die(there)
    assert waits.acquire(timeout=PATIENCE_S)


@pytest.mark.parametrize("number", [0, -1, 1.5, float("nan"), "2", None])
def test_permits_and_parties_are_whole_numbers(locks: Any, number: Any) -> None:
    with pytest.raises(UsageError, match="must be a whole number"):
        Semaphore("seats", number, system=locks)
    with pytest.raises(UsageError, match="must be a whole number"):
        Barrier("start", number, system=locks)
