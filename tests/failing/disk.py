"""The disk below a system under test: written through a map or not, and noted for the model of the power cut or not."""

from __future__ import annotations

import os

from crash.disk_model import Link, Note, Recorder, SyncBegun, SyncDone, SyncFailed

from coopy.disk.fs import Calls


class Mapped(Calls):
    """As it is."""


class Written(Calls):
    """As on a file system where writing through a map could fail."""

    def mappable(self, fd: int) -> bool:
        super().mappable(fd)
        return False


class Noted(Recorder):
    """Makes the calls, which may fail, and notes those that were carried out, whatever the answer was."""

    def mappable(self, fd: int) -> bool:
        return Calls.mappable(self, fd) and self._mapped

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        was_there = os.access(path, os.F_OK)
        try:
            return super().open(path, flags, mode)
        except OSError:
            if not was_there and os.access(path, os.F_OK):
                self._names.pop(path, None)
                self.notes.append(Link(((path, self.adopt(path)),)))
            raise

    def rename(self, old: str, new: str) -> None:
        was_there = os.access(old, os.F_OK)
        try:
            super().rename(old, new)
        except OSError:
            if was_there and not os.access(old, os.F_OK):
                self.renamed(old, new)
            raise

    def remove(self, path: str) -> None:
        was_there = os.access(path, os.F_OK)
        try:
            super().remove(path)
        except OSError:
            if was_there and not os.access(path, os.F_OK):
                self.removed(path)
            raise

    def make_directory(self, path: str) -> None:
        was_there = os.access(path, os.F_OK)
        try:
            super().make_directory(path)
        except OSError:
            if not was_there and os.access(path, os.F_OK):
                self.made(path)
            raise

    def sync_data(self, fd: int) -> None:
        inode = self._fds[fd]
        self.notes.append(SyncBegun(inode))
        try:
            Calls.sync_data(self, fd)
        except OSError:
            self.notes.append(SyncFailed(inode))
            raise
        self.notes.append(SyncDone(inode))

    def sync_directory(self, path: str) -> None:
        Calls.sync_directory(self, path)
        super().sync_directory(path)


__all__ = ["Link", "Mapped", "Note", "Noted", "Written"]
