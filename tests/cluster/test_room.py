"""What nodes agree on outside the line: turns, and who is there."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest
from cluster.fakes import Bucket, Clock
from network.servers import until

from coopy.network import room as rooms
from coopy.network.room import Room, Turn
from coopy.network.subjects import Names


@pytest.fixture
def facts() -> Bucket:
    return Bucket()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize("ahead_s", [-1e6, 0.0, 1e6])
def test_a_turn_is_taken_over_after_its_time_by_who_waits_however_the_clocks_differ(
    facts: Bucket, clock: Clock, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    one = Turn(facts.room("one"), "founder", 15.0, clock)
    other = Turn(facts.room("other"), "founder", 15.0, clock)
    now = rooms.time.time
    monkeypatch.setattr(rooms.time, "time", lambda: now() + ahead_s)
    assert one.take()
    monkeypatch.setattr(rooms.time, "time", now)
    assert not other.take()
    clock.time += 14.9
    assert not other.take()
    clock.time += 0.1
    assert other.take()
    assert not one.renew() and not one.take()


def test_a_turn_that_is_renewed_is_not_taken_over(facts: Bucket, clock: Clock) -> None:
    one = Turn(facts.room("one"), "founder", 15.0, clock)
    other = Turn(facts.room("other"), "founder", 15.0, clock)
    assert one.take()
    for _ in range(5):
        assert not other.take()
        clock.time += 10
        assert one.renew()
    assert not other.take()


def test_a_turn_that_was_given_back_is_anybodys(facts: Bucket, clock: Clock) -> None:
    one = Turn(facts.room("one"), "snapshotting", 900.0, clock)
    other = Turn(facts.room("other"), "snapshotting", 900.0, clock)
    assert one.take() and other.is_anothers() and not one.is_anothers()
    one.give_back()
    assert not other.is_anothers() and other.take()
    one.give_back()
    assert one.is_anothers(), "only who has it can give it back"


def test_a_turn_that_a_server_which_is_behind_calls_free_is_asked_for_again(facts: Bucket, clock: Clock) -> None:
    one = Turn(facts.room("one"), "snapshotting", 900.0, clock)
    assert one.take()
    one.give_back()
    old, room = facts.kept["snapshotting"], facts.room("other")
    assert one.take()
    one.give_back()
    get, answers = room.get, [old, old]
    room.get = lambda key: answers.pop() if answers else get(key)  # type: ignore[method-assign]
    assert Turn(room, "snapshotting", 900.0, clock).take() and one.is_anothers()


def test_a_turn_is_kept_until_it_is_over(facts: Bucket) -> None:
    one = Turn(facts.room("one"), "founder", 0.05)
    assert one.take()
    ended = threading.Event()
    one.keep(ended)
    until(lambda: facts.revision > 3)
    ended.set()
    until(lambda: not any(each.name == "coopy founder" for each in threading.enumerate()))


# -- who is heard


def test_replicas_that_are_gone_make_room_for_others(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(rooms.time, "monotonic", clock)
    room = Room(cast(Any, None), Names("shop"), "node", writes=False)
    room._heard["another node"] = clock.time, {}
    for number in range(2 * rooms.HEARD_MAX):
        room._replica_said({"node": f"forged {number}", "position": 1, "index": 1})
    assert len(room._heard) == rooms.HEARD_MAX
    clock.time += rooms.ALIVE_S + 1
    room._replica_said({"node": "honest", "position": 1, "index": 1})
    assert list(room._heard) == ["another node", "replica honest"]
