"""The files of PyDistributed's event source: read as they are, and written by export.

    <20 digits: offset of the first event>.log

    offset  size  field
         0     8  offset     of the event; native byte order, like every field (struct "QQI")
         8     8  timestamp  nanoseconds since 1970-01-01 UTC
        16     4  size       s, bytes of the payload
        20     s  payload

    the same name with .index

    offset  size  field
         0     4  relative   offset of an event, less that of the first in the file (struct "II")
         4     4  position   where its record begins in the .log

The first record of a file has an entry in its index, and each with which, since the last that has one, index_interval bytes have come together. A
record that would make a file longer than max_log_size begins another. There is no checksum. A crash may leave the last
record of the last file torn; it is left out. The index is not needed for reading and not read: the original could not read by it either (its newest
file was never readable, nor a single one but for the first event).
"""

from __future__ import annotations

import os
import re
import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from coopy import DamagedJournal, UsageError
from coopy.messaging.events_kinds import CouldNotFindOffset, Event, LogSizeExceeded, Removed

RECORD = struct.Struct("QQI")
ENTRY = struct.Struct("II")
assert (RECORD.size, ENTRY.size) == (20, 8), "the tables above are what is packed"
_NAME = re.compile(r"([0-9]{20})\.log\Z")
_PIECE_BYTES = 1 << 20  # Files are looked through in pieces of a megabyte: they may be of four gigabytes.
MAX_LOG_SIZE, INDEX_INTERVAL = 1 << 32, 1 << 12
"""The defaults of the original."""


def originals(path: str) -> list[str]:
    """Returns the .log files of a directory, in order; none if it is not there."""
    try:
        names = os.listdir(path)
    except FileNotFoundError:
        return []
    return [os.path.join(path, each) for each in sorted(names) if _NAME.match(each)]


class OriginalLog:
    """All events of such a directory. Raises `DamagedJournal` for what no crash leaves."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._files: list[str] = []
        self._numbers: list[array[int]] = []
        """Of each file: the offsets of its events."""
        self._places: list[array[int]] = []
        """And where their records begin."""
        paths = originals(path)
        following = 0
        for each in paths:
            numbers, places = _scanned(each, following, each == paths[-1])
            if numbers:
                self._files.append(each)
                self._numbers.append(numbers)
                self._places.append(places)
                following = numbers[-1] + 1
        self.first = self._numbers[0][0] if self._numbers else 0
        self.end = following

    def get(self, offset: int) -> Event:
        """Returns an event. Raises `CouldNotFindOffset`, `Removed`."""
        if offset >= self.end:
            raise CouldNotFindOffset(offset, self.end)
        for event in self.read(offset):
            if event.offset != offset:
                raise Removed(offset, event.offset)
            return event
        raise AssertionError("the last event is before the end")

    def read(self, begin: int, end: int | None = None) -> Iterator[Event]:
        """Yields the events from an offset on, up to one before ``end``."""
        end = self.end if end is None else end
        first = max(bisect_right([each[0] for each in self._numbers], begin) - 1, 0)
        for file, numbers, places in zip(self._files[first:], self._numbers[first:], self._places[first:], strict=True):
            if numbers[-1] < begin:
                continue
            with open(file, "rb") as log:
                place = max(bisect_right(numbers, begin - 1), 0) if begin else 0
                log.seek(places[place])
                for _ in range(place, len(numbers)):
                    offset, time, size = RECORD.unpack(log.read(RECORD.size))
                    if offset >= end:
                        return
                    yield Event(offset, time, size, log.read(size), version=offset + 1)


def _scanned(path: str, following: int, is_last: bool) -> tuple[array[int], array[int]]:
    """Returns the offsets of the events of a file, and where they begin."""
    numbers, places = array("Q"), array("Q")
    named = _NAME.search(os.path.basename(path))
    assert named is not None, "it was found by its name"
    with open(path, "rb", buffering=_PIECE_BYTES) as log:
        length = os.fstat(log.fileno()).st_size
        place = 0
        while place < length:
            head = log.read(RECORD.size)
            offset, _, size = RECORD.unpack(head) if len(head) == RECORD.size else (following, 0, length)
            if place + RECORD.size + size > length:
                if not is_last:
                    raise DamagedJournal(path, place, offset, "the record is longer than the file, and it is not the last file")
                break
            if offset < following or (not numbers and offset != int(named[1])):
                raise DamagedJournal(
                    path, place, offset, f"the record says that it is event {offset}, and {following} comes next here"
                )
            numbers.append(offset)
            places.append(place)
            following = offset + 1
            log.seek(size, os.SEEK_CUR)
            place += RECORD.size + size
    return numbers, places


def write_originals(
    path: str, events: Iterable[tuple[int, int, bytes]], max_log_size: int = MAX_LOG_SIZE, index_interval: int = INDEX_INTERVAL
) -> int:
    """Writes events, each as offset, timestamp and payload, into a directory that has none. Returns how many.

    What is written is on the disk when this returns. Raises `UsageError`, `LogSizeExceeded`, OSError.
    """
    os.makedirs(path, exist_ok=True)
    if originals(path):
        raise UsageError(f"{path}: there are events already. Nothing was written. Choose an empty directory.")
    count = 0
    files = _Files(path, max_log_size, index_interval)
    try:
        for offset, time, payload in events:
            files.write(offset, time, payload)
            count += 1
    finally:
        files.close()
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return count


class _Files:
    """The two files that are written now."""

    def __init__(self, path: str, max_log_size: int, index_interval: int) -> None:
        self._path = path
        self._max = max_log_size
        self._interval = index_interval
        self._log: BinaryIO | None = None
        self._index: BinaryIO | None = None
        self._first = self._size = self._since = 0

    def write(self, offset: int, time: int, payload: bytes) -> None:
        length = RECORD.size + len(payload)
        refuse_longer(len(payload), self._max)
        if self._log is None or self._size + length > self._max:
            self.close()
            name = os.path.join(self._path, f"{offset:020}")
            self._log, self._index = open(f"{name}.log", "xb"), open(f"{name}.index", "xb")
            self._first, self._size, self._since = offset, 0, self._interval
        assert self._log is not None and self._index is not None, "they were opened together"
        self._since += length
        if self._since >= self._interval:
            self._index.write(ENTRY.pack(offset - self._first, self._size))
            self._since = 0
        self._log.write(RECORD.pack(offset, time, len(payload)) + payload)
        self._size += length

    def close(self) -> None:
        for each in (self._log, self._index):
            if each is not None:
                each.flush()
                os.fsync(each.fileno())
                each.close()
        self._log = self._index = None


def refuse_longer(size: int, max_log_size: int) -> None:
    """Raises `LogSizeExceeded` if a payload of so many bytes fits into no file."""
    if RECORD.size + size > max_log_size:
        raise LogSizeExceeded(
            f"a record of {RECORD.size + size} bytes is longer than max_log_size={max_log_size} allows a file to be. Nothing was written. "
            f"Raise max_log_size."
        )
