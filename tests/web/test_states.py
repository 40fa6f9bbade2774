"""The states of the past as paused replays: which can be had, and what is said of those that can't."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from web.conftest import SPEC, TESTS, fill, inspected
from web.shops import Shop

from coopy import UsageError, control, init_system
from coopy.past.lookup import Lookup
from coopy.past.reading import Reading
from coopy.spine.machine import Machine
from coopy.tools import web_states


def test_who_is_visited_may_say_where_to_stop_next(tmp_path: Path) -> None:
    fill(tmp_path / "data")
    stops, met = [0], []

    def visit(machine: Machine) -> None:
        met.append(machine.applied)
        if machine.applied < 12:
            stops.append(machine.applied + 3)

    with Reading(tmp_path / "data", Shop) as reading:
        machine = reading.machine_from(0, None, stops, visit)
    assert met == [0, 3, 6, 9, 12] and machine.applied == 14


def test_a_page_of_the_journal_is_the_block_with_an_action(tmp_path: Path) -> None:
    fill(tmp_path / "data")
    lookup = Lookup(str(tmp_path / "data"))
    try:
        assert lookup.page(14) == lookup.page(1) and lookup.page(1)[0] == 1
    finally:
        lookup.close()


def sold(page: object, at: int) -> str:
    shown = page.states.ask("rows", at, at, at=at)  # type: ignore[attr-defined]
    assert shown["index"] == at
    return str({row["path"]: row["text"] for row in shown["rows"]}[".sold"])


def test_the_past_before_each_snapshot_and_what_is_written_meanwhile_are_shown(tmp_path: Path) -> None:
    basedir = tmp_path / "data"
    with init_system(Shop, str(basedir), durability="buffered") as shop:
        shop.put("tea", 100)
        for _ in range(3):
            for _ in range(5):
                shop.sell("tea")
            control(shop).take_snapshot()
        for _ in range(3):
            shop.sell("tea")
        with inspected(basedir) as (page, _):
            assert len(page.states.lanes) == 2, "the newest state, and all of the past"
            assert [sold(page, at) for at in (0, 1, 2, 6, 7, 12, 16, 17, 18, 19)] == [
                *"0015",
                "6",
                "11",
                "15",
                "16",
                "17",
                "18",
            ]
            # Beside whoever has it open.
            shop.sell("tea")
            shop.put("milk", 1)
            assert page.state({})["index"] == 21
            assert sold(page, 20) == "19" and sold(page, 21) == "19" and sold(page, 3) == "2"
            assert [row["index"] for row in page.journal({"after": "19"})["rows"]] == [20, 21]
            # From one replay into the next.
            assert page.diff({"a": "15", "b": "18"})["differences"][0]["path"] == ".stock['tea']"
            assert [each["index"] for each in page.value({"path": ".sold"})["changes"]] == [20, 19, 18, 17, *range(16, 1, -1)]


def test_states_before_damage_are_shown_and_those_after_it_are_told(tmp_path: Path) -> None:
    basedir = tmp_path / "data"
    with init_system(Shop, str(basedir)) as shop:
        for number in range(3000):
            shop.put(f"tea {number}", 1)
    path = basedir / "transaction_000000000000001.log"
    data = bytearray(path.read_bytes())
    place = data.index(b"tea 2000")
    data[place : place + 8] = b"XXXXXXXX"
    path.write_bytes(data)
    with inspected(basedir) as (page, _):
        for at in (0, 1, 1000, 1999, 2000):
            assert page.states.ask("rows", at, at, at=at)["index"] == at
        with pytest.raises(Exception, match="2001.*checksum|damag|2,500"):
            page.states.ask("rows", 2500, 2500, at=2500)
        assert page.disk({})["damages"]
        assert "2001" in page.journal({})["problem"] and page.journal({})["last"] == 2000
        # What every page says then is words.
        for name in ("state", "rates", "memory", "tasks", "status"):
            try:
                getattr(page, name)({"at": "1999"} if name in ("state", "memory", "tasks") else {})
            except UsageError as error:
                assert "replay" in str(error) or "journal" in str(error)


def test_what_was_pruned_is_said_to_be(tmp_path: Path) -> None:
    basedir = tmp_path / "data"
    with init_system(Shop, str(basedir), keep=1) as shop:
        shop.put("tea", 1)
        control(shop).take_snapshot()
        shop.put("tea", 1)
        control(shop).take_snapshot()
        shop.put("tea", 1)
    with inspected(basedir) as (page, _):
        assert page.states.oldest > 0
        with pytest.raises(Exception, match="pruned"):
            page.states.ask("rows", 0, 0, at=0)


def test_a_method_that_fits_no_more_ends_what_can_be_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    basedir = tmp_path / "data"
    fill(basedir)
    (tmp_path / "web").mkdir()
    source = Path(__file__).with_name("shops.py").read_text()
    (tmp_path / "web" / "shops.py").write_text(source.replace("def oddity", "def another"))
    monkeypatch.chdir(tmp_path)
    with inspected(basedir) as (page, _):
        assert page.states.ask("rows", 7, 7, at=7)["index"] == 7
        with pytest.raises(Exception, match="oddity"):
            page.states.ask("rows", 8, 8, at=8)
        assert page.state({"at": "7"})["index"] == 7


def test_a_look_that_raises_is_told_and_hurts_no_other(tmp_path: Path) -> None:
    basedir = tmp_path / "data"
    fill(basedir)
    with inspected(basedir) as (page, _):
        for _ in range(3):
            with pytest.raises(UsageError):
                page.states.ask("nothing of the kind", 3, 3)
            with pytest.raises(UsageError):
                page.states.ask("value", 3, 3, at=3, path=".nothing")
            with pytest.raises(UsageError):
                page.states.ask("rows", 3, 3, wrong=1)
        assert sold(page, 3) == "1"


def test_copies_hold_no_more_than_they_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    basedir = tmp_path / "data"
    with init_system(Shop, str(basedir), durability="buffered") as shop:
        for number in range(40):
            shop.note(str(number) * 1000)
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    # A copy is left after each action, and one byte is too much for any of them.
    monkeypatch.setattr(
        web_states, "PROGRAM", "from coopy.tools import web_replay as w; w.FIRST_ACTIONS = 1; w.PAUSE_S = 0; w.main()"
    )
    states = web_states.States(str(basedir), SPEC, memory_max=1)
    try:
        deadline = time.monotonic() + 60
        while not states.is_complete and time.monotonic() < deadline:
            time.sleep(0.02)
        assert states.pauses() == [0]
        for at in (0, 7, 39, 40):
            assert states.ask("rows", at, at, at=at)["index"] == at
    finally:
        states.close()
