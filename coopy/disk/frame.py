"""Frames: a record as it lies in a file, or several that were appended together.

    offset  size  field
         0     1  0x43      pickle opcode SHORT_BINBYTES
         1     1  33        bytes of the three fields that follow and of the record's prefix
         2     4  size      s, bytes of the record; little-endian, like every field
         6     8  index     of the record; an amendment has that of the record before it
        14     8  synced    highest index known to be on disk when this frame was written
        22     s  record
        -6     1  0x4a      pickle opcode BININT
        -5     4  checksum  CRC-32 of all before it in the frame, begun with SEED
        -1     1  0x30      pickle opcode POP

Of two records and more:

    offset  size  field
         0     1  0x42      pickle opcode BINBYTES
         1     4  fields    bytes of the six fields that follow and of the first record's prefix
         5     4  mark      f7 43 6f f7
         9     4  size      s, bytes of the records as they stand here
        13     8  index     of the first of them
        21     8  synced    as above
        29     4  count     c
        33   4*c  sizes     of the records, each with the two bytes in front that the first does not have here
         +     s  records   joined, as `coopy.ground.storage.Log` yields them, but for those two bytes
        -6     6  end       as above

A frame is whole when all of it is in the file, its constants and its checksum
match, and its index is the one after those of the frame before it (the same, for an
amendment). To pickle the fields are one bytes object with the record's prefix, and the
end of a frame means nothing, so frames that touch are records that are joined.

A CRC that has run over data and over the CRC of that data ends in one constant,
whatever the data. Each checksum begins with what the frame before it ends in
(that constant, run over one POP more: SEED), so frames that touch are checked
by one pass: a run over any number of whole frames that begins with SEED ends in
SEED, and one that began whole and was changed in any one frame does not.

What a crash leaves: frames before the last sync are whole. Of those written
since, any may be missing or garbled, in any order, after a power cut; after a
killed process all are there.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from array import array
from collections.abc import Iterator
from itertools import accumulate

from coopy.ground.record import AMENDMENT_BYTES, PREFIX_BYTES, WRAP, listed, sizes_of

HEAD = struct.Struct("<BBIQQ")
MANY_HEAD = struct.Struct("<BI4sIQQI")
TAIL = struct.Struct("<IB")
HEAD_FIRST = (0x43, 20 + PREFIX_BYTES)
POP = 0x30  # The opcode of pickle that takes one value from its stack: part of the format.
MARK = bytes(HEAD_FIRST)
MANY_MARK = b"\xf7Co\xf7"
MANY_MARK_AT = 5  # Where the mark stands in a frame of several: after POP and the checksum.
BININT = b"J"
END_BYTES = len(BININT) + TAIL.size
OVERHEAD = HEAD.size + END_BYTES
TOGETHER_MAX = 64
"""A frame holds at most this many records: damage to one of them is damage to all."""
assert (HEAD.size, OVERHEAD, MANY_HEAD.size) == (22, 28, 33), "the tables above are what is packed"

_RESIDUE = zlib.crc32(zlib.crc32(b"").to_bytes(4, "little"), zlib.crc32(b""))
SEED = zlib.crc32(bytes([POP]), _RESIDUE)
assert SEED == zlib.crc32(b"J" + TAIL.pack(zlib.crc32(b"J", SEED), POP), SEED), "frames chain"

_head_pack = HEAD.pack
_tail_pack = TAIL.pack
_crc32 = zlib.crc32


class Frame:
    """What a frame says. ``first`` and ``index`` are those of its first and its last record, ``size`` that of all."""

    __slots__ = ("size", "first", "index", "synced", "begin")

    def __init__(self, size: int, first: int, index: int, synced: int, begin: int) -> None:
        self.size = size
        self.first = first
        self.index = index
        self.synced = synced
        self.begin = begin
        """Where in the frame the records begin."""

    @property
    def length(self) -> int:
        """Bytes of the frame."""
        return self.begin + self.size + END_BYTES

    @property
    def is_amendment(self) -> bool:
        return self.size == AMENDMENT_BYTES and self.first == self.index

    def follows(self, index: int) -> bool:
        """Whether it comes behind a frame that ends with the record of an index."""
        return self.first == (index if self.is_amendment else index + 1)

    def records(self, frames: bytes, offset: int) -> list[bytes]:
        """Its records one by one, in the bytes in which it lies at ``offset``."""
        start = offset + self.begin
        if self.first == self.index:
            return [frames[start : start + self.size]]
        sizes = sizes_of(frames[offset + MANY_HEAD.size : start])
        places = list(accumulate(sizes, initial=start - len(WRAP)))
        return [frames[place + len(WRAP) : end] for place, end in itertools.pairwise(places)]


def pack(record: bytes, index: int, synced: int) -> bytes:
    """The frame of a record."""
    return _sealed(_head_pack(0x43, 33, len(record), index, synced) + record + BININT)


def _sealed(data: bytes) -> bytes:
    """A frame of which all but the checksum is there, with its checksum."""
    return data + _tail_pack(_crc32(data, SEED), POP)


def changed(frame: bytes, place: int, value: int) -> bytes:
    """A whole frame in which the byte at one place is another. The frames beside it stay as they are."""
    end = len(frame) - TAIL.size
    return _sealed(frame[:place] + bytes([value]) + frame[place + 1 : end])


def pack_together(joined: bytes, sizes: array[int], index: int, synced: int) -> bytes:
    """The frame of joined records, of which the first has no WRAP in front; ``index`` is that of the first.

    ``sizes`` are those of each with its WRAP.
    """
    if len(sizes) == 1:
        return pack(joined, index, synced)
    fields = MANY_HEAD.size - MANY_MARK_AT + 4 * len(sizes) + PREFIX_BYTES
    head = MANY_HEAD.pack(0x42, fields, MANY_MARK, len(joined), index, synced, len(sizes))
    return _sealed(b"".join((head, listed(sizes), joined, BININT)))


def length_together(records: int, size: int) -> int:
    """Bytes of the frame of so many joined records of so many bytes, with the WRAP of each."""
    if records == 1:
        return size - len(WRAP) + OVERHEAD
    return MANY_HEAD.size + 4 * records + size - len(WRAP) + END_BYTES


def intact(frames: bytes) -> bool:
    """Whether bytes are frames that touch, each of them whole."""
    return len(frames) > OVERHEAD and _crc32(frames, SEED) == SEED and head(frames, 0) is not None


def head(data: bytes | memoryview, offset: int) -> Frame | None:
    """What the head of a frame at ``offset`` says, if it looks like one; it may not be whole."""
    if len(data) - offset < HEAD.size:
        return None
    if data[offset] != 0x42:
        first, second, size, index, synced = HEAD.unpack_from(data, offset)
        return Frame(size, index, index, synced, HEAD.size) if (first, second) == HEAD_FIRST else None
    if len(data) - offset < MANY_HEAD.size:
        return None
    _, fields, mark, size, index, synced, count = MANY_HEAD.unpack_from(data, offset)
    if mark != MANY_MARK or count < 2 or fields != MANY_HEAD.size - MANY_MARK_AT + 4 * count + PREFIX_BYTES:
        return None
    return Frame(size, index, index + count - 1, synced, MANY_HEAD.size + 4 * count)


def whole(data: bytes | memoryview, offset: int) -> Frame | None:
    """The frame at ``offset`` if it is whole, its index aside."""
    found = head(data, offset)
    if found is None or found.size < PREFIX_BYTES or offset + found.length > len(data):
        return None
    frame = memoryview(data)[offset : offset + found.length]
    if frame[-1] != POP or _crc32(frame, SEED) != SEED:
        return None
    if found.index > found.first and sum(sizes_of(frame[MANY_HEAD.size : found.begin])) != found.size + len(WRAP):
        return None
    return found


def places(data: bytes) -> Iterator[int]:
    """Where a frame may begin, from the first to the last: what looks so may stand in a record, too."""
    single, many = data.find(MARK), data.find(MANY_MARK, MANY_MARK_AT)
    while single >= 0 or many >= 0:
        if many < 0 or 0 <= single < many - MANY_MARK_AT:
            yield single
            single = data.find(MARK, single + 1)
        else:
            yield many - MANY_MARK_AT
            many = data.find(MANY_MARK, many + 1)


def places_backwards(data: bytes) -> Iterator[int]:
    """The same, from the last to the first."""
    single, many = data.rfind(MARK), data.rfind(MANY_MARK, MANY_MARK_AT)
    while single >= 0 or many >= 0:
        if single > many - MANY_MARK_AT:
            yield single
            single = data.rfind(MARK, 0, single + 1)
        else:
            yield many - MANY_MARK_AT
            many = data.rfind(MANY_MARK, MANY_MARK_AT, many + len(MANY_MARK) - 1)
