"""Shards, shared out among the members of a party."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from sync.hands import Hand
from sync.test_lock import PATIENCE_S, die, elsewhere, until

from coopy import UsageError, control
from coopy.sync import Locks, Party, Term, presence
from coopy.testing import memory_system

ONE_AT_A_TIME = threading.Lock()
SHARDS = ["a", "b", "c", "d", "e"]


@pytest.fixture
def locks() -> Iterator[Any]:
    system = memory_system(Locks)
    yield system
    control(system).close()


def join(system: Any, monkeypatch: pytest.MonkeyPatch, busy: list[Any], ttl: float = 15.0) -> tuple[Party, Any]:
    """Joins as a process of its own."""
    there = elsewhere(system)

    def work(shard: str, term: Term) -> None:
        assert shard not in busy, "two lead one shard"
        busy.append(shard)
        term.stop.wait()
        busy.remove(shard)

    def of(_: Any) -> Any:
        there.enter()
        return there

    party = Party("indexers", SHARDS, work, system=system, ttl=ttl)
    party._membership._presence.leave()
    party._membership._forgotten.detach()
    party._membership._presence = there
    party._membership._forgotten = weakref.finalize(party._membership, there.forget_handle, party._membership._claims)
    there.enter()
    stand = party._stand

    def stand_there(shard: str) -> None:
        with ONE_AT_A_TIME, monkeypatch.context() as moved:
            moved.setattr(presence, "of", of)
            stand(shard)

    party._stand = stand_there  # type: ignore[method-assign]
    party.join()
    return party, there


def test_members_share_the_shards_and_again_when_one_comes_or_goes(locks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    busy: list[Any] = []
    one, _ = join(locks, monkeypatch, busy)
    assert one.wait_until_led(PATIENCE_S) and one.leads() == SHARDS
    other, _ = join(locks, monkeypatch, busy)
    until(lambda: (one.leads(), other.leads()) == (["a", "c", "e"], ["b", "d"]))
    assert len(one.members()) == 2 and sorted(busy) == SHARDS
    other.close()
    until(lambda: one.leads() == SHARDS)
    with pytest.raises(UsageError, match="joined already"):
        one.join()
    one.close()
    assert locks.held() == {} and not busy


def test_the_shards_of_a_member_that_is_gone_are_led_by_the_others_after_its_time(
    locks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = Hand(monkeypatch)
    dead, there = join(locks, monkeypatch, [])
    assert dead.wait_until_led(PATIENCE_S)
    die(there)
    one, here = join(locks, monkeypatch, [], ttl=600)
    hand.go_until(lambda: one.leads() == SHARDS, here)
    one.close()


def test_each_shard_is_there_once(locks: Any) -> None:
    with pytest.raises(UsageError):
        Party("indexers", ["a", "a"], lambda shard, term: None, system=locks)
