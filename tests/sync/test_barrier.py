"""A barrier whose parties are there by a lease."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any

import pytest
from sync.hands import Hand
from sync.test_ends import Nodes
from sync.test_gates import move
from sync.test_lock import PATIENCE_S, die, elsewhere, until
from sync.test_locks import pass_time

from coopy import SystemClosed, UsageError, control, init_system
from coopy.sync import Barrier, Lock, Locks
from coopy.sync.presence import Presence
from coopy.testing import memory_system


@pytest.fixture
def locks() -> Iterator[Any]:
    system = memory_system(Locks)
    yield system
    control(system).close()


def far(system: Any, name: str = "start", parties: int = 2, **options: Any) -> Barrier:
    """Returns a barrier of another process."""
    return move(Barrier(name, parties, system=system, **options), elsewhere(system))  # type: ignore[no-any-return]


# -- as a state


def test_with_the_last_to_come_all_pass_in_the_same_action() -> None:
    locks = memory_system(Locks)
    assert [locks.arrive("start", owner, parties=3) for owner in "ab"] == [0, 0] and locks.barrier("start") == (["a", "b"], "")
    before = control(locks).index
    assert locks.arrive("start", "c", parties=3) == 3 and control(locks).index == before + 1
    assert [locks.place(owner) for owner in "abc"] == [1, 2, 3] and locks.barrier("start") == ([], "")
    assert locks.arrive("start", "d", parties=3) == 0, "the next round"
    for owner in "abcd":
        assert locks.drop(owner) and locks.place(owner) == -1
    assert "process is gone" in locks.barrier("start")[1]


def test_one_that_has_passed_and_goes_breaks_nothing_and_one_that_waits_does() -> None:
    locks = Locks()
    for owner in "ab":
        locks.arrive("start", owner, parties=2)
    locks.end("a")
    assert not locks.barrier("start")[1]
    locks.arrive("start", "c", parties=2)
    locks.end("c")
    assert locks.barrier("start")[1] and [locks.arrive("start", "d", parties=2), locks.place("d")] == [-1, -1]
    locks.reset("start")
    assert [locks.arrive("start", owner, parties=2) for owner in "ef"] == [0, 2]


def test_the_end_of_a_lease_breaks_the_barrier_for_all_who_wait_and_leaves_no_session_behind() -> None:
    locks = Locks()
    locks.arrive("start", "short", ttl=1, parties=3)
    locks.arrive("start", "long", ttl=100, parties=3)
    assert pass_time(locks, 0.9) == [] and locks.barrier("start")[0] == ["short", "long"]
    assert pass_time(locks, 0.3) == ["short"]
    assert [locks.place("short"), locks.place("long")] == [-1, -1] and locks.barrier("start")[0] == []
    assert locks.count().interval_ns == 0, "no time is counted for anybody"


def test_one_that_does_not_wait_comes_only_if_it_is_the_last() -> None:
    locks = Locks()
    assert locks.arrive("start", "a", wait=False, parties=2) == -1 and locks.barrier("start") == ([], "")
    locks.arrive("start", "b", parties=2)
    assert locks.arrive("start", "c", wait=False, parties=2) == 2


@pytest.mark.parametrize("call", [lambda locks: locks.arrive("start", "b", parties=3), lambda locks: locks.abort("start", 3)])
def test_all_say_the_same_number_of_parties(call: Any) -> None:
    locks = Locks()
    locks.arrive("start", "a", parties=2)
    with pytest.raises(UsageError, match="is for 2 parties, and not for 3"):
        call(locks)
    for wrong in (0, -1):
        with pytest.raises(UsageError, match="parties="):
            locks.arrive("other", "b", parties=wrong)
        with pytest.raises(UsageError, match="parties="):
            locks.abort("other", wrong)


def test_a_barrier_and_a_lock_may_have_the_same_name() -> None:
    locks = Locks()
    assert locks.acquire("start", "a") and locks.arrive("start", "b", parties=2) == 0
    with pytest.raises(UsageError, match="another lock"):
        locks.arrive("start", "a", parties=2)
    assert locks.contenders("start") == ["a"] and locks.barrier("start")[0] == ["b"]


# -- as a program holds it


def test_the_parties_of_several_processes_meet_again_and_again(locks: Any) -> None:
    barriers = [Barrier("start", 3, system=locks), far(locks, parties=3), far(locks, parties=3)]
    places: list[list[int]] = [[] for _ in range(5)]

    def party(barrier: Barrier) -> None:
        for number in range(5):
            place = barrier.wait()
            assert all(len(each) == 3 for each in places[:number])
            places[number].append(place)
            barrier.wait()

    with ThreadPoolExecutor(3) as pool:
        for found in [pool.submit(party, each) for each in barriers]:
            found.result(PATIENCE_S)
    assert [sorted(each) for each in places] == [[0, 1, 2]] * 5
    assert not barriers[0].broken and barriers[0].n_waiting == 0 and barriers[0].parties == 3
    until(lambda: not locks._sessions)
    for each in barriers:
        each.close()


def test_a_party_that_dies_breaks_the_barrier_when_its_lease_is_over_and_not_before(
    locks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = Hand(monkeypatch)
    dead, lives = far(locks, parties=3, ttl=8), Barrier("start", 3, system=locks, ttl=600)
    with ThreadPoolExecutor(2) as pool:
        gone, waits = pool.submit(dead.wait), pool.submit(lives.wait)
        until(lambda: lives.n_waiting == 2)
        die(dead._presence)
        with pytest.raises(BrokenBarrierError):
            gone.result(PATIENCE_S)
        began = hand.now_ns
        hand.go_until(waits.done, lives._presence)
        with pytest.raises(BrokenBarrierError, match="its process is gone"):
            waits.result(PATIENCE_S)
    assert hand.now_ns - began >= 8e9 and lives.broken
    with pytest.raises(BrokenBarrierError):
        lives.wait()
    lives.reset()
    assert not lives.broken


def test_a_party_that_dies_after_it_has_passed_breaks_nothing(locks: Any) -> None:
    dies, lives = far(locks), Barrier("start", 2, system=locks)
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(dies.wait)
        until(lambda: lives.n_waiting == 1)
        die(dies._presence)
        lives.wait()
        with pytest.raises(BrokenBarrierError):
            waits.result(PATIENCE_S)
    assert not lives.broken


def test_a_time_limit_breaks_it_for_all(locks: Any) -> None:
    patient, hasty = Barrier("start", 3, system=locks), far(locks, parties=3)
    own = Barrier("start", 3, 0.01, system=locks)
    with ThreadPoolExecutor(1) as pool:
        for late in (lambda: hasty.wait(timeout=0.01), own.wait):
            waits = pool.submit(patient.wait)
            until(lambda: patient.n_waiting == 1)
            for broken in (late, lambda: waits.result(PATIENCE_S)):
                with pytest.raises(BrokenBarrierError, match="'start' is broken"):
                    broken()
            assert patient.broken and hasty.broken
            patient.reset()
    hasty.close()


def test_a_party_that_waits_for_no_time_passes_if_it_is_the_last(locks: Any) -> None:
    first, last = Barrier("start", 2, system=locks), far(locks)
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(first.wait)
        until(lambda: first.n_waiting == 1)
        assert last.wait(timeout=0) == 1 and waits.result(PATIENCE_S) == 0
    with pytest.raises(BrokenBarrierError):
        last.wait(timeout=0)
    last.close()


@pytest.mark.parametrize(("end", "broken"), [("abort", True), ("reset", False)])
def test_whoever_ends_it_has_those_who_wait_in_other_processes_told(locks: Any, end: str, broken: bool) -> None:
    here, there = Barrier("start", 3, system=locks), far(locks, parties=3)
    with ThreadPoolExecutor(2) as pool:
        waits = [pool.submit(each.wait) for each in (here, there)]
        until(lambda: here.n_waiting == 2 == len(there.contenders()))
        getattr(there, end)()
        for each in waits:
            with pytest.raises(BrokenBarrierError, match=r"abort\(\) was called" if broken else "is broken"):
                each.result(PATIENCE_S)
    assert here.broken == broken == there.broken
    getattr(there, end)()
    there.reset()
    assert not here.broken
    there.close()


def test_a_party_that_is_interrupted_breaks_it(locks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = Barrier("start", 2, system=locks), far(locks)

    def interrupt(self: Presence, claim: Any, until_ns: Any) -> Any:
        monkeypatch.undo()
        claim.moved.wait = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        return self.waiting(claim, until_ns)

    monkeypatch.setattr(Presence, "waiting", interrupt)
    with pytest.raises(KeyboardInterrupt):
        here.wait()
    until(lambda: there.broken)
    with pytest.raises(BrokenBarrierError):
        there.wait()
    there.close()


@pytest.mark.parametrize("end", ["close", "cancel", "close the system"])
def test_a_party_whose_handle_or_system_is_closed_is_told(locks: Any, end: str) -> None:
    here, keeps = Barrier("start", 2, system=locks), Lock("keeps", system=locks)
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(here.wait)
        until(lambda: here.n_waiting == 1)
        control(locks).close() if end == "close the system" else getattr(here, end)()
        with pytest.raises((BrokenBarrierError, SystemClosed)):
            waits.result(PATIENCE_S)
    if end != "close the system":
        until(lambda: locks.barrier("start")[1])
        keeps.close()


def test_who_waited_is_gone_after_a_restart_and_what_was_broken_is_broken(tmp_path: Path) -> None:
    with init_system(Locks, tmp_path / "data") as locks:
        start = Barrier("start", 2, system=locks)
        start.abort()
        assert locks.arrive("other", "dead", ttl=0.05, parties=2) == 0
        start.close()
    with init_system(Locks, tmp_path / "data") as locks:
        assert locks.barrier("other") == (["dead"], "")
        start, other = Barrier("start", 2, system=locks), Barrier("other", 2, system=locks)
        assert start.broken
        other._presence.timekeeper.wake()
        until(lambda: other.broken)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_is_no_party(tmp_path: Path) -> None:
    with init_system(Locks, tmp_path / "data") as locks:
        start = Barrier("start", 1, system=locks)
        child = os.fork()
        if not child:
            try:
                start.wait()
            except BrokenBarrierError as error:
                os._exit(7 if "forked" in str(error) else 8)
            finally:
                os._exit(9)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert start.wait() == 0


def test_a_barrier_has_at_least_one_party_and_can_not_be_used_inside_an_action(locks: Any) -> None:
    for wrong in (0, -4):
        with pytest.raises(ValueError, match="parties="):
            Barrier("start", wrong, system=locks)
    assert "for 3" in repr(Barrier("start", 3, system=locks))

    class Shop(Locks):
        def wait(self) -> int:
            return START[0].wait()

    shop = memory_system(Shop)
    START[:] = [Barrier("start", 1, system=shop)]
    with pytest.raises(UsageError, match="outside of actions"):
        shop.wait()
    START.clear()


START: list[Barrier] = []


def test_parties_on_the_nodes_of_a_cluster_meet(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    barriers = [Barrier("start", 3, system=system) for system in nodes.systems.values()]
    places: list[int] = []

    def party(barrier: Barrier) -> None:
        for _ in range(4):
            places.append(barrier.wait())

    threads = [threading.Thread(target=party, args=(each,)) for each in barriers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(places) == [0] * 4 + [1] * 4 + [2] * 4
    for each in barriers:
        each.close()
    for system in nodes.systems.values():
        control(system).sync()
    assert len({control(system).state_digest() for system in nodes.systems.values()}) == 1
    nodes.close()
