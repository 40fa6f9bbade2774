"""A state in a file, in chunks of CHUNK bytes with a checksum each: written without a copy of it, and read so.

What pickle writes of a large buffer comes as that buffer, and goes on from there a chunk at a time. What is read is never in memory as a
whole, and nobody is given a byte of a chunk whose checksum has not been looked at: a disk may say something else the second time.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pickle import PickleBuffer

from coopy.disk.fs import File
from coopy.ground.paths import reads

CHUNK = 1024 * 1024  # Checksums are of this much, so that a snapshot is checked while it is read.


class Writer:
    """Writes a state into a file from a place on. A `coopy.ground.storage.StateWriter`."""

    def __init__(self, file: File, start: int) -> None:
        self._file = file
        self._start = start
        self.restart()

    def restart(self) -> None:
        self._file.cut(self._start)
        self._pending = bytearray()
        self.checksums: list[int] = []
        self.size = 0
        """What was written; all of it after `finish`."""

    def write(self, data: bytes | bytearray | PickleBuffer, /) -> int:
        # That of an array has no length, and any number of dimensions: as bytes it has one.
        view = data.raw() if isinstance(data, PickleBuffer) else memoryview(data)
        size, done = len(view), 0
        if self._pending or size < CHUNK:
            done = min(CHUNK - len(self._pending), size)
            self._pending += view[:done]
            if len(self._pending) == CHUNK:
                self.finish()
        while size - done >= CHUNK:
            self._put(bytes(view[done : done + CHUNK]))
            done += CHUNK
        self._pending += view[done:]
        return size

    def finish(self) -> None:
        """Writes what waits to be a chunk."""
        if self._pending:
            self._put(bytes(self._pending))
            self._pending.clear()

    def _put(self, chunk: bytes) -> None:
        self._file.write(self._start + self.size, chunk)
        self.checksums.append(zlib.crc32(chunk))
        self.size += len(chunk)


class Chunks:
    """A state that lies in a file: its length, and any part of it. A `coopy.ground.storage.Stored`.

    The file stays open as long as this lives. ``damaged`` makes the exception for a place in the state where it is not what was written.
    """

    def __init__(
        self, file: File, start: int, size: int, checksums: Sequence[int], damaged: Callable[[int], Exception]
    ) -> None:
        assert len(checksums) == -(-size // CHUNK), "each chunk has one"
        self._file = file
        self._start = start
        self._size = size
        self._checksums = checksums
        self._damaged = damaged
        self._number, self._chunk = -1, b""
        """The chunk that was read last: parts are asked for one after the other."""

    def check(self) -> None:
        """Reads all of it. Raises what ``damaged`` makes."""
        for number in range(len(self._checksums)):
            self._read(number)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice, /) -> memoryview:
        start, end, _ = part.indices(self._size)
        first, last = start // CHUNK, (end - 1) // CHUNK
        if start >= end:
            return memoryview(b"")
        if first == last:
            return memoryview(self._read(first))[start - first * CHUNK : end - first * CHUNK]
        found, place = bytearray(end - start), 0
        for number in range(first, last + 1):
            chunk = memoryview(self._read(number))[max(start - number * CHUNK, 0) : end - number * CHUNK]
            found[place : place + len(chunk)] = chunk
            place += len(chunk)
        return memoryview(found)

    def _read(self, number: int) -> bytes:
        if number != self._number:
            self._number = -1
            place = number * CHUNK
            size = min(CHUNK, self._size - place)
            with reads(self._file.path):
                chunk = self._file.read(self._start + place, size)
            if len(chunk) < size or zlib.crc32(chunk) != self._checksums[number]:
                raise self._damaged(place)
            self._number, self._chunk = number, chunk
        return self._chunk
