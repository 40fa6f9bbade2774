"""Records found by their places: the index of one, and where its frame begins in its segment.

`coopy.objects` follows the records of one object from place to place, and reads no other. A place that was told by the journal stays
right for ever: it holds a record, which no cut of a torn end takes away.

Reads beside the journal that writes, with files of its own. It writes nothing, and does not know what is durable.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from coopy.disk import directory, frame
from coopy.disk.fs import Calls
from coopy.disk.segment import NotWhole, Segment
from coopy.errors import DamagedJournal, MissingActions

FILES_MAX = 64
"""So many segments are kept open."""
_FIRST_READ_BYTES = 4096  # Most frames are no longer than this: one read is enough.


class Places:
    """The records of one directory by their places. Used by one thread at a time. Raises a `StorageError`, OSError.

    ``firsts`` are the first indexes of the segments, in order: those of a journal that writes, which adds to the list.
    """

    def __init__(self, calls: Calls, basedir: str, system: bytes, firsts: list[int]) -> None:
        self._calls = calls
        self._basedir = basedir
        self._system = system
        self._firsts = firsts
        self._segments: dict[int, Segment] = {}

    def at(self, index: int, offset: int) -> bytes:
        """Returns the record of an index, whose frame begins at an offset of its segment. Raises `DamagedJournal`, `MissingActions`."""
        segment = self._segment_of(index)
        data = segment.file.read(offset, _FIRST_READ_BYTES)
        found = frame.head(data, 0)
        if found is not None and found.length > len(data):
            segment.file.look()
            if found.length <= segment.file.size - offset:
                data = segment.file.read(offset, found.length)
        found = frame.whole(data, 0)
        if found is None or not found.first <= index <= found.index:
            raise DamagedJournal(segment.file.path, offset, index, "this is not the whole frame that was written")
        return found.records(data, 0)[index - found.first]

    def after(self, index: int, last: int) -> Iterator[tuple[int, int, bytes]]:
        """Yields the records after one, up to ``last``, each with its index and where its frame begins. Raises `DamagedJournal`."""
        following = index + 1
        while following <= last:
            segment = self._segment_of(following)
            segment.file.look()
            before = following
            try:
                for block in segment.blocks():
                    if block.last < following:
                        continue
                    for first, offset, records in _frames(block.frames):
                        for number, record in enumerate(records, first):
                            if following <= number <= last:
                                yield number, block.offset + offset, record
                                following = number + 1
            except NotWhole as problem:
                if following <= last:
                    raise DamagedJournal(
                        segment.file.path, problem.offset, following, "this is not the whole frame that was written"
                    ) from None
            if following == before and following <= last:
                raise MissingActions(segment.file.path, following, last, "The segment ends before them.")

    def close(self) -> None:
        """Closes the files."""
        while self._segments:
            self._segments.popitem()[1].close()

    def _segment_of(self, index: int) -> Segment:
        place = bisect_right(self._firsts, index) - 1
        if place < 0:
            raise MissingActions(self._basedir, index, None, "They were pruned, or a segment is not there.")
        first = self._firsts[place]
        found = self._segments.get(first)
        if found is None:
            while len(self._segments) >= FILES_MAX:
                self._segments.pop(next(iter(self._segments))).close()
            path = directory.segment_path(self._basedir, first)
            found = self._segments[first] = Segment.open(self._calls, path, self._system, first, write=False)
        return found


def _frames(frames: bytes) -> Iterator[tuple[int, int, list[bytes]]]:
    """Yields the frames of a block that hold actions: the index of the first record, the offset, and the records."""
    offset = 0
    while (found := frame.head(frames, offset)) is not None:
        if not found.is_amendment:
            yield found.first, offset, found.records(frames, offset)
        offset += found.length
