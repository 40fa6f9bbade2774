"""One segment: a file of frames whose indexes follow one another.

    offset  size  field
         0     8  magic     "COOPYSEG"
         8     4  version   1; little-endian, like every field
        12    16  system    id of the system it belongs to
        28     8  first     index of its first action
        36    24  zeros
        60     4  checksum  CRC-32 of all before it
        64     n  frames

Frames do not cross a multiple of BLOCK bytes: one that does not fit into the
rest of its block begins the next, and the rest is zeros. A frame longer than a
block begins one, and the next frame begins another. A block is thus read,
checked and decoded as a whole. Zeros end the segment.

A segment appears under its name with its header synced, so a header that does
not read is damage. Choosing, rolling over and deleting segments is the
journal's work; what a record means is nobody's here.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator

from coopy.disk import directory, frame
from coopy.disk.fs import Calls, File
from coopy.errors import DamagedJournal, ForeignDirectory, UnsupportedFormat

BLOCK = 32 * 1024
_ZEROS = bytes(BLOCK)
MAGIC = b"COOPYSEG"
VERSION = 1
HEADER = struct.Struct("<8sI16sQ24sI")
assert HEADER.size == 64, "the table above is what is packed"


class Block:
    """Frames that touch, all whole. ``index`` and ``offset`` are those of the first."""

    __slots__ = ("index", "offset", "frames")

    def __init__(self, index: int, offset: int, frames: bytes) -> None:
        self.index = index
        self.offset = offset
        self.frames = frames


class NotWhole(Exception):
    """At ``offset`` something lies that is not the whole frame of ``index``."""

    def __init__(self, offset: int, index: int) -> None:
        self.offset = offset
        self.index = index


class Segment:
    """A segment of which the header has been checked. Raises `StorageError`."""

    def __init__(self, file: File, first: int) -> None:
        self.file = file
        self.first = first

    @classmethod
    def open(cls, calls: Calls, path: str, system: bytes, first: int, *, write: bool) -> Segment:
        file = File(calls, path, write=write)
        try:
            _check_header(path, file.read(0, HEADER.size), system, first)
        except BaseException:
            file.close()
            raise
        return cls(file, first)

    @classmethod
    def create(cls, calls: Calls, path: str, system: bytes, first: int, size: int) -> Segment:
        """Makes a new, preallocated segment appear under its name. Raises OSError with none there."""
        temporary = path + directory.TEMPORARY
        if os.path.exists(temporary):
            calls.remove(temporary)
        file = File(calls, temporary, write=True, create=True)
        try:
            file.allocate(size)
            head = HEADER.pack(MAGIC, VERSION, system, first, b"", 0)[:-4]
            file.write(0, head + zlib.crc32(head).to_bytes(4, "little"))
            file.sync()
            calls.rename(temporary, path)
            # The name is not durable until its directory is.
            calls.sync_directory(os.path.dirname(path))
        except BaseException:
            file.close()
            for left in (temporary, path):
                if os.path.exists(left):
                    calls.remove(left)
            raise
        file.path = path
        return cls(file, first)

    def blocks(self) -> Iterator[Block]:
        """The frames, block by block. Raises `NotWhole` at the first that is not, after those before it."""
        start, following = HEADER.size, self.first
        while start < self.file.size:
            end = start // BLOCK * BLOCK + BLOCK
            data = self.file.read(start, end - start)
            frames = b"" if data == _ZEROS else data.rstrip(b"\0")
            if not frames:
                if not self.is_blank_from(end):
                    raise NotWhole(start, following)
                return
            if frame.intact(frames):
                found = frame.head(frames, 0)
                assert found is not None
                if found.index not in (following, following - 1) and start == HEADER.size:
                    raise NotWhole(start, following)
                yield Block(found.index, start, frames)
                following = found.index + 1
                start = end
                continue
            found = frame.head(data, 0)
            if found is not None and found.size + frame.OVERHEAD > len(data):
                size = found.size + frame.OVERHEAD
                data = self.file.read(start, size)
                if not frame.intact(data) or len(data) < size:
                    raise NotWhole(start, max(following, found.index))
                yield Block(found.index, start, data)
                following = found.index + 1
                start = -(-(start + size) // BLOCK) * BLOCK
                continue
            size, last = frames_upto(data, None)
            if size:
                found = frame.head(data, 0)
                assert found is not None
                yield Block(found.index, start, data[:size])
                following = last + 1
            raise NotWhole(start + size, following)

    def is_blank_from(self, offset: int) -> bool:
        """Whether there are only zeros from an offset on."""
        while offset < self.file.size:
            data = self.file.read(offset, BLOCK)
            if data != (_ZEROS if len(data) == BLOCK else bytes(len(data))):
                return False
            offset += len(data)
        return True

    def proves(self, after: int, index: int) -> bool:
        """Whether whole frames behind offset ``after`` show that action ``index`` had been kept.

        They do if one of them says that the action was synced, or is the action.
        """
        data = self.file.read(after, self.file.size - after).rstrip(b"\0")
        place = data.find(frame.MARK, 1)
        while place >= 0:
            found = frame.whole(data, place)
            if found is not None and (found.synced >= index or found.index == index):
                return True
            place = data.find(frame.MARK, place + 1)
        return False

    def close(self) -> None:
        self.file.close()


def frames_upto(data: bytes, index: int | None) -> tuple[int, int]:
    """Bytes of the whole frames at the head of ``data`` up to ``index``, and the last index among them.

    An amendment belongs to its action.
    """
    offset, last = 0, -1
    while True:
        found = frame.whole(data, offset)
        if found is None or (index is not None and found.index > index):
            return offset, last
        if last >= 0 and found.index not in (last, last + 1):
            return offset, last
        offset += frame.OVERHEAD + found.size
        last = found.index


def _check_header(path: str, data: bytes, system: bytes, first: int) -> None:
    if len(data) < HEADER.size:
        raise DamagedJournal(path, 0, first, "the file is too short for the header of a segment")
    magic, version, owner, named, _, checksum = HEADER.unpack(data)
    if magic != MAGIC:
        raise ForeignDirectory(
            f"{path}, byte 0: not a segment of this coopy. Nothing was changed. Put the file back from a "
            f"backup, or choose another directory."
        )
    if checksum != zlib.crc32(data[:-4]):
        raise DamagedJournal(path, 0, first, "the checksum of the header does not match")
    if version != VERSION:
        raise UnsupportedFormat(f"{path} has format {version}; this coopy reads {VERSION}. Nothing was changed.")
    if owner != system:
        raise ForeignDirectory(
            f"{path} belongs to system {owner.hex()}, the directory to {system.hex()}. Nothing was changed. "
            f"Move the file to where it came from."
        )
    if named != first:
        raise DamagedJournal(path, 28, first, f"the header says that its first action is {named}")
