"""Disks that fail, for tests: the real system calls, with one of them overridden."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

from coopy.disk.fs import Calls
from coopy.place.directory import DirectoryPlace
from coopy.place.options import Settings
from coopy.system import System


def open_with(
    calls: Calls,
    obj: Any,
    basedir: Path,
    *,
    durability: str = "sync",
    check: bool = False,
    keep: int | None = None,
    segment_bytes: int = 1 << 20,
) -> Any:
    """A system on a disk of our own."""
    given = {"durability": durability, "check": check, "keep": keep, "fork": False, "segment_bytes": segment_bytes}
    settings = Settings.of("open_with", given)
    place = DirectoryPlace(str(basedir), obj if isinstance(obj, type) else type(obj), settings, calls=calls)
    system = System(obj, place, settings)
    system.start(None)
    return system.proxy


class Faulty(Calls):
    """Written with pwrite, so that an append is a call that can fail; fails while ``failing`` names it."""

    def __init__(self) -> None:
        self.failing = ""
        self.errno = errno.ENOSPC
        self.shorten = False
        self.syncs = 0
        self.torn = 0

    def mappable(self, fd: int) -> bool:
        return False

    def _maybe(self, name: str) -> None:
        if self.failing == name:
            raise OSError(self.errno, os.strerror(self.errno))

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        if self.failing == "pwrite after half":
            if self.torn:
                self.failing, self.torn = "", 0
                raise OSError(self.errno, os.strerror(self.errno))
            self.torn = super().pwrite(fd, bytes(data)[: len(data) // 2], offset)
            return self.torn
        self._maybe("pwrite")
        return super().pwrite(fd, bytes(data)[:5] if self.shorten else data, offset)

    def allocate(self, fd: int, offset: int, size: int) -> None:
        self._maybe("allocate")
        super().allocate(fd, offset, size)

    def sync_data(self, fd: int) -> None:
        self.syncs += 1
        self._maybe("sync_data")
        super().sync_data(fd)

    def rename(self, old: str, new: str) -> None:
        self._maybe("rename")
        super().rename(old, new)


class Held(Calls):
    """Holds back every sync while ``gate`` is not set; ``waiting`` is set when one is held."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()
        self.syncs = 0

    def sync_data(self, fd: int) -> None:
        self.syncs += 1
        self.waiting.set()
        assert self.gate.wait(30)
        super().sync_data(fd)
