"""How long the past is kept: by number of snapshots, by age, or both; and never a snapshot that something needs."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import coopy
from coopy import PrunedPast, UsageError, control, init_system


class Log:
    def __init__(self) -> None:
        self.words: list[str] = []

    def add(self, word: str) -> None:
        self.words.append(word)


def opened(directory: Path, **settings: Any) -> Any:
    return init_system(Log, directory, segment_bytes=1 << 20, validation="off", **settings)


def snapshots(directory: Path) -> list[int]:
    return sorted(int(path.stem.split("_")[1]) for path in directory.glob("snapshot_*.dat"))


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({}, [0, 3, 6, 9, 12, 15]),
        ({"keep": 2}, [12, 15]),
        ({"keep": 1}, [15]),
        ({"keep": 100}, [0, 3, 6, 9, 12, 15]),
        ({"keep_for": 0}, [15]),
        ({"keep_for": timedelta(days=3650)}, [0, 3, 6, 9, 12, 15]),
    ],
)
def test_what_need_not_stay_goes_with_the_next_snapshot(tmp_path: Path, settings: dict[str, Any], left: list[int]) -> None:
    with opened(tmp_path, **settings) as system:
        for _ in range(5):
            for number in range(3):
                system.add(f"{number}" + "x" * 350_000)
            system.take_snapshot()
        assert snapshots(tmp_path) == left
        state = list(system.words)
    for index in range(left[0], 16):
        assert coopy.replay(Log, tmp_path, until=index).words == state[:index]
    if left[0] > 4:
        with pytest.raises(PrunedPast):
            coopy.replay(Log, tmp_path, until=1)
    with opened(tmp_path) as again:
        assert again.words == state


def test_by_age_the_snapshot_before_the_moment_stays_and_the_moment_can_be_shown(tmp_path: Path) -> None:
    from coopy.past.retention import Retention, prune

    day = 86_400 * 1_000_000_000
    with opened(tmp_path) as system:
        instants = []
        for _ in range(5):
            system.add("word")
            system.take_snapshot()
            instants.append(int.from_bytes(control(system)._system.engine.machine.header[-13:-5], "little"))
        inner = control(system)._system
        now = instants[2] + day
        gone = prune(inner._journal, inner._snapshots, Retention(None, day), now)
        assert gone == [0, 1, 2], "that of action 3 shows the state at the moment itself"
        assert snapshots(tmp_path) == [3, 4, 5]
        assert prune(inner._journal, inner._snapshots, Retention(3, 0), now + 9 * day) == [], "keep says that three stay"
        assert prune(inner._journal, inner._snapshots, Retention(2, 0), now + 9 * day) == [3]


def test_pruning_by_hand_says_what_went(tmp_path: Path) -> None:
    with opened(tmp_path) as system:
        for _ in range(3):
            system.add("x")
            system.take_snapshot()
        assert control(system).prune(keep=2) == [0, 1]
        assert control(system).prune(keep=2) == []
        assert control(system).prune() == []
        assert snapshots(tmp_path) == [2, 3]


def test_nothing_goes_while_the_oldest_that_would_stay_is_damaged(tmp_path: Path) -> None:
    with opened(tmp_path) as system:
        for _ in range(3):
            system.add("x")
            system.take_snapshot()
        path = tmp_path / "snapshot_000000000000003.dat"
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert control(system).prune(keep=1) == [0, 1], "the newest is damaged, so the one before it stays"
        path.write_bytes(b"not even a head")
        (tmp_path / "snapshot_000000000000002.dat").write_bytes(b"")
        assert control(system).prune(keep=1) == [], "no snapshot that could stay"
    assert snapshots(tmp_path) == [2, 3]


def test_a_snapshot_that_was_taken_is_no_failure_because_an_old_one_could_not_be_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path, keep=1) as system:
        system.add("x")

        def remove(self: object, path: str) -> None:
            raise OSError(30, "Read-only file system", path)

        monkeypatch.setattr("coopy.disk.fs.Calls.remove", remove)
        with caplog.at_level(logging.ERROR, "coopy"):
            assert system.take_snapshot() == 1
    assert "none was deleted" in caplog.text
    assert snapshots(tmp_path) == [0, 1]


@pytest.mark.parametrize("settings", [{"keep": 0}, {"keep": True}, {"keep": 1.5}, {"keep_for": -1}, {"keep_for": "a day"}])
def test_what_makes_no_sense_is_refused_before_anything_is_opened(tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(settings))):
        opened(tmp_path / "new", **settings)
    assert not (tmp_path / "new").exists()
