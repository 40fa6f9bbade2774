"""A directory is spread over another number of processes: all objects are there again, with what they were, and what they have to do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from objects.mortals import Mortal
from objects.rooms import Choosy, Device, Ledger, Room, Site
from objects.spread import keys_of, opened, until

import coopy
from coopy import Quarantined, Unavailable, aio
from coopy.disk import journal
from coopy.disk import manifest as manifests
from coopy.disk.segment import BLOCK
from coopy.objects import moving, working

KEYS = keys_of(0, 3) + keys_of(1, 3)


def names(path: Path) -> list[str]:
    return sorted(each for each in os.listdir(path) if each not in ("coopy.json", "lock"))


@pytest.mark.parametrize("numbers", [(2, 3, 2), (None, 2, 1), (3, 1, None)])
def test_objects_keep_their_state_and_history_over_every_number_of_processes(tmp_path: Path, numbers: Any) -> None:
    said: list[Any] = []
    for number in numbers:
        with opened(Room, tmp_path / "data", number) as rooms:
            assert rooms.keys() == (sorted(KEYS) if said else [])
            for key in KEYS:
                assert rooms[key].last(100) == said
                rooms[key].say("ann")
                with pytest.raises(ValueError, match="ouch"):
                    rooms[key].fail("ouch")
        said += [("ann", ""), "ouch"]
    with opened(Room, tmp_path / "data", number) as rooms:
        for key in KEYS:
            calls = rooms.history(key)
            assert [(call.method, call.outcome) for call in calls] == [("say", "returned"), ("fail", "raised")] * 3
            assert rooms.replay(key, calls[2].action).said == said[:3]


@pytest.mark.parametrize("numbers", [(2, 3, 2), (None, 2, 1), (3, 1, None)])
def test_what_was_drawn_before_a_move_is_drawn_again_when_an_object_is_loaded(tmp_path: Path, numbers: Any) -> None:
    drawn: dict[str, list[Any]] = {key: [] for key in KEYS}
    for number in (*numbers, numbers[-1]):
        with opened(Room, tmp_path / "data", number) as rooms:
            for key in KEYS:
                assert rooms[key].last(100) == drawn[key]
                drawn[key].append(rooms[key].draw())
                assert [call.method for call in rooms.history(key)] == ["draw"] * len(drawn[key])
                for place, call in enumerate(rooms.history(key), 1):
                    assert rooms.replay(key, call.action).said == drawn[key][:place]


def test_objects_that_were_never_dropped_are_replayed_from_their_first_action_after_a_move(tmp_path: Path) -> None:
    rooms = coopy.objects(Choosy, tmp_path / "data", validation="off")
    born = {key: rooms[key].first(False) for key in KEYS}
    rooms.close()
    (tmp_path / "data" / "keys.dat").unlink()
    for number in (2, 3):
        with opened(Choosy, tmp_path / "data", number) as found:
            assert {key: found.replay(key, found.history(key)[0].action).born for key in KEYS} == born


def test_alarms_go_off_and_calls_that_were_told_are_run_after_a_move(tmp_path: Path) -> None:
    with opened(Device, tmp_path / "data", 2) as devices:
        for key in KEYS:
            devices[key].wake_in(0.3, "late")
            devices[key].wake_in(3600, "never", name="other")
    with opened(Device, tmp_path / "data", 3) as devices:
        until(lambda: all([what for what, _ in devices[key].all_seen()] == ["late"] for key in KEYS))


def test_what_is_on_its_way_to_another_process_arrives_after_a_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(working._Served, "_bring", lambda self, target: None)
        with opened(Device, tmp_path / "data", 2) as devices:
            for number in range(5):
                for key in KEYS:
                    devices[key].report_to_all([*KEYS], str(number))
    for number in (3, 2, 1):
        with opened(Device, tmp_path / "data", number) as devices:
            devices.catch_up()
            sites = devices.of(Site)
            for site in KEYS:
                reports = sites.replay(site, sites.history(site)[-1].action).reports
                assert sorted(reports) == sorted((key, str(number)) for key in KEYS for number in range(5))
                for key in KEYS:
                    assert [what for who, what in reports if who == key] == list("01234")


def test_what_was_deleted_stays_so_and_begins_anew(tmp_path: Path) -> None:
    with opened(Room, tmp_path / "data", 2) as rooms:
        for key in KEYS:
            rooms[key].draw()
            del rooms[key]
        again = rooms[KEYS[0]].draw()
    with opened(Room, tmp_path / "data", 3) as rooms:
        assert rooms.keys() == [KEYS[0]] and len(rooms) == 1
        assert rooms[KEYS[0]].last() == [again]
        assert rooms[KEYS[1]].last() == []


def test_what_was_compacted_moves_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "FIRST_BYTES", 3 * BLOCK)
    with opened(Room, tmp_path / "data", 2, segment_bytes=3 * BLOCK) as rooms:
        for _ in range(150):
            for key in KEYS[2:4]:
                rooms[key].say("who", "x" * 1000)
        rooms.passivate()
        assert rooms.compact() > 0
    with opened(Room, tmp_path / "data", 3) as rooms:
        for key in KEYS[2:4]:
            assert rooms[key].count() == 150
            assert rooms[key].say("who") == 151
            assert len(rooms.history(key)) < 150


def test_an_object_that_is_quarantined_moves_without_being_loaded(tmp_path: Path) -> None:
    with opened(Mortal, tmp_path / "data", 2) as mortals:
        mortals[KEYS[-1]].do("x")
        for _ in range(2):
            with pytest.raises(Unavailable):
                mortals[KEYS[-1]].die("kill")
    with opened(Mortal, tmp_path / "data", 3) as mortals:
        assert list(mortals.quarantined()) == [KEYS[-1]]
        with pytest.raises(Quarantined):
            mortals[KEYS[-1]].do("x")
        mortals.release(KEYS[-1])
        assert mortals[KEYS[-1]].do("y") == 2


@pytest.mark.parametrize("before", [None, 2])
def test_a_move_that_is_cut_off_leaves_all_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: Any) -> None:
    with opened(Room, tmp_path / "data", before) as rooms:
        for key in KEYS:
            rooms[key].say("ann")
    was = names(tmp_path / "data")

    def cut_off(*_: object) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(manifests, "spread", cut_off)
        with pytest.raises(coopy.JournalError):
            opened(Room, tmp_path / "data", 3)
    assert "shard-2-2" in names(tmp_path / "data") or "shard-1-2" in names(tmp_path / "data")
    with opened(Room, tmp_path / "data", None) as rooms:
        assert [rooms[key].last() for key in KEYS] == [[("ann", "")]] * 6
    if before:
        assert names(tmp_path / "data") == was
    with opened(Room, tmp_path / "data", 3) as rooms:
        assert [rooms[key].last() for key in KEYS] == [[("ann", "")]] * 6


def test_what_a_move_has_left_behind_is_removed_by_the_next_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(Room, tmp_path / "data", None) as rooms:
        rooms[KEYS[0]].say("ann")
    with monkeypatch.context() as patch:
        patch.setattr(moving, "swept", lambda *_: None)
        with opened(Room, tmp_path / "data", 2):
            pass
    assert [each for each in names(tmp_path / "data") if each.startswith("transaction")]
    with opened(Room, tmp_path / "data") as rooms:
        assert names(tmp_path / "data") == ["shard-1-0", "shard-1-1"]
        assert rooms[KEYS[0]].last() == [("ann", "")]


def test_ledgers_go_on_in_another_number_of_processes(tmp_path: Path) -> None:
    tokens: list[str] = []
    for number in (None, 2, 3, 1):
        with opened(Ledger, tmp_path / "data", number) as ledgers:
            tokens.append(str(number))
            for key in KEYS:
                assert ledgers[key].add(str(number), "") == len(tokens)
                assert ledgers[key].all() == tokens


def test_a_loop_opens_what_is_spread_as_it_is(tmp_path: Path) -> None:
    import asyncio

    with opened(Room, tmp_path / "data", 2) as rooms:
        rooms[KEYS[-1]].say("ann")

    async def scene() -> None:
        async with aio.objects(Room, tmp_path / "data", validation="off") as rooms:
            assert await rooms[KEYS[-1]].last() == [("ann", "")]

    asyncio.run(scene())
