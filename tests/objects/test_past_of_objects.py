"""What an object was can be looked at: its calls one by one, and its state after each; and objects in memory, for tests."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from objects.rooms import Device, Room, Site, reopened

import coopy
from coopy import UsageError
from coopy.objects import in_memory


@pytest.mark.parametrize("is_passive", [True, False])
def test_the_calls_of_an_object_are_told_in_order_with_how_they_ended(tmp_path: Path, is_passive: bool) -> None:
    rooms: Any = coopy.objects(Room, tmp_path, durability="buffered")
    rooms["a"].say("ann", text="hi")
    rooms["b"].say("bob")
    for name in ("fail", "undo"):
        with pytest.raises(ValueError):
            getattr(rooms["a"], name)("x")
        if is_passive:
            rooms.passivate()
    rooms["a"].keep([1])
    rooms["a"].last()
    rooms = reopened(rooms, durability="buffered")
    told = rooms.history("a")
    assert [(each.method, each.args, each.kwargs, each.outcome) for each in told] == [
        ("say", ("ann",), {"text": "hi"}, "returned"),
        ("fail", ("x",), {}, "raised"),
        ("undo", ("x",), {}, "withdrawn"),
        ("keep", ([1],), {}, "returned"),
    ]
    assert abs(told[0].at.timestamp() - time.time()) < 600
    assert [rooms.replay("a", each.action).said for each in told] == [
        [("ann", "hi")],
        [("ann", "hi"), "x"],
        [("ann", "hi"), "x"],
        [("ann", "hi"), "x", [1]],
    ]
    assert rooms.history("nobody") == []
    rooms.replay("a", told[-1].action).say("not kept")
    assert rooms["a"].count() == 3
    rooms.close()


def test_an_object_as_it_was_at_a_time_and_after_each_draw(tmp_path: Path) -> None:
    now = 1_700_000_000.0
    rooms: Any = in_memory(Room, clock=lambda: now, seed=1)
    drawn = []
    for _ in range(250):  # More than one state is written in between.
        drawn.append(rooms["a"].draw())
        now += 1
    for number in (0, 1, 99, 100, 101, 102, 249):
        found = rooms.replay("a", datetime.fromtimestamp(1_700_000_000 + number))
        assert found.said == drawn[: number + 1]
    with pytest.raises(KeyError):
        rooms.replay("a", datetime.fromtimestamp(1_700_000_000) - timedelta(days=1))
    with pytest.raises(KeyError):
        rooms.replay("b", 1)
    with pytest.raises(UsageError):
        rooms.replay("a", "now")
    assert in_memory(Room, seed=1)["a"].draw()[0] == drawn[0][0], "chance repeats"


def test_objects_in_memory_do_what_is_due_when_they_are_told_to(tmp_path: Path) -> None:
    now = 100.0
    devices: Any = in_memory(Device, clock=lambda: now)
    devices["a"].wake_in(60, "woken")
    devices["a"].report("x", "told")
    devices.catch_up()
    now += 60
    devices.catch_up()
    again: Any = in_memory(Device, clock=lambda: now, before=devices)
    assert (again["a"].seen, again.of(Site)["x"].reports) == ([("woken", 160.0)], [("a", "told")])
    assert [each.method for each in again.history("a")] == ["wake_in", "report", "<alarm>"]
