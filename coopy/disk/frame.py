"""Frames: a record as it lies in a file.

    offset  size  field
         0     1  0x43      pickle opcode SHORT_BINBYTES
         1     1  33        bytes of the three fields that follow and of the record's prefix
         2     4  size      bytes of the record; little-endian, like every field
         6     8  index     of the record; an amendment has that of the record before it
        14     8  synced    highest index known to be on disk when this frame was written
        22  size  record
        -6     1  0x4a      pickle opcode BININT
        -5     4  checksum  CRC-32 of all before it in the frame, begun with SEED
        -1     1  0x30      pickle opcode POP

A frame is whole when all of it is in the file, its constants and its checksum
match, and its index is the one after the frame before it (the same, for an
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

import struct
import zlib

from coopy.storage import PREFIX_BYTES

HEAD = struct.Struct("<BBIQQ")
TAIL = struct.Struct("<IB")
HEAD_FIRST = (0x43, 20 + PREFIX_BYTES)
POP = 0x30
MARK = bytes(HEAD_FIRST)
BININT = b"J"
OVERHEAD = HEAD.size + len(BININT) + TAIL.size
assert (HEAD.size, OVERHEAD) == (22, 28), "the table above is what is packed"

_RESIDUE = zlib.crc32(zlib.crc32(b"").to_bytes(4, "little"), zlib.crc32(b""))
SEED = zlib.crc32(bytes([POP]), _RESIDUE)
assert SEED == zlib.crc32(b"J" + TAIL.pack(zlib.crc32(b"J", SEED), POP), SEED), "frames chain"

_head_pack = HEAD.pack
_tail_pack = TAIL.pack
_crc32 = zlib.crc32


class Frame:
    """What a frame says. ``size`` is that of the record."""

    __slots__ = ("size", "index", "synced")

    def __init__(self, size: int, index: int, synced: int) -> None:
        self.size = size
        self.index = index
        self.synced = synced


def pack(record: bytes, index: int, synced: int) -> bytes:
    """The frame of a record."""
    data = _head_pack(0x43, 33, len(record), index, synced) + record + b"J"
    return data + _tail_pack(_crc32(data, SEED), 0x30)


def intact(frames: bytes) -> bool:
    """Whether bytes are frames that touch, each of them whole."""
    return len(frames) > OVERHEAD and _crc32(frames, SEED) == SEED and frames[:2] == MARK


def head(data: bytes | memoryview, offset: int) -> Frame | None:
    """What the head of a frame at ``offset`` says, if it looks like one; it may not be whole."""
    if len(data) - offset < HEAD.size:
        return None
    first, second, size, index, synced = HEAD.unpack_from(data, offset)
    if (first, second) != HEAD_FIRST:
        return None
    return Frame(size, index, synced)


def whole(data: bytes | memoryview, offset: int) -> Frame | None:
    """The frame at ``offset`` if it is whole, its index aside."""
    found = head(data, offset)
    if found is None or found.size < PREFIX_BYTES or offset + OVERHEAD + found.size > len(data):
        return None
    frame = memoryview(data)[offset : offset + OVERHEAD + found.size]
    if frame[-1] != POP or _crc32(frame, SEED) != SEED:
        return None
    return found
