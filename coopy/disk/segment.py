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

import contextlib
import itertools
import os
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from coopy.disk import directory, frame
from coopy.disk.fs import Calls, File, remove_if_there
from coopy.errors import DamagedJournal, ForeignDirectory, UnsupportedFormat
from coopy.ground.paths import is_file
from coopy.ground.raised import on_failure
from coopy.ground.record import WRAP

BLOCK = 32 * 1024
"""What a crash left is looked for block by block: small enough that little is lost to its unused end, large enough for many frames."""
_ZEROS = bytes(BLOCK)
MAGIC = b"COOPYSEG"
VERSION = 1  # Of the format of segments; another one is refused.
HEADER = struct.Struct("<8sI16sQ24sI")
assert HEADER.size == 64, "the table above is what is packed"


class Block(NamedTuple):
    """Frames that touch, all whole: where they begin, the first and the last index, and what was synced by the last."""

    offset: int
    frames: bytes
    first: int
    last: int
    synced: int


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
        if not is_file(path):
            raise DamagedJournal(path, 0, first, "this is not a file, or a link to one")
        file = File(calls, path, write=write)
        with on_failure(file.close):
            _check_header(path, file.read(0, HEADER.size), system, first)
        return cls(file, first)

    @classmethod
    def prepare(cls, calls: Calls, path: str, system: bytes, first: int, size: int) -> Segment:
        """Makes a new, preallocated segment under a temporary name; `appear` gives it its own. Raises OSError with none there."""
        temporary = path + directory.TEMPORARY
        remove_if_there(calls, temporary)
        segment = cls(File(calls, temporary, write=True, create=True), first)
        with on_failure(segment.discard):
            file = segment.file
            file.allocate(size)
            head = HEADER.pack(MAGIC, VERSION, system, first, b"", 0)[:-4]
            file.write(0, head + zlib.crc32(head).to_bytes(4, "little"))
            file.sync()
        return segment

    @classmethod
    def create(cls, calls: Calls, path: str, system: bytes, first: int, size: int) -> Segment:
        """Makes a new, preallocated segment appear under its name. Raises OSError with none there."""
        segment = cls.prepare(calls, path, system, first, size)
        # Whether it has got its name or not.
        with on_failure(remove_if_there, calls, path), on_failure(segment.discard):
            segment.appear(path)
        return segment

    def appear(self, path: str) -> None:
        """Gives a prepared segment its name, which is durable when this returns. Raises OSError: it may be there then."""
        calls = self.file.calls
        calls.rename(self.file.path, path)
        self.file.path = path
        # The name is not durable until its directory is.
        calls.sync_directory(os.path.dirname(path))

    def discard(self) -> None:
        """Removes a prepared segment that has not appeared."""
        self.close()
        # The next one that is prepared, or the next opening, removes it.
        with contextlib.suppress(OSError):
            remove_if_there(self.file.calls, self.file.path)

    def discard_unless_at(self, path: str) -> None:
        """Removes a prepared segment unless it has appeared at ``path``."""
        if self.file.path != path:
            self.discard()

    def blocks(self, start: int = HEADER.size, following: int | None = None) -> Iterator[Block]:
        """The frames, block by block. Raises `NotWhole` at the first that is not, after those before it.

        By default all; or from a block on, of which it is known that it begins at ``start``, and with the action ``following``.
        """
        behind = start
        following = self.first if following is None else following
        final: Block | None = None
        while start < self.file.size:
            end = start // BLOCK * BLOCK + BLOCK
            data = self.file.read(start, end - start)
            frames = b"" if data == _ZEROS else data.rstrip(b"\0")
            if not frames:
                if not self.is_blank_from(end):
                    raise NotWhole(start, following)
                break
            found = frame.head(data, 0)
            # What a head says of its size may be garbage: so much is only asked for if it is there.
            if found is not None and len(data) < found.length <= self.file.size - start:
                frames = self.file.read(start, found.length)
                end = -(-(start + len(frames)) // BLOCK) * BLOCK
                last = found if len(frames) == found.length else None
            else:
                last = None
            whole = frame.intact(frames)
            if whole:
                last = last or _last_frame(frames)
            else:
                size, index = frames_upto(data, None)
                frames, last = data[:size], _last_frame(data[:size])
            if last is not None and found is not None:
                if not found.follows(following - 1):
                    # The block before lost its end, or this one belongs elsewhere.
                    raise NotWhole(behind, following)
                final = Block(start, frames, found.first, last.index, last.synced)
                yield final
                following, behind = last.index + 1, start + len(frames)
            if not whole or last is None:
                raise NotWhole(behind if last is not None else start, following)
            start = end
        if final is not None:
            # What follows a block shows whether it has too few frames or too many; nothing follows the last.
            size, index = frames_upto(final.frames, None)
            if size < len(final.frames):
                raise NotWhole(final.offset + size, index + 1)

    def is_blank_from(self, offset: int) -> bool:
        """Whether there are only zeros from an offset on."""
        while offset < self.file.size:
            data = self.file.read(offset, BLOCK)
            if not data:
                break  # It is shorter than it was.
            if data != (_ZEROS if len(data) == BLOCK else bytes(len(data))):
                return False
            offset += len(data)
        return True

    def proves(self, after: int, index: int, all_kept: bool) -> bool:
        """Whether whole frames behind offset ``after`` show that action ``index`` had been kept.

        They do if one of them says that the action was synced. That they are whole shows nothing after a power cut:
        what was written later may have reached the disk before. ``all_kept`` says that there was none; then it does.
        """
        data = self.file.read(after, self.file.size - after).rstrip(b"\0")
        if frame.whole(data, 0) is not None:
            return True  # Whole, and not the next one: no crash leaves that.
        for place in frame.places(data):
            found = frame.whole(data, place)
            if found is not None and (found.synced >= index or (all_kept and found.index >= index)):
                return True
        return False

    def close(self) -> None:
        self.file.close()


def frames_upto(data: bytes, index: int | None) -> tuple[int, int]:
    """Bytes of the whole frames at the head of ``data`` up to ``index``, and the last index among them.

    An amendment belongs to its action. A frame that holds later actions, too, is not among them.
    """
    offset, last = 0, -1
    while True:
        found = frame.whole(data, offset)
        if found is None or (index is not None and found.index > index):
            return offset, last
        if last >= 0 and not found.follows(last):
            return offset, last
        offset += found.length
        last = found.index


def records_behind(frames: bytes, index: int) -> bytes:
    """The joined records of whole frames behind those up to ``index``."""
    skipped, _ = frames_upto(frames, index)
    found = frame.head(frames, skipped)
    if found is None or found.first > index:
        return frames[skipped:]
    rest = found.records(frames, skipped)[index + 1 - found.first :]
    return WRAP + WRAP.join(rest) + frames[skipped + found.length :]


def _last_frame(frames: bytes) -> frame.Frame | None:
    """The last of frames that touch and are whole."""
    # Mostly it is one that came alone, and the other mark is nowhere: not found is the longest search.
    alone = frames.rfind(frame.MARK)
    for place in itertools.chain([alone] if alone >= 0 else [], frame.places_backwards(frames)):
        found = frame.whole(frames, place)
        # What looks like one may stand in a record, too; what is whole and ends where the frames end is a frame.
        if found is not None and place + found.length == len(frames):
            return found
    return None


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
