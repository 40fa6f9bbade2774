"""Snapshots by what came after the newest one: bytes of the journal, and seconds that actions took."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import coopy.testing
from coopy import UsageError, control, init_system
from coopy.disk import manifest
from coopy.disk.fs import Calls
from coopy.disk.segment import BLOCK, Segment
from coopy.past import keeping

PATIENCE_S = 60


class Log:
    def __init__(self) -> None:
        self.size = 0

    def add(self, data: bytes) -> None:
        self.size += len(data)

    def act(self, work: Any) -> None:
        work()


def snapshots(directory: Path) -> list[int]:
    return sorted(int(path.stem.partition("_")[2]) for path in directory.glob("snapshot_*.dat"))


def eventually(condition: Callable[[], bool]) -> None:
    deadline, tick = time.monotonic() + PATIENCE_S, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        tick.wait(0.005)


def opened(directory: Path, **options: Any) -> Any:
    return init_system(Log, directory, **{"durability": "buffered", "fork": False, "validation": "off", **options})


def grown(log: Any) -> int:
    found: int = control(log)._system.keeping.grown
    return found


# -- bytes


def test_the_journal_grows_over_many_short_lives(tmp_path: Path) -> None:
    for life in range(4):
        with opened(tmp_path, snapshot_growth=1 << 20) as log:
            for _ in range(30):
                log.add(bytes(10_000))
            if life == 3:
                eventually(lambda: len(snapshots(tmp_path)) == 2)
    assert snapshots(tmp_path)[1] > 90, "a life has 300 kB"


def test_an_opening_takes_the_snapshot_that_was_due_before_it(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        for _ in range(200):
            log.add(bytes(10_000))
    with opened(tmp_path, snapshot_growth=1 << 20):
        eventually(lambda: snapshots(tmp_path) == [0, 200])


@pytest.mark.parametrize("size", [200, 20_000, 3 * BLOCK, 5_000_000])
def test_every_byte_of_a_record_counts_whatever_its_size(tmp_path: Path, size: int) -> None:
    with opened(tmp_path, snapshot_growth=1 << 40) as log:
        count = max(3, 1_000_000 // size)
        for _ in range(count):
            log.add(bytes(size))
        assert size * count - BLOCK <= grown(log) <= size * count * 1.7 + 2 * BLOCK, "a block that is not full counts whole"
        before = grown(log)
    with opened(tmp_path, snapshot_growth=1 << 40) as log:
        assert abs(grown(log) - before) <= before // 2 + 2 * BLOCK


def test_one_large_record_is_enough(tmp_path: Path) -> None:
    with opened(tmp_path, snapshot_growth=1 << 20) as log:
        log.add(bytes(2_000_000))
        eventually(lambda: snapshots(tmp_path) == [0, 1])


def test_a_segment_that_a_kill_left_empty_is_no_growth(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        for _ in range(3):
            log.add(bytes(1000))
    known = manifest.read(Calls(), str(tmp_path))
    assert known is not None
    Segment.create(Calls(), str(tmp_path / "transaction_000000000000004.log"), known.system, 4, 1 << 20).close()
    with opened(tmp_path, snapshot_growth=1 << 30) as log:
        assert log.size == 3000 and 3000 < grown(log) <= 1 << 20


def test_what_a_snapshot_holds_does_not_count_at_the_next_opening(tmp_path: Path) -> None:
    with opened(tmp_path, segment_bytes=1 << 20) as log:
        for _ in range(300):
            log.add(bytes(10_000))
        log.take_snapshot()
        for _ in range(50):
            log.add(bytes(10_000))
    with opened(tmp_path, snapshot_growth=1 << 30) as log:
        assert 300_000 <= grown(log) <= 700_000
        log.take_snapshot()
        assert grown(log) == 0
    with opened(tmp_path, snapshot_growth=1 << 30) as log:
        assert grown(log) == 0


# -- seconds


def looking(log: Any, seconds: float) -> Callable[[], None]:
    """A look that finds an action running, and comes so many seconds after the one before."""
    return lambda: control(log)._system.keeping.look_at_actions(seconds)


def test_a_snapshot_is_taken_when_actions_took_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "LOOK_S_MAX", 3600.0)
    with opened(tmp_path, snapshot_replay=1e6) as log:
        system = control(log)._system
        monkeypatch.setitem(globals(), "_work", looking(log, 400_000.0))
        for expected in ([0], [0], [0, 3], [0, 3]):
            log.act(_act)
            system.snapshot_if_due(False)
            assert snapshots(tmp_path) == expected
        # Outside of any action nothing is counted.
        before = system.keeping.acted_s
        system.keeping.look_at_actions(1e9)
        assert system.keeping.acted_s == before


def test_a_snapshot_that_fails_is_tried_again_when_as_much_was_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "LOOK_S_MAX", 3600.0)
    with coopy.testing.open_system(
        Log, tmp_path, durability="buffered", fork=False, validation="off", snapshot_replay=1e6
    ) as log:
        system = control(log)._system
        monkeypatch.setitem(globals(), "_work", looking(log, 600_000.0))
        with coopy.testing.failing(log, "snapshot"):
            for _ in range(2):
                log.act(_act)
            system.snapshot_if_due(False)
        for expected in ([0], [0, 4]):
            log.act(_act)
            system.snapshot_if_due(False)
            assert snapshots(tmp_path) == expected


def test_the_replay_of_an_opening_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "_work", lambda: None)
    with opened(tmp_path) as log:
        for _ in range(3):
            log.act(_act)
    instants = iter(range(0, 1000, 10))
    monkeypatch.setattr("coopy.spine.engine.time.monotonic", lambda: float(next(instants)))
    with opened(tmp_path) as log:
        monkeypatch.undo()
        assert control(log)._system.keeping.acted_s >= 10, "the clock goes on by ten seconds at each look"


def test_a_thread_looks_and_takes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path, snapshot_replay=0.05) as log:
        monkeypatch.setitem(globals(), "_work", lambda: time.sleep(0.02))

        def one_more() -> bool:
            log.act(_act)
            return len(snapshots(tmp_path)) > 2

        eventually(one_more)


@pytest.mark.parametrize("option", ["snapshot_replay", "snapshot_growth"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "1"])
def test_what_is_no_measure_is_refused(tmp_path: Path, option: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"{option}="):
        opened(tmp_path / "data", **{option: value})


def _work() -> None:
    """What an action does here."""


def _act() -> None:
    globals()["_work"]()
