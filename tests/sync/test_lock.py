"""A lock as a program holds it: on one machine, with the clock of the test."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sync.hands import Hand

import coopy
from coopy import SystemClosed, UsageError, control, init_system
from coopy.errors import LockLost, NotHeld, OutcomeUnknown, Unavailable
from coopy.sync import Lock, Locks, RLock, presence
from coopy.sync.presence import Presence
from coopy.sync.waits import FOREVER_NS
from coopy.testing import memory_system

PATIENCE_S = 20


def until(question: Callable[[], Any]) -> Any:
    """Waits for what threads bring about."""
    ended = time.monotonic() + PATIENCE_S
    while not (answer := question()):
        assert time.monotonic() < ended, "it did not come about"
        time.sleep(0.001)
    return answer


@pytest.fixture
def locks() -> Iterator[Any]:
    system = memory_system(Locks)
    yield system
    control(system).close()


def elsewhere(system: Any) -> Presence:
    """Another process of the same system, as far as the system can tell."""
    found = Presence(system)
    found._start()
    return found


def die(there: Presence) -> None:
    """Has the threads of another process be no more, and say nothing."""
    there.change = lambda what, *args: refuse(there, what)  # type: ignore[method-assign]
    there._end()


class Elsewhere(Lock):
    """A lock of another process."""

    def __init__(self, name: str, system: Any, there: Presence, **options: Any) -> None:
        super().__init__(name, system=system, **options)
        self._presence.leave()
        self._forgotten.detach()
        self._presence = there
        there.enter()


def test_a_lock_is_taken_and_given_back(locks: Any) -> None:
    lock = Lock("stock", system=locks)
    assert not lock.held and not lock.locked()
    assert lock.acquire() and lock.held and lock.locked() and lock.token == control(locks).index == 1
    lock.check()
    lock.release()
    assert not lock.held and not lock.locked() and locks.held() == {}
    with pytest.raises(NotHeld, match="not held by this handle"):
        lock.release()
    for use in (lambda: lock.token, lambda: lock.deadline, lock.check, lock.renew):
        with pytest.raises(NotHeld):
            use()


def test_an_answer_that_was_overtaken_by_what_came_of_it_takes_nothing_away(locks: Any) -> None:
    """A renewal says that one waits; before its answer is looked at, the lock is given, and the tap has told of it."""
    locks.acquire("stock", "another")
    lock = Lock("stock", system=locks)
    there, change = lock._presence, lock._presence.change
    looked = threading.Event()

    def renew_slowly(what: str, *args: Any) -> Any:
        answer = change(what, *args)
        if what == "renew" and not looked.is_set():
            looked.set()
            locks.drop("another")
            until(lambda: not there._waiting())
        return answer

    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(lock.acquire)
        (session,) = until(lambda: there._waiting() and [*there._sessions.values()])
        there.change = renew_slowly  # type: ignore[method-assign]
        there._renew(session)
        assert looked.is_set() and waits.result(PATIENCE_S) and lock.held


def test_the_next_has_a_larger_token_and_they_come_in_order(locks: Any) -> None:
    first = Lock("stock", system=locks)
    first.acquire()
    tokens = [first.token]
    came: list[int] = []

    def wait(number: int) -> None:
        with Lock("stock", system=locks) as mine:
            came.append(number)
            tokens.append(mine.token)

    with ThreadPoolExecutor(5) as pool:
        for number in range(5):
            pool.submit(wait, number)
            until(lambda: len(first.contenders()) == number + 2)
        first.release()
    assert came == list(range(5)) and tokens == sorted(set(tokens))


def test_a_waiter_is_told_by_the_release_and_does_not_ask_now_and_then(locks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Hand(monkeypatch)  # Time stands, so nothing is renewed or counted that could tell it.
    first, second = Lock("stock", system=locks), Lock("stock", system=locks)
    looked, step = [], Presence._step

    def look(self: Presence, claim: Any, until_ns: int | None) -> int:
        looked.append(step(self, claim, until_ns))
        return looked[-1]

    monkeypatch.setattr(Presence, "_step", look)
    for _ in range(5):
        first.acquire()
        looked.clear()
        with ThreadPoolExecutor(1) as pool:
            got = pool.submit(second.acquire)
            until(lambda: looked)
            first.release()
            assert got.result(PATIENCE_S)
        second.release()
        assert set(looked) <= {FOREVER_NS, 0} and looked[0] == FOREVER_NS


def test_a_waiter_is_told_that_came_while_others_were_being_told(locks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Lock("stock", system=locks, ttl=600), Lock("stock", system=locks, ttl=600)
    first.acquire()
    until(lambda: first._presence._changes == locks.news(-1, [])[0])
    see, step, waits, got = Presence.see, Presence._step, threading.Event(), threading.Event()

    def looks(self: Presence, claim: Any, until_ns: Any) -> int:
        left_ns = step(self, claim, until_ns)
        waits.set()
        return left_ns

    def late(self: Presence, what: str, *args: Any) -> Any:
        if what == "news" and not waits.is_set():
            # Who waits was counted by now.
            threading.Thread(target=lambda: second.acquire() and got.set()).start()
            assert waits.wait(PATIENCE_S)
            first.release()
        return see(self, what, *args)

    monkeypatch.setattr(Presence, "_step", looks)
    monkeypatch.setattr(Presence, "see", late)
    locks.set_event("news")
    assert got.wait(PATIENCE_S), "or it would wait until the next renewal"
    second.release()


def test_a_time_limit_is_over_and_nothing_lost_though_another_thread_hears_that_the_place_is_gone(locks: Any) -> None:
    first, second = Lock("stock", system=locks), Lock("stock", system=locks)
    first.acquire()
    found, change = second._presence, second._presence.change

    def heard_at_once(what: str, *args: Any) -> Any:
        answer = change(what, *args)
        if what == "leave":
            # As the thread does that renews, and the one that is told of changes.
            (claim,) = (
                claim for session in found._sessions.values() for claim in session.claims.values() if claim.owner == args[0]
            )
            found._renew(claim.session)
            found._told(0, 0)
        return answer

    found.change = heard_at_once  # type: ignore[method-assign]
    assert second.acquire(timeout=0.01) is False and second.acquire(timeout=0) is False
    assert len(first.contenders()) == 1 and first.held


def test_a_time_limit_and_a_try_leave_nothing_behind(locks: Any) -> None:
    first, second = Lock("stock", system=locks), Lock("stock", system=locks)
    first.acquire()
    assert second.acquire(blocking=False) is False and second.acquire(timeout=0.01) is False
    assert len(first.contenders()) == 1
    first.release()
    assert second.acquire(blocking=False) is True
    second.release()


@pytest.mark.parametrize(
    ("args", "error"),
    [((False, 1), ValueError), ((True, -100), ValueError), ((True, 1e100), OverflowError), ((True, threading.TIMEOUT_MAX + 1), OverflowError)],
)  # fmt: skip
def test_arguments_are_refused_as_by_a_lock_of_threading(locks: Any, args: tuple[Any, ...], error: type[Exception]) -> None:
    for handle in (Lock("stock", system=locks), RLock("other", system=locks)):
        with pytest.raises(error):
            handle.acquire(*args)


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), 1e300, "15", None])
def test_a_ttl_that_is_none_is_refused(locks: Any, ttl: Any) -> None:
    with pytest.raises(UsageError, match="ttl"):
        Lock("stock", system=locks, ttl=ttl)


def test_cancel_has_those_who_wait_go(locks: Any) -> None:
    first, second = Lock("stock", system=locks), Lock("stock", system=locks)
    first.acquire()
    with ThreadPoolExecutor(2) as pool:
        found = [pool.submit(second.acquire) for _ in range(2)]
        until(lambda: len(first.contenders()) == 3)
        second.cancel()
        assert [each.result(PATIENCE_S) for each in found] == [False, False]
    until(lambda: len(first.contenders()) == 1)


def test_cancel_means_also_what_is_just_being_asked_for(locks: Any) -> None:
    first, second = Lock("stock", system=locks), Lock("stock", system=locks)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(first.acquire).result()
    ask = second._presence.acquire

    def cancelled_meanwhile(*args: Any) -> Any:
        claim = ask(*args)
        second.cancel()
        return claim

    second._presence.acquire = cancelled_meanwhile  # type: ignore[method-assign]
    otherwise = threading.Timer(1.0, first.release)
    otherwise.start()
    assert second.acquire() is False
    otherwise.cancel()


@pytest.mark.parametrize("kind", [Lock, RLock])
def test_a_block_is_not_entered_if_who_waits_is_cancelled(kind: type[Lock], locks: Any) -> None:
    first, second = Lock("stock", system=locks), kind("stock", system=locks)
    first.acquire()

    def enter() -> None:
        with second:
            raise AssertionError("nobody has the lock")

    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(enter)
        until(lambda: len(first.contenders()) == 2)
        second.cancel()
        with pytest.raises(LockLost, match="cancel"):
            waits.result(PATIENCE_S)


def test_a_second_handle_in_the_same_thread_raises_where_it_would_wait_for_itself(locks: Any) -> None:
    first, second = Lock("stock", system=locks), RLock("stock", system=locks)
    with first:
        for handle in (second, Lock("stock", system=locks)):
            with pytest.raises(UsageError, match="by another handle"):
                handle.acquire()
        assert second.acquire(timeout=0.01) is False
        with Lock("another", system=locks):
            pass
    with second, second:
        assert second._recursion_count() == 2 if hasattr(second, "_recursion_count") else True


def test_a_waiter_that_is_interrupted_leaves_no_place_behind(locks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Lock("stock", system=locks), Lock("stock", system=locks)
    first.acquire()

    def interrupt(self: Presence, claim: Any, until_ns: Any) -> Any:
        monkeypatch.undo()
        claim.moved.wait = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        return self.waiting(claim, until_ns)

    monkeypatch.setattr(Presence, "waiting", interrupt)
    with pytest.raises(KeyboardInterrupt):
        second.acquire(timeout=PATIENCE_S)
    until(lambda: len(first.contenders()) == 1)


# -- loss


def test_a_holder_that_can_not_renew_knows_at_two_thirds_of_its_time_and_asks_nobody(
    locks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand, lost = Hand(monkeypatch), threading.Event()
    lock = Lock("stock", lock_lost_callback=lost.set, system=locks, ttl=15)
    lock.acquire()
    token = lock.token
    monkeypatch.setattr(Presence, "change", refuse)
    hand.go(9.9)
    assert lock.held and lock.deadline * 1e9 - hand.now_ns == pytest.approx(0.1e9, abs=1e7)
    hand.go(0.2)
    assert not lock.held
    assert lost.wait(PATIENCE_S)
    for use in (lambda: lock.token, lambda: lock.deadline, lock.check, lock.renew, lock.release):
        with pytest.raises(LockLost) as told:
            use()
        assert (told.value.name, told.value.token) == ("stock", token) and "two thirds" in told.value.why
    with pytest.raises(NotHeld):
        lock.release()
    assert locks.token("stock", locks.contenders("stock")[0]) == token, "the others can't have it yet"


def refuse(self: Presence, what: str, *args: Any) -> Any:
    raise Unavailable("no majority")


@pytest.mark.parametrize("kind", [Lock, RLock])
def test_the_end_of_a_block_raises_if_the_lock_was_lost_inside(
    kind: type[Lock], locks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = Hand(monkeypatch)
    with pytest.raises(LockLost), kind("stock", system=locks):
        hand.go(11)
    with pytest.raises(KeyError), kind("another", system=locks):
        hand.go(11)
        raise KeyError("what the block raises is more urgent")
    with pytest.raises(KeyError), kind("third", system=locks):
        raise KeyError("it is given back all the same")
    until(lambda: locks.held() == {})


def test_what_was_lost_is_given_back_and_can_be_acquired_again(locks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand(monkeypatch)
    lock = Lock("stock", system=locks)
    lock.acquire()
    first = lock.token
    hand.go(11)
    assert not lock.held
    until(lambda: locks.held() == {})
    assert lock.acquire() and lock.token > first and lock.held
    lock.release()


def test_a_renewal_that_comes_too_late_does_not_bring_back_what_was_lost(locks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand(monkeypatch)
    lock, other = Lock("stock", system=locks), Lock("other", system=locks)
    lock.acquire()
    hand.go(11)
    other.acquire()  # Which renews the session of both.
    assert not lock.held and other.held
    with pytest.raises(LockLost):
        lock.check()


def test_a_lock_that_is_renewed_is_held_for_as_long_as_one_likes(locks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand(monkeypatch)
    lock = Lock("stock", system=locks, ttl=15)
    lock.acquire()
    for _ in range(20):
        hand.go(5.1)
        before = lock.deadline
        lock._presence._renew_bell.set()
        until(lambda: lock.deadline > before)
    assert lock.held and lock.token == 1 and lock.renew() == lock.deadline


def test_one_whose_session_was_ended_by_somebody_learns_of_it(locks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = threading.Event()
    lock = Lock("stock", lock_lost_callback=lost.set, system=locks)
    lock.acquire()
    locks.end(lock._claim.session.id)
    lock._presence._claim = None
    lock._presence._renew(lock._claim.session)
    assert lost.wait(PATIENCE_S) and not lock.held


def test_a_waiter_is_told_when_its_place_is_gone(locks: Any) -> None:
    there = elsewhere(locks)
    holder, waiter = Lock("stock", system=locks), Elsewhere("stock", locks, there)
    holder.acquire()
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(waiter.acquire)
        until(lambda: len(holder.contenders()) == 2)
        locks.end(f"{there.id}/15.0")
        with pytest.raises(LockLost, match="place in the queue"):
            found.result(PATIENCE_S)
    waiter.close()


@pytest.mark.parametrize("wait", [True, False])
def test_a_lock_that_is_taken_while_a_renewal_is_on_its_way_stays_with_who_has_it(
    wait: bool, locks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Lock("other", system=locks), Lock("stock", system=locks)
    first.acquire()
    change = Presence.change

    def overtaken(self: Presence, what: str, *args: Any) -> Any:
        if what == "renew":
            monkeypatch.undo()
            assert second.acquire(wait)
        return change(self, what, *args)

    monkeypatch.setattr(Presence, "change", overtaken)
    first.renew()
    first.renew()
    assert second.held and locks.held()["stock"] == {second._claim.owner: second.token}
    second.release()


def test_what_arrives_after_its_caller_was_told_that_nothing_is_known_of_it_is_taken_out(
    locks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Lock("other", system=locks), Lock("stock", system=locks)
    first.acquire()
    change, late = Presence.change, list[tuple[Any, ...]]()

    def lost(self: Presence, what: str, *args: Any) -> Any:
        if what == "acquire":
            late.append(args)
            raise OutcomeUnknown("no answer came")
        return change(self, what, *args)

    with monkeypatch.context() as cut:
        cut.setattr(Presence, "change", lost)
        with pytest.raises(OutcomeUnknown):
            second.acquire()
    first.renew()
    locks.acquire(*late[0])
    assert "stock" in locks.held()
    first.renew()
    until(lambda: "stock" not in locks.held())
    assert first.held


def test_what_the_callbacks_raise_harms_nobody_else(locks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hand, lost = Hand(monkeypatch), threading.Event()
    gate = threading.Event()
    slow = Lock("slow", lock_lost_callback=gate.wait, system=locks)
    other = Lock("other", lock_lost_callback=lost.set, system=locks)
    slow.acquire()
    other.acquire()
    hand.go(11)
    assert not slow.held and lost.wait(PATIENCE_S)
    gate.set()


@pytest.mark.parametrize("make", [Lock, RLock])
def test_a_lock_whose_callback_raises_is_not_held_by_anybody(locks: Any, make: Any) -> None:
    def tells() -> None:
        raise ValueError("told nobody")

    lock = make("stock", tells, system=locks)
    for get in (lock.acquire, lock.__enter__):
        with pytest.raises(ValueError, match="told nobody"):
            get()
        assert not lock.held and lock.contenders() == []
    with Lock("stock", system=locks) as other:
        assert other.held


def test_the_lock_callback_is_called_once_the_log_has_it(locks: Any) -> None:
    seen = []
    lock = Lock("stock", lambda: seen.append((control(locks).durable, lock.held, locks.held()["stock"])), system=locks)
    lock.acquire()
    assert seen[0][0] >= lock.token and seen[0][1] and list(seen[0][2].values()) == [lock.token]
    lock.release()


# -- another process, and the end


def test_after_a_crash_of_the_holder_the_next_has_it_and_not_before_its_time(
    locks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = Hand(monkeypatch)
    dead = elsewhere(locks)
    held, waits = Elsewhere("stock", locks, dead, ttl=8), Lock("stock", system=locks, ttl=600)
    held.acquire()
    die(dead)
    began = hand.now_ns
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(waits.acquire)
        until(lambda: len(waits.contenders()) == 2)
        hand.go_until(found.done, waits._presence)
    assert hand.now_ns - began >= 8e9, "how much later it may be is seen in test_timekeeper.py"
    waits.release()


@pytest.mark.parametrize("ending", ["dies", "stands still"])
def test_a_lock_with_a_delay_is_given_to_nobody_for_that_time_after_its_holder_has_lost_it(
    locks: Any, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    hand, there = Hand(monkeypatch), elsewhere(locks)
    held, waits = Elsewhere("stock", locks, there, ttl=8, lock_delay=30), Lock("stock", system=locks, ttl=600)
    held.acquire()
    began = hand.now_ns
    if ending == "dies":
        die(there)
    else:
        hand.go(7)
        until(lambda: not held.held and not locks.held())
        began = hand.now_ns
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(waits.acquire)
        hand.go_until(found.done, waits._presence)
        assert found.result()
    assert hand.now_ns - began >= (38e9 if ending == "dies" else 30e9)
    waits.release()
    assert waits.acquire(blocking=False), "what is released is free at once"
    waits.release()
    held.close()


def test_closing_a_handle_gives_the_lock_back_and_so_does_forgetting_it(locks: Any) -> None:
    lock = Lock("stock", system=locks)
    lock.acquire()
    lock.close()
    assert locks.held() == {}
    lock.close()
    with pytest.raises(SystemClosed):
        lock.acquire()
    keeps = Lock("keeps", system=locks)
    forgotten = Lock("stock", system=locks)
    forgotten.acquire()
    del forgotten
    gc.collect()
    until(lambda: locks.held() == {})
    assert keeps.acquire()


def test_with_the_last_handle_the_threads_end(locks: Any) -> None:
    lock = Lock("stock", system=locks)
    found = lock._presence
    with lock:
        assert len([each for each in threading.enumerate() if found.id in each.name]) == 3
    del lock
    gc.collect()
    until(lambda: found.closed and not [each for each in threading.enumerate() if found.id in each.name])
    assert id(locks) not in presence._here


def test_closing_the_system_gives_everything_back_first(tmp_path: Path) -> None:
    for close in (control, lambda system: system):
        with init_system(Locks, tmp_path / "data") as locks:
            assert locks.held() == {}
            lost = threading.Event()
            lock = Lock("stock", lock_lost_callback=lost.set, system=locks)
            lock.acquire()
            close(locks).close()
            assert lost.wait(PATIENCE_S) and not lock.held
            with pytest.raises(LockLost):
                lock.release()
            with pytest.raises(SystemClosed):
                lock.acquire()


def test_who_waits_when_the_system_is_closed_is_told(locks: Any) -> None:
    first, second = Lock("stock", system=locks), Lock("stock", system=locks)
    first.acquire()
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(second.acquire)
        until(lambda: len(first.contenders()) == 2)
        control(locks).close()
        with pytest.raises((LockLost, SystemClosed)):
            found.result(PATIENCE_S)


def test_the_system_is_the_one_that_is_open(tmp_path: Path) -> None:
    coopy.close_all()  # An exception that somebody keeps may keep a system of another test.
    assert not [each for each in coopy.opened() if isinstance(each.system, Locks)]
    with pytest.raises(UsageError, match="0 systems with locks are open"):
        Lock("stock")
    with init_system(Locks, tmp_path / "data") as locks:
        assert Lock("stock").system is locks


def test_what_has_no_locks_is_refused() -> None:
    class Shop:
        pass

    for system in (memory_system(Shop), Shop(), 7, Locks()):
        with pytest.raises(UsageError):
            Lock("stock", system=system)


def test_a_lock_is_not_used_inside_an_action() -> None:
    class Shop(Locks):
        def wait(self) -> None:
            HANDLES[0].acquire()

    shop = memory_system(Shop)
    HANDLES[:] = [Lock("stock", system=shop)]
    with pytest.raises(UsageError, match="outside of actions"):
        shop.wait()
    HANDLES.clear()


HANDLES: list[Lock] = []
