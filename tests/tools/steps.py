"""Disks for tools that change a directory in steps: a crash at any of them, and what a power cut leaves."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from crash.disk_model import Disk, Link, Recorder, _link

from coopy.disk.fs import Calls


class Quick(Calls):
    """Nobody cuts the power here, so nothing waits for the disk."""

    def sync_data(self, fd: int) -> None:
        pass

    def sync_directory(self, path: str) -> None:
        pass


class Crash(BaseException):
    """The process ends here."""


class Crashing(Calls):
    """Ends the process at the n-th call that changes something; a write is then half done."""

    def __init__(self, crash_at: int) -> None:
        self.left = crash_at

    def _step(self) -> bool:
        self.left -= 1
        if self.left < 0:
            raise Crash
        return self.left == 0

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        if flags & os.O_CREAT:
            self._step()
        return super().open(path, flags, mode)

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        if self._step():
            return super().pwrite(fd, bytes(data)[: len(data) // 2], offset)
        return super().pwrite(fd, data, offset)

    def allocate(self, fd: int, offset: int, size: int) -> None:
        self._step()
        super().allocate(fd, offset, size)

    def truncate(self, fd: int, size: int) -> None:
        self._step()
        super().truncate(fd, size)

    def sync_data(self, fd: int) -> None:
        self._step()

    def make_directory(self, path: str) -> None:
        self._step()
        super().make_directory(path)

    def sync_directory(self, path: str) -> None:
        self._step()

    def rename(self, old: str, new: str) -> None:
        self._step()
        super().rename(old, new)

    def remove(self, path: str) -> None:
        self._step()
        super().remove(path)


class Journaling(Disk):
    """A disk that renames as file systems with a journal do: both names at once, durable once either directory is synced.

    What is in a directory goes with it, if it was durable there, and is nowhere while the directory has no name.
    """

    def _settle_names(self, path: str) -> None:
        rest = []
        for link, unsynced in self._pending:
            if any(os.path.dirname(name) == path for name, _ in link.names[:2]):
                inside = {name for name, inode in link.names[2:] if inode is None and name not in self._names}
                lost = {
                    other for (name, _), (other, _) in zip(link.names[2::2], link.names[3::2], strict=False) if name in inside
                }
                _link(self._names, Link(tuple(pair for pair in link.names if pair[0] not in lost)))
            else:
                rest.append((link, unsynced))
        self._pending = rest

    def left(self, keep: Callable[[int], int]) -> dict[str, bytes]:
        found = self.found(keep)
        assert found is not None
        return found


class Noting(Recorder):
    """Notes that what is in a directory goes with it when it is renamed."""

    def rename(self, old: str, new: str) -> None:
        inside = [name for name in self._names if name.startswith(old + os.sep)]
        super().rename(old, new)
        moved = [(name, new + name[len(old) :], self._names.pop(name)) for name in inside]
        self._names.update((name, inode) for _, name, inode in moved)
        link = self.notes.pop()
        assert isinstance(link, Link)
        names = [pair for name, other, inode in moved for pair in ((name, None), (other, inode))]
        self.notes.append(Link((*link.names, *names)))


def put(found: dict[str, bytes], directory: Path) -> None:
    for name, data in found.items():
        path = directory / name
        (path if path.name.startswith(("damaged-", "withdrawn-", "reinstated-", "aside")) else path.parent).mkdir(
            parents=True, exist_ok=True
        )
        if not path.is_dir():
            path.write_bytes(data)
