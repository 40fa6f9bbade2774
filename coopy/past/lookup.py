"""Recorded actions found by their indexes, while whoever has the directory open goes on writing it.

`coopy.past.history` reads a log from an action on, for which its newest segment is looked through from its beginning: so a read of one
action costs as much as one of all. Here it is remembered where blocks begin, in a table of two numbers for each, so that an action is found by halves, and one that
was just written by reading on from the last block that is known. Neither writes anything, nor knows what is durable: the caller must
ask only for actions that are, and it is told so by the state (what a state says has been recorded).

A block that is known to begin at an offset begins there for ever: it holds an action that somebody was told of, which no cut of a torn
end takes away.
"""

from __future__ import annotations

import os
import threading
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, cast

from coopy.disk import directory, frame, manifest
from coopy.disk.fs import Calls
from coopy.disk.segment import HEADER, Block, NotWhole, Segment
from coopy.errors import DamagedJournal, MissingActions, UsageError
from coopy.ground import action, paths
from coopy.ground.storage import Log
from coopy.past import history
from coopy.past.history import Action
from coopy.past.trail import Pages
from coopy.values.codec import Codec

FILES_MAX = 8
"""So many segments are kept open: readers at a few places of a long journal open none again and again."""
BLOCKS_MAX = 32
"""So many blocks are kept decoded: about a megabyte each way for readers at a few places."""


class _Part:
    """Of one segment: where those of its blocks begin that were passed."""

    def __init__(self, first: int) -> None:
        self.firsts = array("Q", [first])
        self.offsets = array("Q", [HEADER.size])

    def key(self, index: int) -> tuple[int, int]:
        """Returns the first action, and the offset, of the last block that is known and begins with an action or one before it."""
        place = bisect_right(self.firsts, index) - 1
        return self.firsts[place], self.offsets[place]

    def block(self, segment: Segment, index: int) -> Block | None:
        """Returns the block that holds an action; None if it is not in this segment."""
        first, offset = self.key(index)
        segment.file.look()
        try:
            for block in segment.blocks(offset, first):
                begins = _begins(block)
                if begins > self.firsts[-1]:
                    self.firsts.append(begins)
                    self.offsets.append(block.offset)
                if block.last >= index:
                    return block
        except NotWhole:
            pass  # Here it ends, or goes on in another segment. If the action should be here, the caller says so.
        return None


class _Decoded:
    """The actions of a block, of which each is decoded when it is asked for."""

    def __init__(self, records: list[tuple[int, bytes, str | None, Any]], codec: Codec) -> None:
        self.first = records[0][0]
        self.last = records[-1][0]
        self._records = records
        self._codec = codec
        self._made: list[Action | None] = [None] * len(records)

    def action(self, index: int) -> Action:
        place = index - self.first
        found = self._made[place]
        if found is None:
            found = self._made[place] = history.decoded(*self._records[place], self._codec)
        return found


def _begins(block: Block) -> int:
    """Returns the first action that is in a block: not the one whose amendment may begin it, which is in the block before."""
    head = frame.head(block.frames, 0)
    assert head is not None, "a block begins with a whole frame"
    return block.first + head.is_amendment


class Lookup:
    """Finds recorded actions of a directory by their indexes. May be used by several threads. Raises a `StorageError`, `UsageError`."""

    def __init__(self, basedir: str) -> None:
        self._basedir = basedir
        self._calls = Calls()
        with paths.reads(basedir):
            found = manifest.read(self._calls, basedir)
        if found is None:
            raise UsageError(f"{basedir}: there is no coopy.json, so no journal to read. Nothing was changed.")
        self._system = found.system
        self.system: str = found.system.hex()
        """Id of the system, which no other system has."""
        self._codec = Codec(object)
        self._lock = threading.Lock()
        self._firsts: list[int] = []
        self._parts: dict[int, _Part] = {}
        self._segments: OrderedDict[int, Segment] = OrderedDict()
        self._newest: _Decoded | None = None
        self._blocks: OrderedDict[tuple[int, int], _Decoded] = OrderedDict()

    def actions(self, first: int, last: int) -> Iterator[Action]:
        """Yields the actions from ``first`` to ``last``, both included, which must be durable.

        Raises `MissingActions` if they were pruned, `DamagedJournal` if they do not stand where they should.
        """
        while first <= last:
            found = self._block(first, last)
            for index in range(first, min(last, found.last) + 1):
                yield found.action(index)
            first = found.last + 1

    def action(self, index: int) -> Action:
        """Returns one action. Raises what `actions` raises."""
        # Whoever reads on is mostly in the block of the last time.
        found = self._newest
        if found is None or not found.first <= index <= found.last:
            found = self._block(index, index)
        return found.action(index)

    def page(self, index: int) -> tuple[int, bytes]:
        """Returns the block with an action as a log gives it: the first action that begins there, and its records, joined.

        Raises what `actions` raises.
        """
        with self._lock, paths.reads(self._basedir):
            begins, block = self._stored(index)
            return begins, block.frames

    def close(self) -> None:
        """Closes the files."""
        with self._lock:
            for segment in self._segments.values():
                segment.close()
            self._segments.clear()

    def _block(self, index: int, last: int) -> _Decoded:
        """Returns the actions of the block with an action; at least up to ``last``, if that is in it, too."""
        self._newest = found = self._found(index, last)
        return found

    def _found(self, index: int, last: int) -> _Decoded:
        with self._lock, paths.reads(self._basedir):
            part, _ = self._part(index)
            first, _ = key = part.key(index)
            kept = self._blocks.get(key)
            # The last block that is known of a segment may have grown.
            if kept is not None and kept.last >= (last if first == part.firsts[-1] else index):
                self._blocks.move_to_end(key)
                return kept
            begins, block = self._stored(index)
            pages = cast(Log, Pages([(begins, block.frames)]))
            records = [each for each in history.undecoded(pages, begins - 1) if each[3] is not None]
            found = self._blocks[begins, block.offset] = _Decoded(records, self._codec)
            assert found.first <= index <= found.last, "it was looked for by what its frames say"
            while len(self._blocks) > BLOCKS_MAX:
                self._blocks.popitem(last=False)
            return found

    def _stored(self, index: int) -> tuple[int, Block]:
        """Returns the block that an action is in, and the first action that begins there."""
        part, segment = self._part(index)
        block = part.block(segment, index)
        if block is None:
            self._firsts = []  # Another segment may have begun.
            part, segment = self._part(index)
            block = part.block(segment, index)
        if block is None:
            raise DamagedJournal(segment.file.path, part.offsets[-1], index, "it was recorded, and is not there")
        return _begins(block), block

    def _part(self, index: int) -> tuple[_Part, Segment]:
        """Returns the segment that an action is in, as far as is known which there are."""
        if not self._firsts:
            self._firsts = directory.segments(os.listdir(self._basedir))
        place = bisect_right(self._firsts, index) - 1
        if place < 0:
            raise MissingActions(self._basedir, index, self._firsts[0] - 1 if self._firsts else None, "They were pruned.")
        first = self._firsts[place]
        segment = self._segments.get(first)
        if segment is None:
            path = directory.segment_path(self._basedir, first)
            if not paths.exists(path):
                self._firsts = []
                raise MissingActions(path, index, None, "They were pruned meanwhile.")
            segment = self._segments[first] = Segment.open(self._calls, path, self._system, first, write=False)
            while len(self._segments) > FILES_MAX:
                self._segments.popitem(last=False)[1].close()
        self._segments.move_to_end(first)
        return self._parts.setdefault(first, _Part(first)), segment


def instant_of(found: Action) -> int:
    """Returns when an action happened, in nanoseconds since 1970-01-01 UTC."""
    return action.instant_of(found.header)
