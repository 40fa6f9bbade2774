"""Elections, Fenced and LockManager, on one machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sync.hands import Hand
from sync.test_lock import PATIENCE_S, refuse, until

from coopy import SystemClosed, UsageError, control
from coopy.batteries import LockManager, ReplLockManager
from coopy.errors import LockLost
from coopy.sync import Election, Fenced, Lock, Locks, Term
from coopy.sync.presence import Presence
from coopy.testing import memory_system


@pytest.fixture
def locks() -> Iterator[Any]:
    system = memory_system(Locks)
    yield system
    control(system).close()


class Candidate:
    """Stands, in a thread, and does nothing but lead."""

    def __init__(self, system: Any, **options: Any) -> None:
        self.terms: list[Term] = []
        self.said: list[str] = []
        self.election = Election("shard", self.lead, lambda: self.said.append("lost"), system=system, **options)
        self.thread = threading.Thread(target=self.election.run)
        self.thread.start()

    def lead(self, term: Term) -> None:
        self.terms.append(term)
        self.said.append("leads")
        term.stop.wait(PATIENCE_S)

    def end(self) -> None:
        self.election.shutdown()
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()


def test_one_leads_and_the_next_takes_over_when_it_ends(locks: Any) -> None:
    first = Candidate(locks)
    until(lambda: first.terms)
    second = Candidate(locks)
    until(lambda: len(first.election.contenders()) == 2)
    assert first.election.leads and not second.election.leads and not second.terms
    first.end()
    until(lambda: second.terms)
    assert first.said == ["leads", "lost"] and second.terms[0].token > first.terms[0].token
    second.end()
    assert second.said == ["leads", "lost"] and locks.held() == {}


@pytest.mark.parametrize("lost", ["before the term", "in the term"])
@pytest.mark.parametrize("takes", ["a term", "nothing"])
def test_one_that_loses_the_lead_before_the_work_has_begun_stands_again(
    takes: str, lost: str, locks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand, begin = Hand(monkeypatch), Term.__init__
    moments, terms, led = [lost], list[Term](), list[bool]()

    def stands_still(lock: Any) -> None:
        """For longer than it leads, and who is told of that has been told."""
        moments.pop()
        hand.go(11)
        assert not lock.held
        until(lambda: not any(each.name.startswith("coopy lost") for each in threading.enumerate()))

    def late(self: Term, lock: Any, stop: Any) -> None:
        if moments == ["before the term"]:
            stands_still(lock)
        begin(self, lock, stop)
        terms.append(self)
        if moments == ["in the term"]:
            stands_still(lock)

    def lead() -> None:
        led.append(terms[-1].leads)
        if not terms[-1].leads:
            terms[-1].stop.wait(PATIENCE_S)

    def lead_with(term: Term) -> None:
        lead()

    monkeypatch.setattr(Term, "__init__", late)
    Election("shard", lead_with if takes == "a term" else lead, system=locks).run()
    assert led == [True] and terms[-1].token > 1


def test_the_work_is_told_when_leading_is_lost_and_it_stands_again(locks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand(monkeypatch)
    one = Candidate(locks, ttl=15)
    until(lambda: one.terms)
    with monkeypatch.context() as cut:
        cut.setattr(Presence, "change", refuse)
        hand.go(11)
        assert not one.terms[0].leads
        with pytest.raises(LockLost):
            one.terms[0].check()
        until(lambda: one.said[:2] == ["leads", "lost"])
        assert one.terms[0].stop.wait(PATIENCE_S)
    until(lambda: len(one.terms) == 2)
    assert one.terms[1].leads and one.terms[1].token > one.terms[0].token
    one.end()
    assert one.said == ["leads", "lost", "leads", "lost"]


def test_it_is_told_of_the_loss_while_the_work_still_goes_on(locks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hand, lost, go_on = Hand(monkeypatch), threading.Event(), threading.Event()
    election = Election("shard", lambda: go_on.wait(PATIENCE_S), lost.set, system=locks)
    thread = threading.Thread(target=election.run)
    thread.start()
    until(lambda: election.leads)
    hand.go(11)
    assert lost.wait(PATIENCE_S) and thread.is_alive()
    election.shutdown()
    go_on.set()
    thread.join(PATIENCE_S)


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, SystemExit])
def test_work_that_raises_resigns_at_once_and_the_error_is_raised(locks: Any, error: type[BaseException]) -> None:
    said = []

    def lead() -> None:
        raise error("the work died")

    election = Election("shard", lead, lambda: said.append("lost"), system=locks)
    with pytest.raises(error):
        election.run()
    assert said == ["lost"] and locks.held() == {} and not election.leads


def test_work_that_returns_resigns_at_once(locks: Any) -> None:
    said: list[str] = []
    election = Election("shard", lambda: said.append("leads"), lambda: said.append("lost"), system=locks)
    election.run()
    assert said == ["leads", "lost"] and locks.held() == {}
    election.run()
    assert len(said) == 4


def test_leading_is_confirmed_before_the_work_begins(locks: Any) -> None:
    seen: list[Any] = []
    Election("shard", lambda term: seen.append((control(locks).durable, term.token, locks.held())), system=locks).run()
    durable, token, held = seen[0]
    assert durable >= token and list(held["shard"].values()) == [token]


def test_an_election_that_was_shut_down_before_it_ran_does_not_stand(locks: Any) -> None:
    election = Election("shard", lambda: None, system=locks)
    election.shutdown()
    election.run()
    assert control(locks).index == 0


def test_it_runs_in_one_thread_and_ends_with_close(locks: Any) -> None:
    one = Candidate(locks)
    until(lambda: one.terms)
    with pytest.raises(UsageError, match="runs already"):
        one.election.run()
    assert "leads" in repr(one.election)
    one.election.close()
    assert locks.held() == {} and one.said == ["leads", "lost"]
    one.thread.join(PATIENCE_S)


def test_it_ends_with_its_system(locks: Any) -> None:
    lock = Lock("shard", system=locks)
    lock.acquire()
    election = Election("shard", lambda: None, system=locks)
    with ThreadPoolExecutor(1) as pool:
        ran = pool.submit(election.run)
        until(lambda: len(lock.contenders()) == 2)
        control(locks).close()
        with pytest.raises(SystemClosed):
            ran.result(PATIENCE_S)


# -- Fenced


class Stock:
    """A resource that checks in its own action."""

    def __init__(self) -> None:
        self.fenced = Fenced()
        self.count = 0

    def fill(self, token: int) -> int:
        self.fenced.check("stock", token)
        self.count += 1
        return self.count


def test_a_resource_refuses_who_held_the_lock_earlier(locks: Any) -> None:
    stock = memory_system(Stock)
    first, second = Lock("stock", system=locks), Lock("stock", system=locks)
    with first:
        old = first.token
        assert stock.fill(old) == 1
    with second:
        assert stock.fill(second.token) == 2
    with pytest.raises(LockLost, match="was seen since"):
        stock.fill(old)
    assert stock.count == 2


def test_fenced_keeps_the_highest_token_of_each_resource() -> None:
    fenced = memory_system(Fenced)
    assert [fenced.check("a", 3), fenced.check("b", 1), fenced.highest("a"), fenced.highest("c")] == [3, 1, 3, 0]
    before = control(fenced).state_digest()[1]
    with pytest.raises(LockLost):
        fenced.check("a", 2)
    assert control(fenced).state_digest()[1] == before
    fenced.forget("a")
    assert fenced.check("a", 1) == 1


# -- LockManager


def test_a_lock_manager_has_every_member(locks: Any) -> None:
    mine, other = ReplLockManager(75, selfID="me", system=locks), LockManager(75, system=locks)
    assert mine.selfID == "me" and other.selfID.count(":") == 2
    assert mine.tryAcquire("stock") and mine.tryAcquire("stock") and mine.isAcquired("stock")
    assert not other.tryAcquire("stock") and not other.isAcquired("stock") and other.release("stock") is False
    assert mine.tryAcquire("another")
    assert mine.release("stock") is True and mine.release("stock") is False
    assert other.tryAcquire("stock")
    mine.destroy()
    assert list(locks.held()) == ["stock"]
    other.destroy()
    assert locks.held() == {}
    with pytest.raises(SystemClosed):
        mine.tryAcquire("stock")


def test_a_lock_manager_that_can_not_renew_knows_that_it_has_lost(locks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand(monkeypatch)
    manager = LockManager(75, system=locks)
    manager.tryAcquire("stock")
    hand.go(51)
    assert not manager.isAcquired("stock") and not manager.release("stock")
    until(lambda: locks.held() == {})
    assert manager.tryAcquire("stock")


def test_what_took_too_long_to_get_is_given_back(locks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand(monkeypatch)
    manager = LockManager(75, system=locks)
    change = Presence.change

    def slow(self: Presence, what: str, *args: Any) -> Any:
        found = change(self, what, *args)
        if what == "acquire":
            hand.go(51)
        return found

    with monkeypatch.context() as slowly:
        slowly.setattr(Presence, "change", slow)
        assert not manager.tryAcquire("stock") and not manager.isAcquired("stock")
    until(lambda: locks.held() == {})


@pytest.mark.parametrize("wrong", [0, -1])
def test_a_lock_manager_needs_a_time(locks: Any, wrong: float) -> None:
    with pytest.raises(UsageError):
        LockManager(wrong, system=locks)
