"""What no object needs any more is deleted, and each object is what it was."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from objects.rooms import Device, Room, Site, reopened

import coopy
from coopy.disk import journal
from coopy.disk.segment import BLOCK

FILLER = "x" * 3000


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "FIRST_BYTES", 3 * BLOCK)


def opened(path: Path, cls: type = Room) -> Any:
    return coopy.objects(cls, path, durability="buffered", segment_bytes=3 * BLOCK)


def segments(path: Path) -> int:
    return len(list(path.glob("transaction_*.log")))


@pytest.mark.parametrize("has_table", [True, False])
def test_old_files_go_and_each_object_is_what_it_was(tmp_path: Path, has_table: bool) -> None:
    rooms = opened(tmp_path)
    rooms["old"].say("ann")
    rooms["gone"].say("ann")
    rooms["drawn"].draw()
    for number in range(150):
        rooms["busy"].say(FILLER)
        if number % 50 == 0:
            rooms["now and then"].say(str(number))
    del rooms["gone"]
    expected = {key: list(rooms[key].said) for key in rooms}
    before = segments(tmp_path)
    assert before > 4
    assert rooms.compact() == before - segments(tmp_path) > 0
    assert rooms.compact() in (0, 1)
    for crash in (True, False):
        if not has_table:
            (tmp_path / "keys.dat").unlink(missing_ok=True)
        rooms = reopened(rooms, crash=crash, durability="buffered", segment_bytes=3 * BLOCK)
        assert {key: list(rooms[key].said) for key in rooms} == expected
    rooms["old"].say("bob")
    assert rooms["old"].count() == 2
    rooms.close()


def test_what_was_recorded_since_a_time_stays(tmp_path: Path) -> None:
    rooms = opened(tmp_path)
    for _ in range(100):
        rooms["busy"].say(FILLER)
    before = segments(tmp_path)
    assert rooms.compact(before=datetime.now(timezone.utc) - timedelta(hours=1)) == 0
    assert segments(tmp_path) == before
    assert rooms.compact(before=datetime.now() + timedelta(hours=1)) > 0
    rooms.close()


def test_what_waits_stays(tmp_path: Path) -> None:
    devices = opened(tmp_path, Device)
    devices._directory._closing.set()
    devices["a"].wake_in(1e6, "later")
    for number in range(100):
        devices["b"].report("x", f"{number} {FILLER}")
    devices.compact()
    devices = reopened(devices, durability="buffered", segment_bytes=3 * BLOCK)
    while not devices._engine.do_what_is_due():
        pass
    reports = devices.of(Site)["x"].reports
    assert [what.split()[0] for _, what in reports] == [str(number) for number in range(100)]
    devices._engine.clock = lambda: 1 << 62
    devices._engine.fill_heap()
    while not devices._engine.do_what_is_due():
        pass
    assert devices["a"].seen[0][0] == "later"
    devices.close()
