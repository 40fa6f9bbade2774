"""Which keys there are, and where the newest record of each lies: about 40 bytes for a key besides its own.

A dict of a million keys and places takes 190 MB. Here the keys stand one after the other in one piece of memory, and their numbers in a
table of hashes with open addressing; the rest are arrays. Only a key that is not active is looked up here, and a look-up takes two
microseconds.

The table is written to a file now and then, so that a start need not read the journal from its beginning:

    offset  size  field
         0     8  magic     "COOPYKEY"
         8     4  version   1; little-endian, like every field
        12    16  system    id of the system it belongs to
        28     8  index     of the last record that is in it
        36     8  keys      n
        44     8  size      k, bytes of all keys
        52   8*n  ends      where each key ends among the keys
         +   8*n  indexes   of the newest record of each key
         +   4*n  offsets   where the frame of that record begins in its segment
         +   8*n  dues      when there is something to do for the object: nanoseconds since 1970-01-01 UTC; 1 for at once, 0 for never
         +     k  keys
         +     4  checksum  CRC-32 of all before it

It is written under another name, synced and renamed, after all records that are in it are on disk. Nothing depends on it: where it is
missing or damaged the journal is read instead. Keys that were deleted are not in it, but for those that were since the last one.
"""

from __future__ import annotations

import os
import struct
import zlib
from array import array
from collections.abc import Iterator

from coopy.disk import directory
from coopy.disk.fs import Calls, File
from coopy.disk.manifest import SHARDS_MAX

NAME = "keys.dat"
MAGIC = b"COOPYKEY"
VERSION = 1  # Of the format of the file; one of another is not used.
HEADER = struct.Struct("<8sI16sQQQ")
CHECKSUM_BYTES = 4  # The size of a CRC-32.
assert HEADER.size == 52, "the table above is what is packed"

_SLOTS_MIN = 1024  # A few kilobytes; a power of two, as all sizes of it.
_FULL = 0.6  # So full a table of hashes is made larger: beyond that look-ups get slow.


class Table:
    """Keys, each with the place of its newest record. Guarded by the lock of the engine."""

    def __init__(self) -> None:
        self.indexes = array("Q")
        """By the number of a key: the index of its newest record; 0 if there is no object of the key."""
        self.offsets = array("I")
        """By the number of a key: where the frame of that record begins in its segment."""
        self.dues = array("Q")
        """By the number of a key: when there is something to do for its object, see above."""
        self.living = 0
        """How many keys have an object."""
        self._ends = array("Q")
        self._keys = bytearray()
        self._slots = array("I", bytes(4 * _SLOTS_MIN))

    def find(self, key: bytes) -> int:
        """Returns the number of a key; -1 if it has none."""
        slots, keys, ends = self._slots, self._keys, self._ends
        mask = len(slots) - 1
        slot = hash(key) & mask
        size = len(key)
        while number := slots[slot]:
            end = ends[number - 1]
            if (end - ends[number - 2] if number > 1 else end) == size and keys[end - size : end] == key:
                return number - 1
            slot = (slot + 1) & mask
        return -1

    def number(self, key: bytes) -> int:
        """Returns the number of a key, a new one if it has none; then it has no object yet."""
        found = self.find(key)
        if found >= 0:
            return found
        if len(self._ends) > _FULL * len(self._slots):
            self._slots = self._hashed(4 * len(self._slots))
        # Nothing is found before the slot is filled, which comes last: an interrupt leaves keys that are nowhere, and no others.
        number = len(self._ends)
        self._shorten()
        self._keys += key
        self.indexes.append(0)
        self.offsets.append(0)
        self.dues.append(0)
        self._ends.append(len(self._keys))
        self._fill(self._slots, key, number)
        return number

    def key(self, number: int) -> bytes:
        """Returns the key of a number."""
        return bytes(self._keys[self._ends[number - 1] if number else 0 : self._ends[number]])

    def put(self, number: int, index: int, offset: int) -> None:
        """Has the newest record of a key be at a place; index 0: the key has no object any more."""
        self.living += (index > 0) - (self.indexes[number] > 0)
        self.offsets[number] = offset
        self.indexes[number] = index

    def has_classes(self) -> bool:
        """Returns whether some of the keys may be those of objects of another class than that of the directory."""
        # A key that begins with a zero is nobody's, and has two; see `coopy.ground.keyed`.
        return self._keys.count(0) > 2 * sum(self.find(key) >= 0 for way in (b"to", b"from") for key in _roads(way))

    def count(self) -> None:
        """Counts the keys that have an object anew, after something may have been interrupted."""
        self.living = len(self.indexes) - self.indexes.count(0)

    def keys(self, prefix: bytes = b"") -> Iterator[bytes]:
        """Yields the keys that have an object and begin with some bytes, in no order. Those that come meanwhile may be among them."""
        start = 0
        for number in range(len(self._ends)):
            end = self._ends[number]
            if self.indexes[number] and self._keys.startswith(prefix, start, end):
                yield bytes(self._keys[start:end])
            start = end

    @property
    def size_bytes(self) -> int:
        """How many bytes of memory it takes, about."""
        arrays = (self.indexes, self.offsets, self.dues, self._ends, self._slots)
        return len(self._keys) + sum(len(each) * each.itemsize for each in arrays)

    def _shorten(self) -> None:
        """Drops what an interrupted `number` has left at the end of the arrays."""
        size = len(self._ends)
        del self.indexes[size:], self.offsets[size:], self.dues[size:]
        end = self._ends[-1] if size else 0
        if len(self._keys) > end:
            del self._keys[end:]

    def _hashed(self, size: int) -> array[int]:
        slots = array("I", bytes(4 * size))
        start, keys = 0, bytes(self._keys)
        mask = size - 1
        for number, end in enumerate(self._ends, 1):
            slot = hash(keys[start:end]) & mask
            while slots[slot]:
                slot = (slot + 1) & mask
            slots[slot] = number
            start = end
        return slots

    @staticmethod
    def _fill(slots: array[int], key: bytes, number: int) -> None:
        mask = len(slots) - 1
        slot = hash(key) & mask
        while slots[slot]:
            slot = (slot + 1) & mask
        slots[slot] = number + 1

    # -- its file

    def packed(self, system: bytes, index: int) -> bytes:
        """Returns the bytes of its file. Keys without an object are not in it."""
        indexes, offsets, dues, ends, keys = self.indexes, self.offsets, self.dues, self._ends, self._keys
        if self.living < len(ends):
            indexes, offsets, dues, ends, keys = array("Q"), array("I"), array("Q"), array("Q"), bytearray()
            start = 0
            for number, end in enumerate(self._ends):
                if self.indexes[number]:
                    keys += self._keys[start:end]
                    ends.append(len(keys))
                    indexes.append(self.indexes[number])
                    offsets.append(self.offsets[number])
                    dues.append(self.dues[number])
                start = end
        head = HEADER.pack(MAGIC, VERSION, system, index, len(ends), len(keys))
        data = b"".join((head, _bytes(ends), _bytes(indexes), _bytes(offsets), _bytes(dues), keys))
        return data + zlib.crc32(data).to_bytes(CHECKSUM_BYTES, "little")

    @classmethod
    def unpacked(cls, data: bytes, system: bytes) -> tuple[Table, int] | None:
        """Returns a table, and the index of the last record that is in it. None if the bytes are not those of a whole file of the system."""
        if len(data) < HEADER.size + CHECKSUM_BYTES:
            return None
        magic, version, owner, index, count, size = HEADER.unpack_from(data)
        if (magic, version, owner) != (MAGIC, VERSION, system) or len(data) != HEADER.size + 28 * count + size + CHECKSUM_BYTES:
            return None
        if zlib.crc32(memoryview(data)[:-CHECKSUM_BYTES]) != int.from_bytes(data[-CHECKSUM_BYTES:], "little"):
            return None
        found, at = cls(), HEADER.size
        for each in (found._ends, found.indexes, found.offsets, found.dues):
            each.frombytes(data[at : at + count * each.itemsize])
            _swapped(each)
            at += count * each.itemsize
        found._keys += data[at : at + size]
        slots = _SLOTS_MIN
        while count > _FULL / 2 * slots:
            slots *= 2
        found._slots = found._hashed(slots)
        found.count()
        return found, index


def write(calls: Calls, basedir: str, data: bytes) -> None:
    """Writes the file. Raises OSError, with the old one or the new one there."""
    directory.write_whole(calls, os.path.join(basedir, NAME), data)
    calls.sync_directory(basedir)


def read(calls: Calls, basedir: str, system: bytes) -> tuple[Table, int] | None:
    """Returns the table of the file, and the last index in it. None if there is none that can be used. Raises OSError."""
    try:
        file = File(calls, os.path.join(basedir, NAME), write=False)
    except FileNotFoundError:
        return None
    try:
        data = file.read(0, file.size)
    finally:
        file.close()
    return Table.unpacked(data, system)


def _roads(way: bytes) -> list[bytes]:
    return [b"\0%b\0%d" % (way, number) for number in range(SHARDS_MAX)]


def _bytes(numbers: array[int]) -> bytes:
    return _swapped(array(numbers.typecode, numbers)).tobytes()


def _swapped(numbers: array[int]) -> array[int]:
    if struct.pack("=H", 1) != struct.pack("<H", 1):
        numbers.byteswap()
    return numbers
