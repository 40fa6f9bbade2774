"""The disk below a system under test: written through a map or not, and noted for the model of the power cut or not."""

from __future__ import annotations

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
    """Makes the calls, which may fail, and notes those that did not."""

    def mappable(self, fd: int) -> bool:
        return Calls.mappable(self, fd) and self._mapped

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
