"""The locks of an elector as a state: what each action does to them, and how their time passes."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from coopy import control
from coopy.determinism.check import check
from coopy.sync import elector
from coopy.sync.elector import LOCKS_MAX, Elector, NoRoom, Seen
from coopy.testing import memory_system

S = 1_000_000_000
TTL = 32 * S
A, B = "pod-a", "pod-b"


@pytest.fixture
def locks() -> Elector:
    found = memory_system(Elector)
    found.claim("me", 0)
    return found


def pass_time(locks: Elector, seconds: int) -> list[str]:
    """Ticks each second, as a timekeeper does that is never late. Returns what has come free."""
    freed = []
    for _ in range(seconds):
        freed += locks.tick("me", locks.count().beat, S)
    return freed


def seen(locks: Elector, name: str = "x") -> Seen:
    found = locks.get(name)
    assert found is not None
    return found


def test_the_example_shows_what_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not doctest.testmod(elector).failed


def test_the_class_does_nothing_that_replay_could_not_repeat() -> None:
    assert check([Elector]) == []


def test_a_lock_that_never_was_is_taken_and_is_there_from_then_on(locks: Elector) -> None:
    assert locks.get("x") is None
    is_own, found = locks.take("x", A, TTL)
    assert is_own and found == seen(locks)
    assert (found.name, found.owner, found.ttl_ns, found.left_ns, found.sure_ns) == ("x", A, TTL, TTL, TTL - S)


def test_another_owner_is_refused_and_told_whose_it_is(locks: Elector) -> None:
    locks.take("x", A, TTL)
    before = seen(locks)
    assert locks.take("x", B, TTL) == (False, before) and seen(locks) == before


@pytest.mark.parametrize(("passed", "renewed"), [(0, False), (10, False), (14, False), (17, True), (31, True)])
def test_the_owner_renews_a_lock_in_the_second_half_of_its_time_only(locks: Elector, passed: int, renewed: bool) -> None:
    _, first = locks.take("x", A, TTL)
    pass_time(locks, passed)
    is_own, found = locks.take("x", A, TTL)
    assert is_own and found.token == first.token
    assert (found.version != first.version) == renewed
    assert found.left_ns == (TTL + S if renewed else TTL - passed * S)


def test_a_lock_is_free_after_its_time_and_whoever_comes_first_takes_it_with_a_higher_token(locks: Elector) -> None:
    _, first = locks.take("x", A, TTL)
    assert pass_time(locks, 31) == [] and not locks.take("x", B, TTL)[0]
    assert pass_time(locks, 1) == ["x"]
    assert seen(locks) == first._replace(left_ns=0, sure_ns=0), "it is still there, as it was"
    is_own, taken = locks.take("x", B, TTL)
    assert is_own and taken.owner == B and taken.token > first.token
    assert locks.take("x", A, TTL) == (False, taken)


def test_the_owner_of_before_gets_a_new_token_when_it_takes_its_lock_again(locks: Elector) -> None:
    _, first = locks.take("x", A, TTL)
    pass_time(locks, 32)
    assert locks.take("x", A, TTL)[1].token > first.token


def test_two_leases_end_at_most_one_tick_late(locks: Elector) -> None:
    locks.take("x", A, TTL)
    locks.take("y", B, TTL)
    assert pass_time(locks, 32) == ["x"]
    assert pass_time(locks, 1) == ["y"]


def test_create_makes_a_lock_and_refuses_one_that_is_there_though_it_is_free(locks: Elector) -> None:
    created = locks.create("x", A, TTL)
    assert created == seen(locks) and created is not None and created.owner == A
    assert locks.create("x", A, TTL) is None
    pass_time(locks, 32)
    assert locks.create("x", B, TTL) is None


def test_a_lock_is_freed_by_its_owner_at_once_and_may_be_freed_again(locks: Elector) -> None:
    _, taken = locks.take("x", A, TTL)
    freed, found = locks.free("x", A)
    assert freed and found is not None and (found.owner, found.left_ns) == (A, 0) and found.version > taken.version
    assert locks.free("x", A) == (True, found)
    assert locks.take("x", B, TTL)[0]


def test_a_lock_is_not_freed_by_another_nor_by_a_token_of_before(locks: Elector) -> None:
    _, old = locks.take("x", A, TTL)
    locks.free("x", A)
    _, new = locks.take("x", A, TTL)
    assert locks.free("x", B) == (False, new)
    assert locks.free("x", A, old.token) == (False, new)
    assert locks.free("x", A, new.token)[0]
    assert locks.free("never", A) == (False, None)


def test_a_new_timekeeper_gives_each_lock_its_full_time(locks: Elector) -> None:
    locks.take("x", A, TTL)
    pass_time(locks, 31)
    locks.claim("another", locks.count().beat)
    assert seen(locks).left_ns == TTL
    assert pass_time(locks, 40) == [], "who was the timekeeper counts for nothing any more"


def test_each_lock_has_the_time_to_live_that_it_was_taken_with(locks: Elector) -> None:
    locks.take("x", A, TTL)
    locks.take("y", A, 2 * TTL)
    assert pass_time(locks, 33) == ["x"]
    assert seen(locks, "y").ttl_ns == 2 * TTL and locks.is_held("y")


def test_there_is_room_for_so_many_and_the_free_one_that_nobody_wanted_for_longest_makes_room() -> None:
    locks = memory_system(Elector(locks_max=3))
    for name in "abc":
        locks.take(name, A, TTL)
    with pytest.raises(NoRoom, match="3 locks are held, .* Nothing has changed"):
        locks.take("d", A, TTL)
    with pytest.raises(NoRoom):
        locks.create("d", A, TTL)
    assert len(locks) == 3
    locks.free("b", A)
    locks.free("a", A)
    assert locks.take("d", A, TTL)[0]
    assert (locks.get("b"), len(locks)) == (None, 3)
    assert locks.take("a", B, TTL)[0], "one that is there needs no room"
    assert Elector().locks_max == LOCKS_MAX


@pytest.mark.parametrize("ttl", [0, -1, 0.5])
def test_a_length_that_is_none_changes_nothing(ttl: int) -> None:
    locks = memory_system(Elector(locks_max=1))
    locks.take("x", A, TTL)
    locks.free("x", A)
    with pytest.raises(ValueError, match="must be an int of more than 0"):
        locks.take("y", A, ttl)
    assert seen(locks).owner == A and len(locks) == 1


def test_replay_comes_to_the_same_locks() -> None:
    system = memory_system(Elector)
    system.claim("me", 0)
    system.take("x", A, TTL)
    system.take("x", B, TTL)
    for _ in range(33):
        system.tick("me", system.count().beat, S)
    system.take("x", B, TTL)
    system.free("x", B)
    again = control(system).replay()
    assert (again.get("x"), again.count()) == (system.get("x"), system.count())
