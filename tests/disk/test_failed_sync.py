"""What was written before a sync that failed is read back and counts as written, and no later sync brings it to the disk.

So does Linux. Whoever opens the directory after that goes on behind what was there, and says of it that it is on the disk: it must be so.
"""

from __future__ import annotations

import contextlib
import errno
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import handed
import pytest
from crash.disk_model import Disk, SyncBegun, SyncDone, SyncFailed, Write, everything, nothing, put, some
from crash.power import SEGMENT_BYTES, Quick, small_segments
from failing.disk import Noted
from faults import open_with

from coopy import control, transactional
from coopy.disk.segment import BLOCK
from coopy.errors import JournalError


class Ledger:
    def __init__(self) -> None:
        self.tokens: list[int] = []

    def add(self, token: int, filler: str = "") -> None:
        self.tokens.append(token)

    def add_and_raise(self, token: int, filler: str = "") -> None:
        self.tokens.append(token)
        raise KeyError(token)

    @transactional
    def undo(self, token: int, filler: str = "") -> None:
        self.tokens.append(token)
        raise KeyError(token)


class Called(handed.Called):
    domain = Ledger


class FailingSyncs(Noted):
    """Syncs of files fail while ``fails`` is true, or only those of the file at the path ``fails_at``."""

    fails = False
    fails_at: Path | None = None

    def sync_data(self, fd: int) -> None:
        inode = self._fds[fd]
        fails = self.fails or (self.fails_at is not None and self._names.get(str(self.fails_at)) == inode)
        self.notes.append(SyncBegun(inode))
        self.notes.append(SyncFailed(inode) if fails else SyncDone(inode))
        if fails:
            raise OSError(errno.EIO, "Input/output error")

    def sync_directory(self, path: str) -> None:
        super(Noted, self).sync_directory(path)


class Home:
    """A directory of which the syncs may fail, and all that was acknowledged in it."""

    def __init__(self, root: Path, durability: str, mapped: bool) -> None:
        self.root = root
        self.durability = durability
        self.calls = FailingSyncs(mapped)
        self.ledger: Any = None
        self.acknowledged: list[int] = []
        self._token = 0

    def open(self) -> None:
        self.ledger = opened(self.root / "ledger", self.calls, self.durability)

    def close(self) -> None:
        found = list(self.ledger.tokens)
        control(self.ledger).close()
        self.acknowledged = found

    def drop(self) -> None:
        """As the end of the process does."""
        control(self.ledger)._system.abandon()

    def call(self, method: str = "add", size: int = 0) -> None:
        self._token += 1
        with contextlib.suppress(KeyError):
            getattr(self.ledger, method)(self._token, "x" * size)
        if self.durability == "sync" and method != "undo":
            self.acknowledged.append(self._token)

    def call_together(self, *sizes: int) -> None:
        first = self._token + 1
        self._token += len(sizes)
        batch = [Called("add", token, "x" * size) for token, size in enumerate(sizes, first)]
        engine = self.ledger._coopy_engine
        for part in engine.settled(engine.begin_all(batch), batch):
            for each in part:
                if each.error is not None:
                    raise each.error
                if self.durability == "sync":
                    self.acknowledged.append(each.args[0])

    def cut_power(self) -> None:
        """Asserts that whatever a power cut leaves opens, and holds all that was acknowledged."""
        disk, chance = Disk(str(self.root / "ledger")), random.Random(1)
        for note in self.calls.notes:
            disk.follow(note)
        for keep in (nothing, everything, some(chance, 0.5), some(chance, 0.9)):
            after = self.root / "after"
            files = disk.found(keep)
            assert files is not None
            put(files, after)
            ledger = opened(after, Quick(), self.durability)
            assert [token for token in self.acknowledged if token not in ledger.tokens] == []
            control(ledger)._system.abandon()
            shutil.rmtree(after)


def opened(directory: Path, calls: Any, durability: str) -> Any:
    return open_with(calls, Ledger, directory, durability=durability, segment_bytes=SEGMENT_BYTES)


@pytest.fixture(params=["sync, mapped", "sync, written", "buffered, mapped", "buffered, written"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    durability, how = request.param.split(", ")
    with small_segments():
        yield Home(tmp_path, durability, how == "mapped")


LAST: dict[str, Callable[[Home], None]] = {
    "a call": lambda home: home.call(),
    "a call that begins a block": lambda home: home.call(size=BLOCK - 500),
    "a call longer than a block": lambda home: home.call(size=2 * BLOCK),
    "a call that raises": lambda home: home.call("add_and_raise"),
    "a call that is undone": lambda home: home.call("undo"),
    "calls together": lambda home: home.call_together(0, 0, 0),
    "calls together in several segments": lambda home: home.call_together(*[20_000] * 9),
    "no call": lambda home: None,
}


@pytest.mark.parametrize("last", LAST)
def test_what_is_found_after_a_sync_that_failed_lasts_once_the_next_has_succeeded(home: Home, last: str) -> None:
    home.open()
    home.call(size=700)
    home.calls.fails = True
    try:
        LAST[last](home)
        home.close()
    except JournalError:
        home.drop()
    home.calls.fails = False
    home.open()
    home.call()
    home.cut_power()
    home.call(size=20_000)
    home.close()
    home.cut_power()


@pytest.mark.parametrize("times", [1, 2, 3])
def test_what_an_opening_could_not_sync_the_next_writes_again(home: Home, times: int) -> None:
    home.open()
    for _ in range(5):
        home.call(size=20_000)
    home.drop()
    home.calls.fails = True
    for _ in range(times):
        with pytest.raises(JournalError, match="not opened"):
            home.open()
    home.calls.fails = False
    home.open()
    home.call("add_and_raise")
    home.close()
    home.cut_power()


def test_a_torn_end_that_could_not_be_cut_off_is_cut_off_by_the_next(home: Home) -> None:
    home.open()
    home.call(size=700)
    home.call()
    home.drop()
    path = home.root / "ledger" / "transaction_000000000000001.log"
    size = len(path.read_bytes().rstrip(b"\0"))
    fd = home.calls.open(str(path), 2)
    home.calls.pwrite(fd, b"torn" * 20, size)
    home.calls.close(fd)
    home.open()
    home.calls.fails = True
    try:
        home.call()
        home.close()
    except JournalError:
        home.drop()
    home.calls.fails = False
    home.open()
    home.call()
    home.close()
    home.cut_power()


def test_a_segment_that_was_full_and_could_not_be_synced_is_written_again(home: Home) -> None:
    home.open()
    home.call()
    home.calls.fails_at = home.root / "ledger" / "transaction_000000000000001.log"
    try:
        for _ in range(9):
            home.call(size=20_000)
        home.close()
    except JournalError:
        home.drop()
    home.calls.fails_at = None
    segments = len(list((home.root / "ledger").glob("transaction_*.log")))
    assert segments > 1 or home.durability == "sync", "buffered, it goes on in the next"
    home.open()
    home.call()
    home.close()
    home.cut_power()


def test_a_plain_restart_writes_only_the_last_blocks_again(home: Home) -> None:
    home.open()
    for _ in range(30):
        home.call(size=20_000)
    home.call("add_and_raise")
    home.close()
    before = len(home.calls.notes)
    home.open()
    written = sum(len(note.data) for note in home.calls.notes[before:] if isinstance(note, Write))
    assert 0 < written <= 2 * BLOCK
    home.close()
