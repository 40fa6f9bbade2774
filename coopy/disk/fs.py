"""Everything that coopy asks of a disk: one small class of system calls, and a file on top of it.

`Calls` is the only place that touches the operating system's files, so that a
test can make any call fail, come short or be recorded by overriding it. Nothing
here knows a format.

A file that is appended to is preallocated, so that a full disk shows when space
is taken and not in the middle of a frame, and then written through a memory map
where the file system keeps its word about preallocated blocks. A store into a
map does not give up the interpreter lock as a system call does: with 64 threads
that is 1.8 times the calls per second, alone it saves half a microsecond a call
(docs/design/002-append-through-a-map.md). Elsewhere it is written with pwrite.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import sys
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import repeat
from operator import countOf

from coopy.ground.raised import on_failure

MAPPABLE = frozenset({"ext2", "ext3", "ext4", "xfs", "tmpfs"})
"""File systems where a preallocated block can always be written: no copy on write, no delayed space."""


class Calls:
    """The system calls. Override one to make it fail."""

    # These two as they are, see `Descriptor`: path, flags and mode give a number that no child inherits.
    open: Callable[[str, int, int], int] = staticmethod(os.open)
    close: Callable[[int], None] = staticmethod(os.close)

    def size(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        return os.pread(fd, size, offset)

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        return os.pwrite(fd, data, offset)

    def add(self, path: str, data: bytes) -> None:
        """Writes at the end of a file, which is made if it is not there. What comes of it may be a part, and is not durable."""
        file = Descriptor()
        try:
            file.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(file.fileno(), data)
        finally:
            file.close()

    def note(self, fd: int, data: bytes, offset: int) -> None:
        """Writes what nothing depends on: perhaps a part of it, and none of it is durable."""
        os.pwrite(fd, data, offset)

    def map(self, fd: int, size: int) -> mmap.mmap:
        return mmap.mmap(fd, size)

    def store(self, area: mmap.mmap, data: bytes, offset: int) -> None:
        """Writes into a map. Cannot fail where `mappable` holds."""
        area[offset : offset + len(data)] = data

    def allocate(self, fd: int, offset: int, size: int) -> None:
        """Takes disk space now, filled with zeros."""
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, offset, size)
        else:  # macOS
            self.pwrite(fd, bytes(size), offset)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def sync_data(self, fd: int) -> None:
        """The file's bytes, and what is needed to find them, are on disk when this returns."""
        if sys.platform == "darwin":
            import fcntl

            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(fd)

    def make_directory(self, path: str) -> None:
        os.mkdir(path)

    def remove_directory(self, path: str) -> None:
        os.rmdir(path)

    def sync_directory(self, path: str) -> None:
        """The directory's names are on disk when this returns."""
        file = Descriptor()
        try:
            file.open(path, os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(file.fileno())
        finally:
            file.close()

    def rename(self, old: str, new: str) -> None:
        os.replace(old, new)

    def remove(self, path: str) -> None:
        os.unlink(path)

    def names(self, path: str) -> list[str]:
        return sorted(os.listdir(path))

    def mappable(self, fd: int) -> bool:
        """Whether a store into preallocated space of this file can't fail."""
        return _filesystem(os.fstat(fd).st_dev) in MAPPABLE


class Descriptor:
    """A file that is open, or nothing. It is closed when nobody refers to it any more, at the latest.

    An exception may come between any two operations of Python, from a signal handler say. Opening and storing, taking
    out and closing are therefore one operation each: a call of C that calls both.
    """

    _held: list[int] = []

    def __init__(self, calls: type[Calls] | Calls = Calls) -> None:
        self._calls = calls
        self._held = []
        # Closes what is left as the last reference to this goes, by one call of C: `countOf` goes through all there is. The collector
        # does not call it for what is in a cycle; `__del__` sees to that, which may be interrupted.
        self._end = weakref.ref(self, partial(countOf, map(calls.close, self._held)))

    @property
    def is_open(self) -> bool:
        """Whether there is one."""
        return bool(self._held)

    def open(self, path: str, flags: int) -> None:
        """Opens a file, which only its owner may read if it is made. Raises OSError."""
        self._held.extend(map(self._calls.open, (path,), (flags,), (0o600,)))

    def fileno(self) -> int:
        """Returns its number. Raises ValueError if it is closed."""
        if not self._held:
            raise ValueError("the file is closed")
        return self._held[0]

    def close(self) -> None:
        """Closes it, whatever the system answers: the number is free, and what was written is a sync's to answer for.

        Raises OSError if somebody has closed it before, and perhaps another's file now.
        """
        try:
            deque(map(self._calls.close, map(self._held.pop, repeat(0, len(self._held)))), 0)
        except OSError as error:
            if error.errno == errno.EBADF:
                raise
        except IndexError:
            pass  # Another thread has closed it.

    def __del__(self) -> None:
        if self._held:
            self.close()


class File:
    """A file that is read and written at offsets.

    ``size`` is what is allocated. Reads past the end give what there is.
    """

    def __init__(self, calls: Calls, path: str, *, write: bool, create: bool = False) -> None:
        flags = os.O_RDWR if write else os.O_RDONLY
        self.calls = calls
        self.path = path
        self._map: mmap.mmap | None = None
        self._file = Descriptor(calls)
        self._file.open(path, flags | (os.O_CREAT | os.O_EXCL if create else 0))
        with on_failure(self.close):
            self.size = calls.size(self._fd)

    @property
    def _fd(self) -> int:
        return self._file.fileno()

    def read(self, offset: int, size: int) -> bytes:
        parts = []
        while size > 0:
            part = self.calls.pread(self._fd, size, offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, offset: int, data: bytes) -> None:
        """Writes all of ``data``; an OSError leaves an unknown part of it written."""
        if self._map is not None:
            self.calls.store(self._map, data, offset)
            return
        view = memoryview(data)
        while view:
            written = self.calls.pwrite(self._fd, view, offset)
            if written <= 0:
                raise OSError(errno.EIO, "nothing was written", self.path)
            offset += written
            view = view[written:]

    def note(self, offset: int, data: bytes) -> None:
        """Writes what nothing depends on. Raises OSError, with a part of it written."""
        self.calls.note(self._fd, data, offset)

    def area(self) -> mmap.mmap | None:
        """The map, for who stores into it without a call; None if writes must go through `write`.

        Good until the file grows or is closed.
        """
        return self._map if type(self.calls).store is Calls.store else None

    def allocate(self, size: int) -> None:
        """Grows the file to ``size`` bytes, all of it on disk or an OSError."""
        if size <= self.size:
            return
        try:
            self.calls.allocate(self._fd, self.size, size - self.size)
        except OSError:
            # A file system may have taken part of the space: give it back. What can't be given back is zeros at the end.
            with contextlib.suppress(OSError):
                self.calls.truncate(self._fd, self.size)
            raise
        self.size = size
        if self._map is not None:
            self.map()

    def look(self) -> None:
        """Asks for the size anew: an interrupted `allocate` or `cut` may have changed it without saying so."""
        self.size = self.calls.size(self._fd)

    def map(self) -> None:
        """From now on writes go through a memory map, if the file system allows it and there is address space for it.

        If not they go through `Calls.pwrite`: a map makes them faster, and nothing else.
        """
        # The old one is too short, and must not be left if there is to be no new one.
        self.unmap()
        try:
            if self.size and self.calls.mappable(self._fd):
                self._map = self.calls.map(self._fd, self.size)
        except (OSError, MemoryError):
            pass

    def unmap(self) -> None:
        """From now on writes go through `Calls.pwrite`."""
        # Not closed here: whoever stores into it with `area` may still have it.
        self._map = None

    def cut(self, size: int) -> None:
        """Drops everything from ``size`` on. Not for a mapped file."""
        assert self._map is None, "cutting a mapped file would take the ground from under the map"
        self.calls.truncate(self._fd, size)
        self.size = size

    def has_its_name(self) -> bool:
        """Whether this file is the one at its path, and not another that was put there. Raises OSError, if there is none as well."""
        return os.path.samestat(os.stat(self.path), os.fstat(self._fd))

    def sync(self) -> None:
        self.calls.sync_data(self._fd)

    def close(self) -> None:
        """Closes it. May be done again. Raises OSError if somebody else has closed it."""
        self._map = None
        self._file.close()


def remove_if_there(calls: Calls, path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        calls.remove(path)


def _filesystem(device: int) -> str:
    """Type of the file system on a device, from the kernel's mount table; "" if unknown."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
            for line in mounts:
                fields, _, rest = line.partition(" - ")
                if fields.split(" ", 3)[2] == wanted:
                    return rest.split(" ", 1)[0]
    except OSError:
        pass
    return ""
