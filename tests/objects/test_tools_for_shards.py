"""What the command does with a directory whose objects are spread: as with one that is not, whichever journal has an object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from objects.mortals import Mortal
from objects.rooms import Device, Room, Site
from objects.spread import keys_of, opened
from objects.test_tools_for_objects import Run, run

import coopy
from coopy import Unavailable

pytest.importorskip("typer", reason="the extra [cli] is not installed")

__all__ = ["run"]
FIRST, SECOND = keys_of(0, 1)[0], keys_of(1, 1)[0]


@pytest.fixture
def rooms(tmp_path: Path) -> Path:
    """Rooms in two journals, in turn."""
    with opened(Room, tmp_path / "data") as rooms:
        for who in ("ann", "bob"):
            rooms[FIRST].say(who)
            rooms[SECOND].say(who)
        rooms.of(Device)["d"].heard("x")
    return tmp_path / "data"


def test_keys_of_all_journals_are_listed(rooms: Path, run: Run) -> None:
    code, out, err = run("keys", rooms)
    assert (code, out.split("\n")[:2]) == (0, sorted((FIRST, SECOND))) and "--of objects.rooms:Device" in err
    assert run("keys", rooms, "--of", "objects.rooms:Device")[1] == "d\n"


def test_the_log_has_the_calls_of_one_object_or_of_all_in_the_order_of_their_times(rooms: Path, run: Run) -> None:
    said = [json.loads(line) for line in run("log", rooms, "--key", SECOND, "--json")[1].splitlines()]
    assert [(each["key"], each["method"]) for each in said] == [(SECOND, "say")] * 2
    said = [json.loads(line) for line in run("log", rooms, "--json")[1].splitlines()]
    assert [each["key"] for each in said] == [FIRST, SECOND, FIRST, SECOND, "objects.rooms:Device d"]


def test_an_object_is_shown_as_it_is_and_as_it_was(rooms: Path, run: Run) -> None:
    assert "bob" in run("show", rooms, "--key", SECOND)[1]
    assert "bob" not in run("show", rooms, "--key", SECOND, "--at", "1")[1]
    assert run("show", rooms, "--key", "nobody")[0] != 0


def test_all_journals_are_verified(rooms: Path, run: Run) -> None:
    code, out, _ = run("verify", rooms)
    assert code == 0 and out.startswith("2 objects, 2 states compared: 0 problems"), out


def test_what_is_on_its_way_is_no_call_of_an_object(tmp_path: Path, run: Run) -> None:
    with opened(Device, tmp_path / "data") as devices:
        devices[FIRST].report(SECOND, "x")
        devices.catch_up()
        assert len(devices.of(Site)) == 1
    said = [json.loads(line) for line in run("log", tmp_path / "data", "--json")[1].splitlines()]
    assert [(each["key"], each["method"]) for each in said] == [(FIRST, "report"), (f"objects.rooms:Site {SECOND}", "<take>")]
    assert "to" not in run("keys", tmp_path / "data")[1].split()


def test_an_object_of_any_journal_is_released_by_the_command(tmp_path: Path, run: Run) -> None:
    with opened(Mortal, tmp_path / "data") as mortals:
        for _ in range(2):
            with pytest.raises(Unavailable):
                mortals[SECOND].die("kill")
        assert run("repair", tmp_path / "data", "--key", SECOND, "--release", "--yes")[0] != 0, "it is open"
    assert run("repair", tmp_path / "data", "--key", SECOND, "--release", "--yes")[0] == 0
    with opened(Mortal, tmp_path / "data") as mortals:
        assert not mortals.quarantined() and mortals[SECOND].do("x") == 1


def test_the_inspector_shows_objects_of_all_journals(rooms: Path) -> None:
    pytest.importorskip("websockets", reason="the extra [web] is not installed")
    from coopy.tools.web_keyed import KeyedPage

    page: Any = KeyedPage(str(rooms), None)
    found = page.objects({})
    assert [each["key"] for each in found["keys"]] == sorted((FIRST, SECOND)) and found["classes"] == ["objects.rooms:Device"]
    assert page.object({"key": SECOND})["state"]


def test_a_directory_that_is_spread_is_still_refused_by_what_is_for_systems(rooms: Path) -> None:
    with pytest.raises(coopy.UsageError, match="many objects"):
        coopy.replay(Room, rooms)
