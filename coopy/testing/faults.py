"""A disk, a log and a store of snapshots that fail when they are told to."""

from __future__ import annotations

import os
from collections.abc import Callable

from coopy import JournalError
from coopy.disk import directory
from coopy.disk.fs import Calls
from coopy.ground.storage import MemoryLog, MemorySnapshots, StateWriter, Trial

__coopy_inside__ = True  # See `coopy.spine.calling`.

FAULTS = ("append", "sync", "snapshot")
"""What can be told to fail; see `coopy.testing.failing`."""


class Disk(Calls):
    """The operating system's files, with faults to switch on, and a power cut.

    Everything is written with pwrite, so that each write is a call that can fail, and what it overwrites is
    remembered until a sync covers it.
    """

    def __init__(self) -> None:
        self.faults: dict[str, int] = {}
        self._paths: dict[int, str] = {}
        # Without a lock: a forked child, which writes snapshots, could find it held for good.
        self._unsynced: dict[str, list[tuple[int, bytes]]] = {}

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        fd = super().open(path, flags, mode)
        self._paths[fd] = path
        return fd

    def close(self, fd: int) -> None:
        self._paths.pop(fd, None)
        super().close(fd)

    def mappable(self, fd: int) -> bool:
        return False

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        path = self._paths.get(fd, "")
        # Zeros are what the journal puts in the place of a frame that could not be written.
        if not _is_segment(path):
            self._fail("snapshot", path)
        elif bytes(data).strip(b"\0"):
            self._fail("append", path)
        self._unsynced.setdefault(path, []).append((offset, os.pread(fd, len(data), offset)))
        return super().pwrite(fd, data, offset)

    def sync_data(self, fd: int) -> None:
        path = self._paths.get(fd, "")
        self._fail("sync" if _is_segment(path) else "snapshot", path)
        writes = self._unsynced.get(path, [])
        covered = len(writes)
        super().sync_data(fd)
        del writes[:covered]

    def rename(self, old: str, new: str) -> None:
        super().rename(old, new)
        self._unsynced[new] = self._unsynced.pop(old, [])
        # A segment is begun under another name, and stays open.
        self._paths.update((fd, new) for fd, path in list(self._paths.items()) if path == old)

    def cut_power(self) -> None:
        """Takes back what no sync has covered. For a disk of which no file is open."""
        for path, writes in self._unsynced.items():
            if os.path.exists(path):
                with open(path, "r+b") as file:
                    for offset, before in reversed(writes):
                        file.seek(offset)
                        file.write(before)
        self._unsynced.clear()

    def _fail(self, what: str, path: str) -> None:
        if what in self.faults:
            raise OSError(self.faults[what], os.strerror(self.faults[what]), path)


def _is_segment(path: str) -> bool:
    return bool(directory.segments([os.path.basename(path).removesuffix(directory.TEMPORARY)]))


class FailingLog(MemoryLog):
    """A log in memory that can fail as a journal does."""

    def __init__(self, faults: dict[str, int]) -> None:
        super().__init__()
        self._faults = faults
        self._failure: int | None = None

    def append(self, record: bytes) -> int:
        self._refuse_after_a_failure()
        self._fail_to_append()
        settled = self.settled
        index = super().append(record)
        if "sync" in self._faults:
            self.settled = settled  # Whoever asks for it to be settled is to wait, and be refused.
        return index

    def amend(self, record: bytes) -> None:
        self._fail_to_append()
        super().amend(record)

    def wait(self, index: int) -> None:
        if "sync" in self._faults:
            self._failure = self._faults["sync"]
            self.settled = -1
        self._refuse_after_a_failure()
        super().wait(index)

    def close(self, amendment: bytes | None = None) -> None:
        if self._failure is None:
            super().close(amendment)

    def abandon(self) -> None:
        self.settled = -1

    def left(self, faults: dict[str, int]) -> FailingLog:
        """A log with what a process that was killed now would leave."""
        log = FailingLog(faults)
        log._records = list(self._records)
        log._first, log.last, log.settled = self._first, self.last, self.last
        return log

    def _fail_to_append(self) -> None:
        code = self._faults.get("append")
        if code is not None:
            state = "Nothing was recorded and nothing has changed; free the cause and call again."
            raise JournalError(code, f"{os.strerror(code)}. {state}", "memory")

    def _refuse_after_a_failure(self) -> None:
        code = self._failure
        if code is not None:
            state = "What came last is uncertain. Close the system and open it again."
            raise JournalError(code, f"{os.strerror(code)}. {state}", "memory")


class FailingSnapshots(MemorySnapshots):
    def __init__(self, faults: dict[str, int]) -> None:
        super().__init__()
        self._faults = faults

    def write(self, index: int, save: Callable[[StateWriter], None], tries: Trial | None = None) -> None:
        code = self._faults.get("snapshot")
        if code is not None:
            raise OSError(code, os.strerror(code), "memory")
        super().write(index, save, tries)

    def left(self, faults: dict[str, int]) -> FailingSnapshots:
        snapshots = FailingSnapshots(faults)
        snapshots._snapshots = dict(self._snapshots)
        snapshots._loaded = set(self._loaded)
        return snapshots
