"""What a call that fails or is interrupted while it changes the end of the journal leaves to the next one."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faults import open_with

from coopy import control, init_system
from coopy.disk import journal
from coopy.disk.fs import Calls
from coopy.errors import DamagedJournal, JournalError, SystemClosed

LARGE = "x" * 400_000
"""Three of them fill a segment."""


class Pile:
    def __init__(self) -> None:
        self.rows: list[int] = []

    def add(self, number: int, data: str = "") -> None:
        self.rows.append(number)


class Tripping(Calls):
    """Raises what it is given, once for each, in the call that it is named for; ``half`` of a write is written first."""

    def __init__(self, call: str, *errors: BaseException, mapped: bool = False) -> None:
        self.call = call
        self.errors = list(errors)
        self.armed = False
        self._mapped = mapped

    def _trip(self, call: str) -> None:
        if self.armed and call == self.call and self.errors:
            raise self.errors.pop(0)

    def mappable(self, fd: int) -> bool:
        return self._mapped

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        if self.armed and self.call == "pwrite" and self.errors:
            super().pwrite(fd, bytes(data)[: len(data) // 2], offset)
        self._trip("pwrite")
        return super().pwrite(fd, data, offset)

    def map(self, fd: int, size: int) -> mmap.mmap:
        self._trip("map")
        return super().map(fd, size)

    def rename(self, old: str, new: str) -> None:
        super().rename(old, new)
        self._trip("renamed")

    def remove(self, path: str) -> None:
        super().remove(path)
        self._trip("removed")

    def sync_directory(self, path: str) -> None:
        self._trip("sync_directory")
        super().sync_directory(path)

    def sync_data(self, fd: int) -> None:
        self._trip("sync_data")
        super().sync_data(fd)


def filled(calls: Calls, path: Path, durability: str = "sync") -> tuple[Any, list[int]]:
    """A pile of which the next large row does not fit into its segment, and its rows."""
    pile = open_with(calls, Pile, path, durability=durability, segment_bytes=journal.FIRST_BYTES)
    pile.add(0, LARGE)
    pile.add(1, LARGE)
    return pile, [0, 1]


def goes_on(pile: Any, told: list[int], path: Path) -> None:
    """Asserts that calls, small ones first, are taken, and that all that was told is there after a kill and after closing."""
    pile.add(10)
    told.append(10)
    control(pile).take_snapshot()
    pile.add(11)
    told.append(11)
    killed = path.parent / "killed"
    shutil.copytree(path, killed)
    with init_system(Pile, killed, validation="off") as again:
        assert again.rows == told
    pile.add(12, LARGE)
    told.append(12)
    assert pile.rows == told
    control(pile)._system.abandon()  # type: ignore[attr-defined]
    with init_system(Pile, path, validation="off") as again:
        assert again.rows == told
        again.add(13)
    with init_system(Pile, path, validation="off") as again:
        assert again.rows == [*told, 13]


@pytest.mark.parametrize("durability", ["sync", "buffered"])
def test_an_append_that_is_interrupted_twice_is_cut_off_by_the_next(tmp_path: Path, durability: str) -> None:
    calls = Tripping("pwrite", KeyboardInterrupt(), KeyboardInterrupt())
    pile, told = filled(calls, tmp_path / "data", durability)
    calls.armed = True
    with pytest.raises(KeyboardInterrupt):
        pile.add(2)
    goes_on(pile, told, tmp_path / "data")


@pytest.mark.parametrize("durability", ["sync", "buffered"])
@pytest.mark.parametrize("call", ["renamed", "sync_directory", "map", "pwrite"])
@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), OSError(errno.EMFILE, os.strerror(errno.EMFILE))], ids=["Ctrl-C", "EMFILE"]
)
def test_a_roll_over_that_ends_anywhere_loses_nothing(tmp_path: Path, durability: str, call: str, error: BaseException) -> None:
    calls = Tripping(call, error, mapped=call == "map")
    pile, told = filled(calls, tmp_path / "data", durability)
    calls.armed = True
    try:
        pile.add(2, LARGE)
        told.append(2)
    except (KeyboardInterrupt, JournalError):
        pass
    goes_on(pile, told, tmp_path / "data")


@pytest.mark.parametrize("durability", ["sync", "buffered"])
def test_without_address_space_for_a_map_calls_go_on_as_before(tmp_path: Path, durability: str) -> None:
    none = [OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)) for _ in range(50)]
    calls = Tripping("map", *none, mapped=True)
    pile, told = filled(calls, tmp_path / "data", durability)
    calls.armed = True
    for number in range(2, 8):
        pile.add(number, LARGE)
        told.append(number)
    goes_on(pile, told, tmp_path / "data")


def test_without_a_thread_to_be_had_a_full_segment_is_synced_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pile, told = filled(Calls(), tmp_path / "data", "buffered")

    class None_(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(journal.threading, "Thread", None_)
    try:
        pile.add(2, LARGE)
        told.append(2)
    except RuntimeError:
        pass
    monkeypatch.undo()
    assert told == [0, 1, 2], "a thread is not needed"
    goes_on(pile, told, tmp_path / "data")


def flipped(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_after_a_kill_a_flipped_bit_is_damage_and_never_the_end(tmp_path: Path) -> None:
    pile = open_with(Calls(), Pile, tmp_path / "data", durability="buffered")
    for number in range(1000):
        pile.add(number)
    control(pile)._system.abandon()  # type: ignore[attr-defined]
    segment = next((tmp_path / "data").glob("transaction_*.log"))
    before = segment.read_bytes()
    flipped(segment, 64 + 10 * 70)
    after = segment.read_bytes()
    for _ in range(2):
        with pytest.raises(DamagedJournal, match="had been kept"):
            init_system(Pile, tmp_path / "data", validation="off")
    assert segment.read_bytes() == after != before


def test_a_closing_that_is_interrupted_lets_the_directory_go(tmp_path: Path) -> None:
    calls = Tripping("sync_data", KeyboardInterrupt())
    pile = open_with(calls, Pile, tmp_path / "data")
    pile.add(1)
    calls.armed = True
    with pytest.raises(KeyboardInterrupt):
        control(pile).close()
    assert control(pile).closed
    with init_system(Pile, tmp_path / "data", validation="off") as again:
        assert again.rows == [1]


@pytest.mark.parametrize("call", ["pwrite", "renamed", "sync_data", "sync_directory"])
def test_an_opening_that_is_interrupted_lets_the_directory_go(tmp_path: Path, call: str) -> None:
    calls = Tripping(call, KeyboardInterrupt())
    calls.armed = True
    kept: list[BaseException] = []
    try:
        open_with(calls, Pile, tmp_path / "data")
    except KeyboardInterrupt as error:
        kept.append(error)  # With all the frames in its traceback.
    assert kept
    with init_system(Pile, tmp_path / "data", validation="off") as again:
        again.add(1)
        assert again.rows == [1]


def of_another_thread(function: Callable[[], object]) -> bool:
    """Whether a function comes to its end in another thread."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    thread.join(10)
    return not thread.is_alive()


def test_a_wait_that_is_interrupted_twice_leaves_nobody_waiting(tmp_path: Path) -> None:
    calls = Tripping("sync_data", KeyboardInterrupt())
    pile = open_with(calls, Pile, tmp_path / "data")
    calls.armed = True
    with pytest.raises(KeyboardInterrupt):
        pile.add(1)
    assert of_another_thread(lambda: pile.add(2))
    assert of_another_thread(lambda: pile.rows)
    assert pile.rows == [1, 2]
    control(pile).close()


def test_an_append_larger_than_a_block_that_fails_leaves_the_block_to_those_that_fit(tmp_path: Path) -> None:
    calls = Tripping("pwrite", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    pile = open_with(calls, Pile, tmp_path / "data")
    pile.add(0)
    calls.armed = True
    with pytest.raises(JournalError):
        pile.add(1, "x" * 100_000)
    told = [0]
    for number in range(2, 40):
        pile.add(number, "x" * 3_000)
        told.append(number)
    control(pile)._system.abandon()  # type: ignore[attr-defined]
    with init_system(Pile, tmp_path / "data", validation="off") as again:
        assert again.rows == told


def test_a_pruning_that_is_interrupted_is_gone_on_with(tmp_path: Path) -> None:
    calls = Tripping("removed", *(KeyboardInterrupt() for _ in range(5)))
    pile, told = filled(calls, tmp_path / "data")
    for number in range(2, 6):
        pile.add(number, LARGE)
        told.append(number)
    control(pile).take_snapshot()
    calls.armed = True
    for _ in range(5):
        try:
            control(pile).prune(keep=1)
        except KeyboardInterrupt:
            continue
    assert calls.errors == [] or len(list((tmp_path / "data").glob("transaction_*"))) == 1
    control(pile).prune(keep=1)
    assert len(list((tmp_path / "data").glob("snapshot_*"))) == 1
    goes_on(pile, told, tmp_path / "data")


def test_who_comes_to_the_gate_as_the_system_is_closed_is_not_refused(tmp_path: Path) -> None:
    with init_system(Pile, tmp_path / "data", validation="off") as pile:
        pile.add(b"x")
        journal: Any = pile._coopy_engine.log
    # It had found its action not durable, and the gate open, before closing has synced it.
    journal._commit._lead()
    assert journal._commit._failure is None
    journal.wait(1)


def test_a_closing_that_was_interrupted_in_its_last_steps_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pile = init_system(Pile, tmp_path / "data", validation="off")
    pile.add(1)
    log: Any = pile._coopy_engine.log

    def stop(self: journal.Journal) -> None:
        self.settled = -1
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(journal.Journal, "_stop", stop)
    with pytest.raises(KeyboardInterrupt):
        control(pile).close()
    assert control(pile).closed and log._area is None
    with pytest.raises(SystemClosed):
        pile.add(2)
    with init_system(Pile, tmp_path / "data", validation="off") as again:
        assert again.rows == [1]
