"""The actions of a directory from one point to another, and those that come.

A point is an index or a time. Actions are read as they are asked for: to begin at
a time, only the first action of each later segment is looked at.

What comes is seen by looking at the bytes behind the last action that was read.
A frame counts when it is whole, so one that is being written is seen the next
time. How an action ended is said by the one behind it; that of the newest is not
known yet.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from datetime import datetime
from typing import cast

from coopy.disk import directory, frame
from coopy.disk.fs import Calls, File
from coopy.disk.segment import BLOCK, HEADER, NotWhole, Segment, frames_upto, records_behind
from coopy.errors import DamagedJournal, ForeignDirectory, MissingActions, StorageError, Unreadable
from coopy.ground import action, paths
from coopy.ground.storage import Log
from coopy.past import history
from coopy.past.history import Action
from coopy.past.reading import Reading, point
from coopy.values.codec import decode_joined

Point = int | datetime
INTERVAL_S = 0.2  # People who watch see an action at once; a look at the end of a file costs little.


def actions(reading: Reading, since: Point | None = None, until: Point | None = None) -> Iterator[Action]:
    """The actions from ``since`` to ``until``, both included; to the end. Raises a `StorageError` on reaching damage."""
    after = before_since(reading, since)
    reached = False
    # Actions have nanoseconds, datetimes do not: every action of that microsecond is in.
    latest = action.nanoseconds(until) + 999 if isinstance(until, datetime) else None
    last = until if isinstance(until, int) else None
    clock_from = 0 if latest is None else reading.manifest.clock_from(latest)
    for each in reading.actions(after):
        instant = action.instant_of(each.header)
        if (last is not None and each.index > last) or (latest is not None and instant > latest and each.index >= clock_from):
            return
        # They are in order of time, too, but for where the clock was put back.
        reached = reached or _is_reached(each, since)
        if reached:
            yield each
        if each.index == last:
            return  # What lies behind need not be read.


def before_since(reading: Reading, since: Point | None) -> int:
    """The index behind which to begin; for a time, that before the segment in which it lies."""
    oldest = reading.log.oldest - 1
    if since is None:
        return oldest
    if isinstance(since, int):
        return max(since - 1, oldest)
    earliest = action.nanoseconds(since)
    with paths.reads(reading.basedir):
        firsts = directory.segments(os.listdir(reading.basedir))
    for first in reversed(firsts):
        try:
            begins = next(reading.actions(first - 1), None)
        except StorageError:
            continue  # If it has to be read, that will be said then.
        if begins is not None and action.instant_of(begins.header) < earliest:
            return max(begins.index - 1, oldest)
    return oldest


def last_upto(reading: Reading, until: Point) -> int:
    """Returns the index of the last action not later than a point; that before the oldest if there is none. Raises what `actions` raises, and `UsageError`."""
    index, _, _ = point(until, reading.log.last, reading.manifest)
    if index is None:
        index = before_since(reading, until)
        for each in actions(reading, index + 1, until):
            index = each.index
    return index


def follow(reading: Reading, since: Point | None = None) -> Iterator[Action | None]:
    """The same, and then those that are written, as they come; None when there is none for now. Never ends.

    An action whose outcome was not known when it was given is given again if it turns out that it did not return.
    Raises `MissingActions` if what comes next was deleted before it could be read, or an older directory was put in the place of this
    one, `ForeignDirectory` if it is another system's, and `Unreadable` if the directory was moved or removed, or can't be looked at any
    more.
    """
    newest: Action | None = None
    for newest in actions(reading, since):
        yield newest
    after = reading.log.last
    tail = Tail(reading.basedir, reading.manifest.system, after)
    try:
        while True:
            with paths.reads(reading.basedir):
                try:
                    pages = tail.news()
                except (FileNotFoundError, NotADirectoryError) as error:
                    raise _gone(error, after) from error
                except ForeignDirectory as error:
                    raise ForeignDirectory(
                        f"{reading.basedir}: another system's directory was put in the place of the one that is followed, which was read "
                        f"up to action {after}. Nothing was changed. Follow that one where it is now, or this one anew."
                    ) from error
            if not pages:
                yield None
                time.sleep(INTERVAL_S)
                continue
            ended = decode_joined(pages[0][1])[0][0][action.OUTCOME]
            is_new = newest is not None and newest.index == after and newest.outcome != ended
            if newest is not None and is_new and ended in (action.RAISED, action.WITHDRAWN):
                newest.outcome = ended
                yield newest
            for each in history.actions(cast(Log, Pages(pages)), reading.codec, after):
                after = each.index
                if _is_reached(each, since):
                    newest = each
                    yield each
    finally:
        tail.close()


def _gone(error: OSError, after: int) -> Unreadable:
    return Unreadable(
        error.errno,
        f"{error.strerror}: the directory that is followed was moved or removed. It was read up to action {after}, and nothing was "
        f"changed. Follow it where it is now.",
        error.filename,
    )


def _is_reached(each: Action, since: Point | None) -> bool:
    if isinstance(since, int):
        return each.index >= since
    return since is None or action.instant_of(each.header) >= action.nanoseconds(since)


class Tail:
    """Where a journal ends, as long as somebody else goes on writing it."""

    def __init__(self, basedir: str, system: bytes, after: int) -> None:
        self._basedir = basedir
        self._system = system
        self._last = after
        self._file: File | None = None
        self._offset = 0

    def news(self) -> list[tuple[int, bytes]]:
        """What has been written since: first indexes, and records that are joined.

        Raises OSError, FileNotFoundError if the journal is not there any more.
        """
        pages: list[tuple[int, bytes]] = []
        is_looked_at = False
        if self._file is None:
            self._open()
        while self._file is not None:
            rolled = self._offset > HEADER.size and paths.exists(directory.segment_path(self._basedir, self._last + 1))
            following, data = self._last + 1, self._whole_frames()
            if data:
                pages.append((following, data))
            elif rolled or not (is_looked_at or self._is_where_it_was()):
                # The next one was begun when the one before had all of its actions.
                is_looked_at = not rolled
                self.close()
                self._open()
            else:
                break
        return pages

    def upto(self, index: int, *, whole: bool = False) -> list[tuple[int, bytes]]:
        """Returns what has been written up to an action that surely stands there: first indexes, and records that are joined.

        With ``whole`` they are whole frames: of one that was read in part, all, and the index is that of the first that was not.

        Raises `MissingActions` if it was pruned meanwhile, and a `DamagedJournal` if it does not stand there.
        """
        pages: list[tuple[int, bytes]] = []
        opened = False
        while self._last < index:
            if self._file is None:
                self._open()
                opened = True
            following = self._last + 1
            data = self._whole_frames(index, whole) if self._file is not None else b""
            if data:
                pages.append((following, data))
                opened = False
            elif opened:
                path = directory.segment_path(self._basedir, following)
                raise DamagedJournal(path, self._offset, following, "another process has written it, and it is not there")
            else:
                # It stands in the next segment; or where this one goes on was cut, and written anew.
                self.close()
        return pages

    @property
    def last(self) -> int:
        """Index of the last action that was read."""
        return self._last

    def _is_where_it_was(self) -> bool:
        """Whether the file that is read still has its name: otherwise whatever is written there is not seen here. Raises OSError."""
        assert self._file is not None, "it was opened"
        try:
            return self._file.has_its_name()
        except FileNotFoundError:
            # It may have been pruned since the next one was begun.
            if paths.exists(directory.segment_path(self._basedir, self._last + 1)):
                return False
            raise

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> None:
        """Finds the place behind the last action."""
        firsts = directory.segments(os.listdir(self._basedir))
        first = max((each for each in firsts if each <= self._last + 1), default=None)
        if first is None:
            if firsts:
                raise MissingActions(self._basedir, self._last + 1, firsts[0] - 1, "They were pruned meanwhile.")
            if self._last:
                raise FileNotFoundError(errno.ENOENT, "There is no journal", self._basedir)
            return
        path = directory.segment_path(self._basedir, first)
        segment = Segment.open(Calls(), path, self._system, first, write=False)
        self._offset = HEADER.size
        found = first - 1
        try:
            for block in segment.blocks():
                if block.first > self._last + 1:
                    break
                if block.last < self._last:  # Frame by frame only where it ends.
                    found, self._offset = block.last, block.offset + len(block.frames)
                    continue
                size = frames_upto(block.frames, self._last)[0]
                found = min(block.last, self._last)
                self._offset = block.offset + size
                if size < len(block.frames):
                    break
        except NotWhole:
            pass
        self._file = segment.file
        if found < self._last:
            why = "They were read here before: an older directory, or another one, was put in the place of this one. Follow it anew."
            raise MissingActions(self._basedir, found + 1, self._last, why)

    def _whole_frames(self, upto: int | None = None, whole: bool = False) -> bytes:
        """Those that touch at the offset, which moves behind them; or those at the head of the next block. None that holds an action after ``upto``."""
        assert self._file is not None, "it was opened"
        start = self._offset
        next_block = -(-(start + 1) // BLOCK) * BLOCK if start % BLOCK else start
        for begin in dict.fromkeys((start, next_block)):
            data = self._file.read(begin, BLOCK - begin % BLOCK)
            head = frame.head(data, 0)
            if head is None or not head.first - 1 <= self._last <= head.index:
                continue
            if head.length > len(data):
                data = self._file.read(begin, head.length)
            size, last = frames_upto(data, upto)
            if size:
                self._offset = begin + size
                if size > BLOCK - begin % BLOCK:  # One longer than a block; the next begins another.
                    self._offset = -(-self._offset // BLOCK) * BLOCK
                before, self._last = self._last, last
                # Of actions that were appended together some may have been read.
                return records_behind(data[:size], before) if head.first <= before < head.index and not whole else data[:size]
        return b""


class Pages:
    """Pages as a log that can be read from, which is all that `history.actions` does with one."""

    def __init__(self, pages: list[tuple[int, bytes]]) -> None:
        self._pages = pages

    def read(self, after: int) -> Iterator[tuple[int, bytes]]:
        return iter(self._pages)
