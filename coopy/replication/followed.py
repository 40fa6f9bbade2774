"""The journal of a directory that another process writes, up to what that process has told: a `coopy.place.seam.HeldLog` that takes nothing.

Changes nothing in the directory. What lies behind ``last`` may not be on the disk yet, and is not shown.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any, NoReturn

from coopy.disk.fs import Calls
from coopy.disk.journal import Journal
from coopy.disk.segment import frames_upto
from coopy.errors import SystemClosed
from coopy.ground.storage import SnapshotStore, Stored


class Followed:
    """``last`` is the action that the copy of this process has come to, ``settled`` the one that its next read has to see."""

    def __init__(self, calls: Calls, basedir: str, system: bytes, last: int) -> None:
        self.last = last
        self.settled = last
        self._calls = calls
        self._basedir = basedir
        self._system = system

    @property
    def synced(self) -> int:
        return self.last

    def advance(self, last: int) -> None:
        """The copy has come to an action. To be called with the engine's lock held."""
        self.last = last
        if 0 <= self.settled < last:
            self.settled = last

    def promise(self, index: int) -> None:
        """The next read has to see an action. To be called with the engine's lock held."""
        if 0 <= self.settled < index:
            self.settled = index

    def read(self, after: int) -> Iterator[tuple[int, bytes]]:
        if after >= self.last:
            return
        journal = self._journal()
        try:
            for first, data in journal.read(after):
                size, last = frames_upto(data, self.last)
                if first > self.last or not size:
                    return
                yield first, data[:size]
                if last >= self.last:
                    return
        finally:
            journal.close()

    def reader(self) -> Followed:
        return Followed(self._calls, self._basedir, self._system, self.last)

    def where(self, index: int) -> str:
        journal = self._journal()
        try:
            return journal.where(index)
        finally:
            journal.close()

    @property
    def oldest(self) -> int:
        """Index of the first action that is there."""
        journal = self._journal()
        try:
            return journal.oldest
        finally:
            journal.close()

    def _journal(self) -> Journal:
        return Journal(self._calls, self._basedir, self._system, write=False, floor=self.last)

    def wait(self, index: int) -> None:
        if self.settled < 0:
            raise SystemClosed(f"the system in {self._basedir} is closed. Open it again to use it.")

    def settle(self) -> None:
        self.wait(self.last)

    def close(self, amendment: bytes | None = None) -> None:
        self.settled = -1

    def abandon(self) -> None:
        self.settled = -1

    # -- what only the writer does

    def append(self, record: bytes) -> int:
        self._refuse()

    def append_all(self, joined: bytes, sizes: array[int]) -> None:
        self._refuse()

    def amend(self, record: bytes) -> None:
        """Does nothing: the writer says how an action has ended."""

    def forget(self, upto: int) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise AssertionError(f"the journal in {self._basedir} is written by another process, to which calls are sent")


class Shown:
    """The snapshots of a directory that another process writes: those up to what it has told. A `SnapshotStore`, to be read."""

    def __init__(self, snapshots: SnapshotStore, log: Followed) -> None:
        self._snapshots = snapshots
        self._log = log

    def indexes(self) -> list[int]:
        return [index for index in self._snapshots.indexes() if index <= self._log.last]

    def latest(self, upto: int | None = None) -> tuple[int, Stored] | None:
        return self._snapshots.latest(self._log.last if upto is None else min(upto, self._log.last))

    def loaded(self, index: int) -> None:
        self._snapshots.loaded(index)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._snapshots, name)
