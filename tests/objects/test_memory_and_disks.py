"""The memory that objects take has a bound; a disk that refuses leaves them as they were, and says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from faults import Faulty, Held
from handed import Called
from objects.rooms import Counter, Ledger, Room

import coopy
from coopy import JournalError
from coopy.objects import opening

HALF = "pwrite after half"
"""What fails once, with a part of the frame written."""


class OfRoom(Called):
    domain = Room


def opened(path: Path, calls: Any = None, **options: Any) -> Any:
    return opening.opened(Room, path, options=options, calls=calls).of(Room)


@pytest.mark.parametrize("text", ["x", "x" * 5_000])
def test_active_objects_take_no_more_memory_than_was_given(tmp_path: Path, text: str) -> None:
    bound = 100_000
    with coopy.objects(Room, tmp_path, memory=bound, durability="buffered") as rooms:
        for number in range(300):
            rooms[f"room {number}"].say("ann", text)
            assert rooms.status()["memory"] <= bound
        status = rooms.status()
        assert 0 < status["active"] < 300
        assert (status["keys"], status["passivated"] + status["active"]) == (300, 300)
        assert all(rooms[f"room {number}"].last() == [("ann", text)] for number in range(300))


def test_an_object_that_is_larger_than_the_memory_can_be_called(tmp_path: Path) -> None:
    with coopy.objects(Room, tmp_path, memory=opening.MEMORY_BYTES_MIN, durability="buffered") as rooms:
        for number in range(10):
            rooms["large"].say("ann", "x" * 100_000)
            assert rooms["large"].count() == number + 1


def test_objects_that_nobody_calls_are_dropped(tmp_path: Path) -> None:
    directory = opening.opened(Counter, tmp_path, idle=1000.0)
    counters = directory.of(Counter)
    for key in "abc":
        counters[key].add(1)
    assert (directory.engine.passivate_idle(), counters.status()["active"]) == (0, 3)
    for key in "ab":
        directory.engine.cells[counters.stored(key)].touched -= 2000
    assert (directory.engine.passivate_idle(), counters.status()["active"]) == (2, 1)
    assert [counters[key].get() for key in "abc"] == [1, 1, 1]
    directory.close()


def test_what_waits_in_memory_takes_little(tmp_path: Path) -> None:
    with coopy.objects(Ledger, tmp_path, durability="buffered") as ledgers:
        for number in range(2000):
            ledgers[f"ledger number {number}"].add("a", "")
        ledgers.passivate()
        assert ledgers.status()["index_memory"] / ledgers.status()["keys"] < 100


def test_a_call_that_the_disk_refuses_has_changed_nothing(tmp_path: Path) -> None:
    disk = Faulty()
    rooms = opened(tmp_path, disk)
    rooms["a"].say("ann")
    for call in (lambda: rooms["a"].say("bob"), lambda: rooms["new"].say("bob"), lambda: rooms["a"].fail("x")):
        disk.failing = HALF
        with pytest.raises(JournalError, match="Nothing was recorded and nothing has changed"):
            call()
        disk.failing = ""
        assert (rooms["a"].last(), "new" in rooms) == ([("ann", "")], False)
    assert rooms["a"].say("cid") == 2
    rooms.close()
    rooms = opened(tmp_path)
    assert (rooms["a"].count(), rooms.keys()) == (2, ["a"])
    rooms.close()


def test_each_of_many_calls_is_told_that_the_disk_refuses(tmp_path: Path) -> None:
    disk = Faulty()
    rooms = opened(tmp_path, disk)
    rooms["a"].say("ann")
    batch = [OfRoom("say", rooms.kind, rooms.stored(key), "x") for key in ("a", "b", "a", "c")]
    disk.failing = HALF
    list(rooms._engine.settled(rooms._engine.begin_all(batch), batch))
    disk.failing = ""
    assert [type(call.error) for call in batch] == [JournalError] * 4
    assert (rooms["a"].count(), rooms.keys()) == (1, ["a"])
    rooms.close()


def test_a_full_disk_drops_no_object_whose_state_it_does_not_take(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    disk = Faulty()
    rooms = opened(tmp_path, disk)
    rooms["a"].say("ann")
    disk.failing = HALF
    rooms._engine.memory_bytes = 1
    rooms["a"].last()
    disk.failing = ""
    assert "can't be dropped from memory" in caplog.text
    assert rooms["a"].say("bob") == 2
    rooms.close()


def test_a_sync_that_fails_ends_it_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    disk = Faulty()
    rooms = opened(tmp_path, disk)
    rooms["a"].say("ann")
    disk.failing = "sync_data"
    with pytest.raises(JournalError, match="What was acknowledged is safe"):
        rooms["a"].say("bob")
    disk.failing = ""
    with pytest.raises(JournalError):
        rooms["a"].last()
    with pytest.raises(JournalError):
        rooms["b"].say("cid")
    rooms._directory.engine.store.abandon()
    rooms = opened(tmp_path)
    assert rooms["a"].last()[0] == ("ann", "")
    rooms.close()


def test_a_read_waits_for_what_it_has_seen(tmp_path: Path) -> None:
    disk = Held()
    rooms = opened(tmp_path, disk)
    rooms["b"].say("bob")
    batch = [OfRoom("say", rooms.kind, rooms.stored("a"), "x")]
    begun = rooms._engine.begin_all(batch)
    disk.syncs = 0
    assert rooms["b"].count() == 1 and disk.syncs == 0, "of another object nothing is waited for"
    assert rooms["a"].count() == 1 and disk.syncs == 1
    list(rooms._engine.settled(begun, batch))
    rooms.close()
