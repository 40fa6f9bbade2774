"""What a disk may hold after the power is cut: a record of every call, and a model of what each made durable.

`Recorder` makes the real calls and notes them. `Disk` follows the notes and says, at any of them,
what could be found when the power comes back:

* a file's bytes, by sectors: each sector as it was when the file was last synced, or as any later write
  left it, independently of the others. A write is torn wherever it crosses a sector, and sectors
  reach the disk in any order;
* after a sync that failed: what was written before it is read back, and never reaches the disk, whatever syncs follow,
  unless its sector is written again (that is what Linux does: the pages count as clean);
* a file's size: as it was when last synced, or as any later change of size left it;
* names: a created, renamed or removed name counts once its directory is synced. Of the changes since,
  any may be there and any may be missing; a rename is one change.

This is harsher than the journaling file systems of today, and what POSIX allows.
"""

from __future__ import annotations

import mmap
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from coopy.disk import dirlock
from coopy.disk.fs import Calls

SECTOR = 512


class Write(NamedTuple):
    inode: int
    offset: int
    data: bytes


class Resize(NamedTuple):
    inode: int
    size: int


class SyncBegun(NamedTuple):
    inode: int


class SyncDone(NamedTuple):
    inode: int


class SyncFailed(NamedTuple):
    inode: int


class Link(NamedTuple):
    """Names that changed at once; None is a name that is gone."""

    names: tuple[tuple[str, int | None], ...]
    is_directory: bool = False


class DirectorySynced(NamedTuple):
    path: str


class Said(NamedTuple):
    """Something the program said, not the disk: ("issued", token), ("acknowledged", token)."""

    word: str
    what: object


Note = Write | Resize | SyncBegun | SyncDone | SyncFailed | Link | DirectorySynced | Said


class Recorder(Calls):
    """The real calls, noted once they are done. ``mapped`` False writes with pwrite as on other file systems.

    Nothing waits for the real disk: what a sync means is the model's to say.
    """

    def __init__(self, mapped: bool = True) -> None:
        self.notes: list[Note] = []
        self._mapped = mapped
        self._inodes = 0
        self._fds: dict[int, int] = {}
        self._names: dict[str, int] = {}
        self._areas: dict[mmap.mmap, int] = {}

    def say(self, word: str, what: object) -> None:
        self.notes.append(Said(word, what))

    def adopt(self, path: str) -> int:
        """A number for a file that is there."""
        if path not in self._names:
            self._inodes += 1
            self._names[path] = self._inodes
        return self._names[path]

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        new = bool(flags & os.O_CREAT) and not os.path.exists(path)
        fd = super().open(path, flags, mode)
        if new:
            self._names.pop(path, None)
        self._fds[fd] = self.adopt(path)
        if new:
            self.notes.append(Link(((path, self._fds[fd]),)))
        return fd

    def close(self, fd: int) -> None:
        self._fds.pop(fd, None)
        super().close(fd)

    def mappable(self, fd: int) -> bool:
        return self._mapped

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        written = super().pwrite(fd, data, offset)
        self.notes.append(Write(self._fds[fd], offset, bytes(data[:written])))
        return written

    def store(self, area: mmap.mmap, data: bytes, offset: int) -> None:
        super().store(area, data, offset)
        self.notes.append(Write(self._areas[area], offset, data))

    def map(self, fd: int, size: int) -> mmap.mmap:
        area = super().map(fd, size)
        self._areas[area] = self._fds[fd]
        return area

    def allocate(self, fd: int, offset: int, size: int) -> None:
        super().allocate(fd, offset, size)
        self.notes.append(Resize(self._fds[fd], offset + size))

    def truncate(self, fd: int, size: int) -> None:
        super().truncate(fd, size)
        self.notes.append(Resize(self._fds[fd], size))

    def sync_data(self, fd: int) -> None:
        inode = self._fds[fd]
        self.notes.append(SyncBegun(inode))
        self.notes.append(SyncDone(inode))

    def make_directory(self, path: str) -> None:
        super().make_directory(path)
        self.made(path)

    def made(self, path: str) -> None:
        self.notes.append(Link(((path, self.adopt(path)),), is_directory=True))

    def sync_directory(self, path: str) -> None:
        self.notes.append(DirectorySynced(path))

    def rename(self, old: str, new: str) -> None:
        super().rename(old, new)
        self.renamed(old, new)

    def renamed(self, old: str, new: str) -> None:
        inode = self._names[new] = self._names.pop(old)
        self.notes.append(Link(((old, None), (new, inode))))

    def remove(self, path: str) -> None:
        super().remove(path)
        self.removed(path)

    def removed(self, path: str) -> None:
        self._names.pop(path, None)
        self.notes.append(Link(((path, None),)))


class _File:
    """What is durable of one file, and what was done to it since."""

    def __init__(self) -> None:
        self.durable = bytearray()
        self.pending: list[Write | Resize] = []
        self.begun = 0
        self.lost: list[Write] = []
        """Writes to one sector each that a failed sync has left: only another write to the sector brings them to the disk."""

    def found(self, keep: Callable[[int], int]) -> bytes:
        """Its bytes after a power cut. ``keep(n)`` says how many of n changes to one sector, or to the size, are there."""
        data = bytearray(self.durable)
        for write in self.lost:
            if keep(1):
                _overwrite(data, write, write.offset // SECTOR)
        resizes = sum(isinstance(note, Resize) for note in self.pending)
        sized = keep(resizes) if resizes else 0
        touched: dict[int, int] = {}
        for note in self.pending:
            if isinstance(note, Write):
                for sector in _sectors(note):
                    touched[sector] = touched.get(sector, 0) + 1
        left = {sector: keep(changes) for sector, changes in touched.items()}
        for note in self.pending:
            if isinstance(note, Resize):
                if sized > 0:
                    sized -= 1
                    _resize(data, note.size)
                continue
            for sector in _sectors(note):
                if left[sector] > 0:
                    left[sector] -= 1
                    _overwrite(data, note, sector)
        return bytes(data)

    def settle(self) -> None:
        settled = self.pending[: self.begun]
        written = {sector for note in settled if isinstance(note, Write) for sector in _sectors(note)}
        again = [write for write in self.lost if write.offset // SECTOR in written]
        # What was cut off is not there to be found.
        least = min((note.size for note in settled if isinstance(note, Resize)), default=1 << 62)
        self.lost = [write for write in self.lost if write.offset // SECTOR not in written and write.offset < least]
        self.durable = bytearray(_apply(self.durable, [*again, *settled]))
        del self.pending[: self.begun]
        self.begun = 0

    def lose(self) -> None:
        """What was written before a sync that failed counts as written, and is not on the disk."""
        for note in self.pending:
            if isinstance(note, Write):
                for sector in _sectors(note):
                    begin, end = max(note.offset, sector * SECTOR), min(note.offset + len(note.data), (sector + 1) * SECTOR)
                    self.lost.append(note._replace(offset=begin, data=note.data[begin - note.offset : end - note.offset]))
        self.pending = [note for note in self.pending if isinstance(note, Resize)]
        self.begun = 0


class Disk:
    """What was noted so far. Begins as a directory's contents, all of it durable."""

    def __init__(self, root: str, files: dict[str, bytes] | None = None, recorder: Recorder | None = None) -> None:
        self.root = root
        self._files: dict[int, _File] = {}
        self._names: dict[str, int] = {}
        self._pending: list[tuple[Link, set[str]]] = []
        """Changes of names, and the directories that have to be synced to make each durable."""
        self._directories: set[int] = set()
        self.said: list[Said] = []
        for name, data in (files or {}).items():
            assert recorder is not None
            path = os.path.join(root, name)
            inode = self._names[path] = recorder.adopt(path)
            self._file(inode).durable[:] = data

    def follow(self, note: Note) -> None:
        if isinstance(note, (Write, Resize)):
            self._file(note.inode).pending.append(note)
        elif isinstance(note, SyncBegun):
            file = self._file(note.inode)
            file.begun = len(file.pending)
        elif isinstance(note, SyncDone):
            self._file(note.inode).settle()
        elif isinstance(note, SyncFailed):
            self._file(note.inode).lose()
        elif isinstance(note, Link):
            self._pending.append((note, {os.path.dirname(name) for name, _ in note.names}))
            if note.is_directory:
                self._directories.update(inode for _, inode in note.names if inode is not None)
        elif isinstance(note, DirectorySynced):
            self._settle_names(note.path)
        else:
            self.said.append(note)

    def found(self, keep: Callable[[int], int]) -> dict[str, bytes] | None:
        """The files below the root after a power cut, by name; None if the root itself is not there."""
        names = dict(self._names)
        for link, _ in self._pending:
            if keep(1):
                _link(names, link)
        if self.root not in names and any(dict(link.names).get(self.root) for link, _ in self._pending):
            return None
        prefix = self.root + os.sep
        return {
            path.removeprefix(prefix): self._file(inode).found(keep)
            for path, inode in sorted(names.items())
            if path.startswith(prefix)
            and inode not in self._directories
            and (os.path.dirname(path) == self.root or os.path.dirname(path) in names)
        }

    def _file(self, inode: int) -> _File:
        return self._files.setdefault(inode, _File())

    def _settle_names(self, path: str) -> None:
        rest = []
        for link, unsynced in self._pending:
            unsynced.discard(path)
            if unsynced:
                rest.append((link, unsynced))
            else:
                _link(self._names, link)
        self._pending = rest


def everything(changes: int) -> int:
    """All that was written: what a killed process leaves."""
    return changes


def nothing(changes: int) -> int:
    """Only what was synced."""
    return 0


def some(chance: random.Random, share: float) -> Callable[[int], int]:
    """Each change with a chance of its own."""

    def keep(changes: int) -> int:
        if chance.random() < share:
            return changes
        return chance.randrange(changes + 1) if chance.random() < 0.5 else 0

    return keep


def put(files: dict[str, bytes], directory: Path) -> None:
    """Makes a directory of what was found, but for its lock: that says of this boot that no power was cut."""
    directory.mkdir(parents=True)
    for name, data in files.items():
        if name == dirlock.NAME:
            continue
        (directory / name).parent.mkdir(exist_ok=True)
        with open(directory / name, "wb") as file:
            file.write(data.rstrip(b"\0"))
            file.truncate(len(data))


def _sectors(note: Write) -> range:
    return range(note.offset // SECTOR, (note.offset + max(1, len(note.data)) - 1) // SECTOR + 1)


def _overwrite(data: bytearray, note: Write, sector: int) -> None:
    begin = max(note.offset, sector * SECTOR)
    end = min(note.offset + len(note.data), (sector + 1) * SECTOR)
    if len(data) < end:
        data.extend(bytes(end - len(data)))
    data[begin:end] = note.data[begin - note.offset : end - note.offset]


def _apply(data: bytearray, notes: list[Write | Resize]) -> bytearray:
    for note in notes:
        if isinstance(note, Resize):
            _resize(data, note.size)
            continue
        end = note.offset + len(note.data)
        if len(data) < end:
            data.extend(bytes(end - len(data)))
        data[note.offset : end] = note.data
    return data


def _resize(data: bytearray, size: int) -> None:
    if size < len(data):
        del data[size:]
    else:
        data.extend(bytes(size - len(data)))


def _link(names: dict[str, int], link: Link) -> None:
    for name, inode in link.names:
        if inode is None:
            names.pop(name, None)
        else:
            names[name] = inode
