"""The journal: segments in order, appended to at the end. A `coopy.ground.storage.Log`. It has more than 500 lines because
appending, cutting a torn end, and rolling over keep the same few offsets true.

Before the first append the last segment is cut at the first frame that is not
whole, and synced: a second crash must never join a new frame to the torn end of
an old one. Not when it is opened: nothing is cut before all there is has been
read, as what is wrong further up may need all that lies there. It refuses where
whole frames further on show that the one that is not whole had been kept: that
is damage, not a torn end.

``durability="sync"``: `wait` returns when the disk holds the index, sharing
syncs. ``"buffered"``: what is appended is with the operating system, which is
enough to survive the end of the process, and `wait` returns at once.

What a killed process has written is all there, unlike after a power cut: if the
machine has not been started since, what is not whole and has whole frames after it
is damage, too. What is cut off is kept in a directory aside-<time> beside it.

Appends come from one thread at a time (the engine's lock sees to that).

An exception may come between any two steps (Ctrl-C, a full disk, no memory for a
map). So nothing fits (`_block_end` is -1) from before a step that changes the end
until after it, and whoever appends next looks for the end anew: `_find_end`. Up to
``last``, and no further, what stands there counts; a segment that has got its name
counts, too.
"""

from __future__ import annotations

import errno
import functools
import itertools
import mmap
import os
import threading
import time
import weakref
from array import array
from collections.abc import Callable, Generator, Iterator
from itertools import accumulate
from typing import Any, NamedTuple, NoReturn, cast
from zlib import crc32 as _crc32

from coopy.disk import directory, dirlock, frame
from coopy.disk.commit import GroupCommit
from coopy.disk.dirlock import DirectoryLock
from coopy.disk.fs import Calls
from coopy.disk.segment import BLOCK, Block, NotWhole, Segment, frames_upto, records_behind
from coopy.errors import DamagedJournal, JournalError, MissingActions, SystemClosed, copy_of
from coopy.ground.interruption import OUTSIDE, origin
from coopy.ground.log import warn
from coopy.ground.paths import exists, reads
from coopy.ground.raised import on_failure
from coopy.ground.record import WRAP

SEGMENT_BYTES = 64 * 1024 * 1024
"""A segment is forgotten as a whole: much smaller ones would be many files, much larger ones would keep old actions long."""
FIRST_BYTES = 1024 * 1024  # A system that is just begun, or small for ever, takes no more room than this.
GROWTH_BYTES_MAX = 16 * 1024 * 1024
"""Room is made in steps that double up to this: a longer one would hold up the call that needs it."""
CHECKED_S = 0.05
"""A sync looks whether the directory is where it was if the last look was so long ago."""
_AGAIN_BYTES = 1024 * 1024  # It is read again in pieces, so that a large segment is not in memory twice.
_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN})
"""Errors that say more of the process than of the disk: what raised one may be tried again, also a sync."""

_monotonic = time.monotonic
_head = frame.HEAD.pack
_tail = frame.TAIL.pack
_SEED = frame.SEED
_OVERHEAD = frame.OVERHEAD


class Journal:
    """The segments of one directory.

    With ``write=False`` nothing is changed and the directory may be in use; the
    journal then ends at the last frame that is whole, and damage behind it is
    raised by who reads so far. ``floor`` is the index that a snapshot has already
    reached, None if there is no snapshot: the journal goes on behind it, even if a
    power cut took its own end. ``grown`` is told of bytes, whenever a block is begun. ``held``
    is the lock of the directory, which is asked now and then whether it still is there.

    Raises a `StorageError`, OSError.
    """

    # Slots are read faster than a large instance dictionary.
    __slots__ = (
        "last",
        "settled",
        "timed",
        "firsts",
        "_amended",
        "_area",
        "_aside",
        "_basedir",
        "_behind",
        "_block_end",
        "_buffered",
        "_calls",
        "_checked",
        "_commit",
        "_damage",
        "_failure",
        "_full",
        "_grown",
        "_held",
        "_is_ahead",
        "_is_torn",
        "_limit",
        "_same_boot",
        "_segment",
        "_segment_bytes",
        "_system",
        "_tail",
        "_writes",
        "__weakref__",
    )

    _tail: int
    """Where the next frame goes, or the newest one stands: see `_find_end`."""
    _limit: int
    """Where the block ends that the next frame may go into."""
    _block_end: int
    """The same while the end is known; else -1, and nothing fits."""

    def __init__(
        self,
        calls: Calls,
        basedir: str,
        system: bytes,
        *,
        write: bool = True,
        durability: str = "sync",
        segment_bytes: int = SEGMENT_BYTES,
        floor: int | None = None,
        grown: Callable[[int], None] | None = None,
        held: DirectoryLock | None = None,
    ) -> None:
        self._calls = calls
        self._basedir = basedir
        self._system = system
        self._buffered = durability == "buffered"
        self._segment_bytes = max(segment_bytes, FIRST_BYTES)
        self._grown = grown
        self._failure: OSError | None = None
        self._damage: DamagedJournal | None = None
        self._amended = False
        self._aside: list[int] = []
        self._full: list[Segment] = []
        self._behind: threading.Thread | None = None
        self._is_torn = self._is_ahead = False
        self._area: mmap.mmap | None = None
        self._tail = self._limit = self._block_end = -1
        self._held = held
        self._checked = 0.0
        self.timed: Callable[[float], object] | None = None
        """Given how long each sync took that a caller waited for, in seconds. Raises nothing."""
        self._writes = write
        self._same_boot = dirlock.is_this_boot(dirlock.earlier_boot(basedir) if held is None else held.earlier_boot)
        self.firsts = directory.segments(calls.names(basedir))
        """The first index of each segment, in order."""
        if self.firsts:
            self._open_tail(write, floor or 0)
        elif write and floor is None:
            self.last = 0
            self._segment = self._begin_segment(1, FIRST_BYTES)
            self._start_at(64)
            self._block_end = self._limit
        else:
            raise MissingActions(
                basedir, (floor or 0) + 1, None, "There is no segment, and every system has one. Put them back from a backup."
            )
        self.settled = self.last
        # Without a cycle: a journal that is closed goes with the last reference to it. Whoever waits has it.
        myself: Any = weakref.ref(self)
        self._commit = GroupCommit(lambda: cast(int, myself()._sync()), self.last)

    @property
    def synced(self) -> int:
        return self._commit.durable

    @property
    def is_whole(self) -> bool:
        """Whether its end can be appended to as it is."""
        return not self._is_torn

    @property
    def oldest(self) -> int:
        """Index of the first action that is there; one more than the last if none is."""
        return self.firsts[0] if self.firsts else self.last + 1

    # -- appending

    def append(self, record: bytes) -> int:
        index = self.last + 1
        offset = self._tail
        block_end = self._block_end
        end = offset + _OVERHEAD + len(record)
        if end > block_end:
            offset = self._make_room(len(record), roll=True)
            block_end = self._block_end
            end = offset + _OVERHEAD + len(record)
        # As `frame.pack`, without the call: this is the hot path.
        data = _head(0x43, 33, len(record), index, self._commit.durable) + record + b"J"
        data += _tail(_crc32(data, _SEED), 0x30)
        self._block_end = -1
        try:
            if self._area is not None:
                self._area[offset:end] = data
            else:
                self._segment.file.write(offset, data)
        except BaseException as error:
            self._undo(offset, len(data), block_end, error)
        self.last = index
        self._tail = end
        self._amended = False
        if self._buffered:
            self.settled = index
        self._block_end = block_end
        if self._failure is not None:
            self._stop()  # Another thread has met it meanwhile.
        return index

    def append_together(self, joined: bytes, sizes: array[int]) -> int:
        """Appends records as one frame: whatever comes, all of them are there or none. Returns where it begins in its segment."""
        length = frame.length_together(len(sizes), len(joined))
        offset = self._tail
        if offset + length > self._block_end:
            offset = self._make_room(length - _OVERHEAD, roll=True)
        data = frame.pack_together(joined[len(WRAP) :], sizes, self.last + 1, self._commit.durable)
        self._put(offset, data, self.last + len(sizes))
        return offset

    def append_all(self, joined: bytes, sizes: array[int]) -> None:
        ends = [0, *accumulate(sizes)]
        done = 0
        while done < len(sizes):
            done += self._append_block(joined, sizes, ends, done)

    def _append_block(self, joined: bytes, sizes: array[int], ends: list[int], done: int) -> int:
        """Appends the records behind the first ``done`` that go into one block, with one write: all, or none. How many."""
        offset = self._tail
        if offset + frame.length_together(1, sizes[done]) > self._block_end:
            offset = self._make_room(sizes[done] - len(WRAP), roll=True)
        room = self._block_end - offset
        # Read behind `_make_room`: the first frame of a segment says that the one before is synced.
        synced = self._commit.durable
        packed = []
        at = done
        while at < len(sizes):
            upto = min(at + frame.TOGETHER_MAX, len(sizes))
            while (length := frame.length_together(upto - at, ends[upto] - ends[at])) > room and upto > at + 1:
                upto -= 1
            if length > room:
                break
            records = joined[ends[at] + len(WRAP) : ends[upto]]
            packed.append(frame.pack_together(records, sizes[at:upto], self.last + 1 + at - done, synced))
            room -= length
            at = upto
        self._put(offset, b"".join(packed), self.last + at - done)
        return at - done

    def _put(self, offset: int, frames: bytes, last: int) -> None:
        """Writes frames for which there is room: all, or none."""
        end, block_end = offset + len(frames), self._block_end
        self._write(self._area, offset, frames, block_end)
        self.last = last
        self._tail = end
        self._amended = False
        if self._buffered:
            self.settled = last
        self._block_end = block_end
        if self._failure is not None:
            self._stop()

    def amend(self, record: bytes) -> None:
        if self._amended or self.last < self._segment.first:
            return
        offset = self._tail
        if offset + frame.OVERHEAD + len(record) > self._block_end:
            offset = self._make_room(len(record), roll=False)
            if self._amended or self.last < self._segment.first:
                return  # So it turned out when the end was looked for anew.
        data, block_end = frame.pack(record, self.last, self._commit.durable), self._block_end
        self._write(None, offset, data, block_end)
        self._amended = True
        self._tail = offset + len(data)
        self._block_end = block_end

    def _write(self, area: mmap.mmap | None, offset: int, data: bytes, block_end: int) -> None:
        """Writes frames, through memory if there is an ``area``. Until the caller has put ``_block_end`` back, the end is looked for anew."""
        self._block_end = -1
        try:
            if area is not None:
                area[offset : offset + len(data)] = data
            else:
                self._segment.file.write(offset, data)
        except BaseException as error:
            self._undo(offset, len(data), block_end, error)

    def _undo(self, offset: int, size: int, block_end: int, error: BaseException) -> NoReturn:
        """Cuts off a frame that was not written whole, and raises the reason."""
        if self._erase(offset, size):
            # Room was made for this frame. If it is longer than a block, others must not go on to where it would have ended.
            self._block_end = self._limit = min(block_end, offset // BLOCK * BLOCK + BLOCK)
        if isinstance(error, OSError):
            raise self._refused(error) from error
        raise error

    def _erase(self, offset: int, size: int) -> bool:
        """Puts back the zeros of what was not written whole, and looks whether they are there. Whether they are."""
        try:
            self._segment.file.write(offset, bytes(size))
            if any(self._segment.file.read(offset, size)):
                raise OSError(5, "a partly written frame could not be cut off", self._segment.file.path)
        except OSError as error:
            self._fail(error)
        return self._failure is None

    def _make_room(self, size: int, *, roll: bool) -> int:
        """Goes on in the next block, in the next segment if this one is full. Returns the offset."""
        if self.settled < 0:
            self._refuse()
        size += frame.OVERHEAD
        try:
            if self._held is not None:
                self._held.check()
            if self._is_torn:
                self._mend()
            else:
                self._make_sure()
            self._block_end = -1
            start, end = self._tail, self._limit
            if start + size > end:
                start, end = self._next_block(size, roll)
                self._start_at(start)
                self._limit = end
                if self._grown is not None:
                    self._grown(end - start)
            self._block_end = end
        except OSError as error:
            raise self._refused(error) from error
        return start

    def _next_block(self, size: int, roll: bool) -> tuple[int, int]:
        """Where a frame of that size goes that does not fit into this block, and where its block ends; there is room then."""
        fresh = self._tail == max(64, self._limit - BLOCK)
        start = self._tail if fresh else -(-self._limit // BLOCK) * BLOCK
        end = max(start + size, start // BLOCK * BLOCK + BLOCK)
        allocated = self._segment.file.size
        if roll and end > self._segment_bytes and self.last >= self._segment.first:
            self._roll_over(size + 64)
            return 64, max(64 + size, BLOCK)
        if end > allocated:
            grown = min(2 * allocated, allocated + GROWTH_BYTES_MAX, self._segment_bytes)
            self._segment.file.allocate(max(grown, -(-end // BLOCK) * BLOCK))
        return start, end

    def _roll_over(self, size: int) -> None:
        # What the old segment holds must be on disk before a frame of the new one is: otherwise its end
        # could be missing while later actions are there.
        self._commit.exclusive(self._sync_before_the_next)
        size = -(-max(size, FIRST_BYTES) // BLOCK) * BLOCK
        path = directory.segment_path(self._basedir, self.last + 1)
        size = min(max(size, GROWTH_BYTES_MAX), max(size, self._segment_bytes))
        new = Segment.prepare(self._calls, path, self._system, self.last + 1, size)
        with on_failure(new.discard_unless_at, path):
            new.file.map()
            self._appear(path, new.appear)
        self._take(new)

    def _sync_before_the_next(self) -> None:
        if not self._buffered:
            self._made_durable(self._segment.file.sync)
            # The first frame of the new segment is to say so.
            self._commit.durable = max(self._commit.durable, self.last)

    def _appear(self, path: str, appear: Callable[[str], None]) -> None:
        try:
            appear(path)
        except OSError as error:
            if error.errno not in _PASSING and origin(error) != OUTSIDE and _may_be_there(path):
                # The name is there and not on the disk: a sync that has failed can't be trusted twice.
                self._fail(error)
            raise

    def _take(self, new: Segment) -> None:
        """Goes on in a segment that has appeared. May be done twice."""
        if self._segment.first != new.first:
            if self._buffered:
                self._full.append(self._segment)
            self._segment = new
        if self.firsts[-1] != new.first:
            self.firsts.append(new.first)
        if self._buffered and self._full:
            # In the background, so that later damage to it is known as such. In order: what is said to be synced must
            # be so with all before it.
            before = self._behind
            self._behind = threading.Thread(target=self._sync_full, args=(before, new.first - 1), daemon=True)
            try:
                self._behind.start()
            except (RuntimeError, MemoryError):  # There are no more threads to be had.
                self._sync_full(before, new.first - 1)

    def _sync_full(self, before: threading.Thread | None, last: int) -> None:
        """Syncs the segments that are full."""
        if before is not None and before.is_alive():
            before.join()
        try:
            while self._full:
                self._full[0].file.sync()
                del self._full[0]
            if self._failure is None:
                self._commit.durable = max(self._commit.durable, last)
        except OSError as error:
            self._fail(error)

    # -- waiting

    def wait(self, index: int) -> None:
        if index <= self._commit.durable:
            return
        if self.settled < 0:
            self._refuse()
        if self._buffered:
            return
        try:
            self._commit.wait(index)
        except OSError as error:
            if origin(error) == OUTSIDE:
                raise  # As in `GroupCommit._lead`: the disk has refused nothing, and the call counts.
            raise self._refused(error) from error

    def _sync(self) -> int:
        # Read in this order: a segment that begins in between was begun after the sync of the one before.
        last = self.last
        segment = self._segment
        if self.settled < 0 and self._commit.durable >= last:
            return last  # It was closed while this caller came to the gate, and closing has synced all.
        if self._held is not None and (now := _monotonic()) > self._checked:
            # Whether the directory is where it was: not at each sync, which takes no longer than that.
            self._made_durable(self._held.check)
            self._checked = now + CHECKED_S
        began = 0.0 if self.timed is None else _monotonic()
        self._made_durable(segment.file.sync)
        if not self._buffered and self.settled >= 0:
            self.settled = last
        if self.timed is not None and began:
            self.timed(_monotonic() - began)
        return last

    # -- reading

    def find_end(self) -> None:
        """Finds the end anew, if something was raised while it was changed: ``last`` is right then. Raises `JournalError`."""
        try:
            self._make_sure()
        except OSError as error:
            raise self._refused(error) from error

    def read(self, after: int) -> Iterator[tuple[int, bytes]]:
        self.find_end()
        last, following = self.last, after + 1
        if after < last:
            following = yield from self._read(following)
        if self._damage is not None:
            raise self._damage
        if following <= last:
            raise MissingActions(
                directory.snapshot_path(self._basedir, last),
                following,
                last,
                "The journal ends before them: this snapshot alone holds what they did. If it is damaged, put it back "
                "from a backup.",
            )

    def _read(self, following: int) -> Generator[tuple[int, bytes], None, int]:
        """Yields as `read` does, and returns the index that would be the next."""
        after = following - 1
        place = max((i for i, first in enumerate(self.firsts) if first <= following), default=None)
        if place is None:
            first = self.firsts[0] if self.firsts else None
            raise MissingActions(self._basedir, following, first - 1 if first else None, "Put the segments back from a backup.")
        for first in self.firsts[place:]:
            if first > following:
                raise MissingActions(
                    directory.segment_path(self._basedir, first), following, first - 1, "A segment, or its end, is not there."
                )
            for block in self._blocks(first):
                if block.last <= after:
                    continue
                data, index = block.frames, block.first
                if index <= after:
                    data, index = records_behind(data, after), after + 1
                yield index, data
                following = block.last + 1
        return following

    def _blocks(self, first: int) -> Iterator[Block]:
        """The blocks of a segment, in the last one only up to the tail."""
        is_last = first == self.firsts[-1]
        segment = self._segment if is_last else self._open(first, write=False)
        try:
            with reads(segment.file.path):
                for block in segment.blocks():
                    if is_last and block.offset + len(block.frames) >= self._tail:
                        if block.offset < self._tail:
                            yield block._replace(frames=block.frames[: self._tail - block.offset])
                        return
                    yield block
        except NotWhole as problem:
            if not is_last or problem.offset < self._tail:
                raise DamagedJournal(
                    segment.file.path, problem.offset, problem.index, "this is not the whole frame that was written"
                ) from None
        finally:
            if not is_last:
                segment.close()

    def reader(self) -> Journal:
        # With files of its own: those of this one are closed and replaced when it rolls over.
        return Journal(self._calls, self._basedir, self._system, write=False, floor=self.last)

    def where(self, index: int) -> str:
        for first in reversed(self.firsts):
            if first > index:
                continue
            path = directory.segment_path(self._basedir, first)
            offset = None
            for block in self._blocks(first):
                offset = block.offset + frames_upto(block.frames, index - 1)[0]
                if block.last >= index:
                    # The next may begin with its amendment.
                    break
            return f"{path}, byte {offset}"
        return self._basedir

    def bytes_since(self, index: int) -> int:
        """About how many bytes the journal has behind an action: as if all of one segment were of one size."""
        found = 0
        for first, following in zip(self.firsts, [*self.firsts[1:], self.last + 1], strict=True):
            if following <= max(first, index + 1):
                continue  # It is empty, or was before.
            if first == self.firsts[-1]:
                size = self._tail
            else:
                size = os.stat(directory.segment_path(self._basedir, first)).st_size
            found += size * (following - max(first, index + 1)) // (following - first)
        return found

    # -- opening and closing

    def _open_tail(self, write: bool, floor: int) -> None:
        """Finds the end of the journal. Where that has to be mended, the first append does it."""
        *before, end = self._unsynced_ends(write)
        synced = max(each.synced for each in (*before, end))
        for each in before:
            if write:
                # A process that was killed has left it to the operating system.
                each.write_again(synced)
                each.segment.file.sync()
            each.segment.close()
        self._segment, self._damage = end.segment, end.damage
        if end.damage is not None and write:
            end.segment.close()
            raise end.damage
        final = end.final
        # Behind what a snapshot alone holds there is no action to amend.
        self._amended = end.last < floor or (final is not None and _ends_amended(final, end.earlier))
        self._start_at(end.offset)
        if final is not None and self._tail > final.offset // BLOCK * BLOCK + BLOCK:
            # A frame that leaves its block is alone behind where it begins; the next begins a block.
            self._limit = self._tail
        self.last = max(end.last, floor)
        if not write:
            return
        end.write_again(synced)
        self._segment.file.sync()
        self._is_ahead = end.last < floor
        blank = self._segment.is_blank_from(self._tail)
        self._is_torn = bool(self._aside) or not blank or self._is_ahead or self._whole_blocks() > self._segment.file.size
        if not self._is_torn:
            self._segment.file.map()
            self._area = self._segment.file.area()
            self._block_end = self._limit

    def _unsynced_ends(self, write: bool) -> list[_End]:
        """The segments that nothing says were synced whole, up to the one that the journal ends with."""
        ends: list[_End] = []
        for first in reversed(self.firsts):
            ends.insert(0, self._end_of_segment(first, write))
            if max(end.synced for end in ends) >= first - 1:
                break
        # Each was begun behind a whole one. One that is not whole now is where a power cut left the end.
        for number, (end, behind) in enumerate(itertools.pairwise(ends), 1):
            if end.last < behind.segment.first - 1 and end.damage is None:
                if self._same_boot:
                    ends[number - 1] = end._replace(damage=self._damage_behind(end))
                    continue
                for each in reversed(ends[number:]):
                    each.segment.close()
                    self._aside.append(self.firsts.pop())
                return ends[:number]
        return ends

    def _make_sure(self) -> None:
        """Sees to it that the end is known, if it can be appended to."""
        if self._block_end < 0 <= self.settled and self._writes and not self._is_torn:
            self._find_end()
            self._block_end = self._limit

    def _find_end(self) -> None:
        """Finds the end anew, after something was raised while it was changed. Raises OSError; then it may be tried again."""
        path = directory.segment_path(self._basedir, self.last + 1)
        if self._segment.first <= self.last and exists(path):
            # A roll-over has got as far as the name.
            new = self._open(self.last + 1, write=True)
            new.file.map()
            self._appear(path, lambda _: self._calls.sync_directory(self._basedir))
            self._take(new)
        file = self._segment.file
        file.look()
        if self._segment.first > self.last:
            self._take(self._segment)
            self._start_at(64)
        # The frames that were written last may not have moved the tail.
        while (found := self._frame_at(self._tail)) is not None and found.index <= self.last:
            self._amended = found.is_amendment
            self._tail += found.length
            self._limit = max(self._limit, self._tail)
        self._limit = min(self._limit, self._tail // BLOCK * BLOCK + BLOCK)
        file.map()
        self._area = file.area()
        at = self._tail
        while at < file.size:
            size = min(BLOCK, file.size - at)
            if any(file.read(at, size)) and not self._erase(at, size):
                assert self._failure is not None, "what can't be erased has failed"
                raise self._failure
            at += size
        if self._buffered and self.settled >= 0:
            self.settled = self.last

    def _frame_at(self, offset: int) -> frame.Frame | None:
        """The whole frame at an offset of the last segment."""
        file = self._segment.file
        data = file.read(offset, BLOCK)
        found = frame.head(data, 0)
        if found is None or found.length > file.size - offset:
            return None
        return frame.whole(data if found.length <= len(data) else file.read(offset, found.length), 0)

    def _mend(self) -> None:
        """Makes the end that was found one that can be appended to. Raises OSError; where no sync failed it may be tried again."""
        old = self._segment
        if self._aside or not old.is_blank_from(self._tail):
            self._put_aside()
        # Of the size that it has now: this may have been tried before.
        old.file.look()
        if not old.is_blank_from(self._tail):
            warn("%s: cut at byte %d, where its last write was torn", old.file.path, self._tail)
            old.file.cut(self._tail)
        old.file.allocate(self._whole_blocks())
        self._made_durable(old.file.sync)
        if self._is_ahead:
            first = self.last + 1
            path = directory.segment_path(self._basedir, first)
            new = self._open(first, write=True) if exists(path) else self._begin_segment(first, FIRST_BYTES)
            self._segment = new
            if self.firsts[-1] != first:
                self.firsts.append(first)
            self._start_at(64)
        self._segment.file.map()
        self._area = self._segment.file.area()
        self._is_ahead = self._is_torn = False
        if self._held is not None:
            self._held.mark()

    def _put_aside(self) -> None:
        """Keeps what is cut off: nobody may need it, but it is not ours to destroy."""
        torn, data = self._segment, b""
        if not torn.is_blank_from(self._tail):
            data = torn.file.read(self._tail, torn.file.size - self._tail).rstrip(b"\0")
        folder = directory.make_aside(self._calls, self._basedir)
        if data:
            name = f"{os.path.basename(torn.file.path)}.from-{self._tail}"
            directory.write_whole(self._calls, os.path.join(folder, name), data)
            warn("%s: its end, from byte %d on, is not whole; it is kept in %s", torn.file.path, self._tail, folder)
        for first in list(self._aside):
            path = directory.segment_path(self._basedir, first)
            if exists(path):
                warn("%s: moved to %s, as the segment before it was torn", path, folder)
                self._calls.rename(path, os.path.join(folder, os.path.basename(path)))
            self._aside.remove(first)
        for each in (folder, self._basedir):
            self._made_durable(functools.partial(self._calls.sync_directory, each))

    def _whole_blocks(self) -> int:
        """What the last segment has to be long, whatever has become of it: an append must not run out of it."""
        return -(-max(self._segment.file.size, self._tail + 1) // BLOCK) * BLOCK

    def _made_durable(self, sync: Callable[[], None]) -> None:
        try:
            sync()
        except OSError as error:
            if origin(error) != OUTSIDE:
                self._fail(error)
            raise

    def _end_of_segment(self, first: int, write: bool, seen: DamagedJournal | None = None) -> _End:
        segment = self._open(first, write=write)
        final: Block | None = None
        earlier: Block | None = None
        damage = None
        begins = []
        try:
            for block in segment.blocks():
                earlier, final = final, block
                begins.append((block.first, block.offset))
        except NotWhole as problem:
            if segment.proves(problem.offset, problem.index, self._same_boot):
                damage = _damage(segment, problem.offset, problem.index)
        if damage is not None and not write and (seen is None or seen.offset != damage.offset):
            # Somebody may have appended while it was read. What is damaged is so again, and at the same place.
            segment.close()
            return self._end_of_segment(first, write, damage)
        return _End(segment, final, earlier, damage, begins)

    def _damage_behind(self, end: _End) -> DamagedJournal:
        """The damage of a segment that lost its end, although no power was cut."""
        return _damage(end.segment, end.offset, end.last + 1)

    def _start_at(self, offset: int) -> None:
        self._tail = offset
        self._limit = offset // BLOCK * BLOCK + BLOCK
        self._area = self._segment.file.area()

    def _open(self, first: int, *, write: bool) -> Segment:
        path = directory.segment_path(self._basedir, first)
        with reads(path):
            try:
                os.lstat(path)
            except FileNotFoundError:
                # It was there when the directory was looked at.
                raise MissingActions(
                    path, first, None, "It was pruned meanwhile, or somebody removed it; open the directory again."
                ) from None
            return Segment.open(self._calls, path, self._system, first, write=write)

    def _begin_segment(self, first: int, size: int) -> Segment:
        """Makes a segment appear, with no other to be left before it."""
        path = directory.segment_path(self._basedir, first)
        segment = Segment.create(self._calls, path, self._system, first, size)
        segment.file.map()
        if not self.firsts:
            self.firsts.append(first)
        return segment

    def forget(self, upto: int) -> None:
        while len(self.firsts) > 1 and self.firsts[1] <= upto + 1:
            try:
                self._calls.remove(directory.segment_path(self._basedir, self.firsts[0]))
            except FileNotFoundError:
                # Whoever removed it last was interrupted before it was noted. Or the whole directory is gone.
                if self._held is not None:
                    self._held.check()
            del self.firsts[0]

    def close(self, amendment: bytes | None = None) -> None:
        if self.settled < 0 and self._failure is None:
            self.abandon()  # It was closed, or closing it was interrupted in its last steps.
            return
        if not self._writes:
            # Who only looks makes nothing durable, and does not wait for the disk, nor fail with it.
            self.abandon()
            return
        try:
            if self._failure is None:
                self._commit.exclusive(self._finish)
                if amendment is not None:
                    # It says that all before it is synced: damage will be known as such.
                    try:
                        self.amend(amendment)
                    except JournalError as error:
                        warn("%s: how the last action ended is not recorded, as after a kill: %s", self._basedir, error)
                    else:
                        self._commit.exclusive(self._finish)
        except OSError:
            self.abandon()
            raise
        # An interrupt before this leaves it open: others may wait for what is durable when this is gone on with.
        self.abandon()

    def settle(self) -> None:
        if self.settled < 0:
            self._refuse()
        if self._buffered:
            return
        try:
            self.flush()
        except OSError as error:
            raise self._refused(error) from error

    def flush(self) -> None:
        """Makes all there is durable, whatever ``durability`` says. Raises OSError; then the log is closed for good."""
        self._commit.exclusive(self._finish)

    def abandon(self) -> None:
        """Closes the files without a word to the disk: what a forked child does with its parent's journal."""
        self._stop()
        self._area = None
        self._segment.close()

    def _finish(self) -> None:
        if self._behind is not None and self._behind.is_alive():
            self._behind.join()
        if self._full:
            self._sync_full(None, self._segment.first - 1)
        if self._failure is not None:
            raise copy_of(self._failure)
        self._commit.durable = self._sync()

    def _stop(self) -> None:
        # No frame fits any more, and nobody is settled: the hot path needs no other test.
        self.settled = -1
        self._block_end = -1

    def _fail(self, error: OSError) -> None:
        """A failed sync can't be trusted twice, nor an end that could not be cut off."""
        self._failure = copy_of(error)  # Without what was being done: that holds a state, and this stays.
        self._stop()

    def _refused(self, error: OSError) -> JournalError:
        state = "Nothing was recorded and nothing has changed; free the cause and call again."
        if self._failure is not None:
            state = (
                f"What was acknowledged is safe up to action {self._commit.durable}; what came after is uncertain. "
                f"Close the system and open it again."
            )
        message = f"{os.strerror(error.errno) if error.errno else error}. {state}"
        return JournalError(error.errno, message, self._segment.file.path)

    def _refuse(self) -> NoReturn:
        if self._failure is not None:
            raise self._refused(self._failure)
        if self._held is not None and self._held.pid != os.getpid():
            raise SystemClosed(
                f"the system in {self._basedir} is open in process {self._held.pid}, from which this one was forked: it stays with "
                f"the process that opened it. Open it after the fork, in the one process that is to use it, or open it with shared=True."
            )
        raise SystemClosed(f"the system in {self._basedir} is closed. Open it again to use it.")


class _End(NamedTuple):
    """How a segment ends: its last two blocks, the damage if what is behind them is damage, and where all its blocks begin."""

    segment: Segment
    final: Block | None
    earlier: Block | None
    damage: DamagedJournal | None
    begins: list[tuple[int, int]]
    """The first index of each block, and its offset."""

    @property
    def offset(self) -> int:
        """Where its frames end."""
        return 64 if self.final is None else self.final.offset + len(self.final.frames)

    @property
    def last(self) -> int:
        return self.segment.first - 1 if self.final is None else self.final.last

    @property
    def synced(self) -> int:
        """Up to this index, its frames say, all was on disk."""
        return -1 if self.final is None else self.final.synced

    def write_again(self, synced: int) -> None:
        """Writes what is not known to be on disk once more, as it stands, so that the next sync brings it there. Raises OSError.

        After a sync that failed, Linux takes for written what it could not write: it is read back, and the next sync succeeds
        without it. Known to be on disk is all up to the index ``synced``, but for the amendment of its action.
        """
        file = self.segment.file
        offset = max((offset for first, offset in self.begins if first <= synced), default=64)
        # To the end of the block: the zeros, too, of what was cut off there.
        end = -(-self.offset // BLOCK) * BLOCK
        while offset < end and (data := file.read(offset, min(_AGAIN_BYTES, end - offset))):
            file.write(offset, data)
            offset += len(data)


def _damage(segment: Segment, offset: int, index: int) -> DamagedJournal:
    why = "this is not the whole frame that was written, and later frames show that it had been kept"
    return DamagedJournal(segment.file.path, offset, index, why)


def _may_be_there(path: str) -> bool:
    try:
        return exists(path)
    except OSError:
        return True  # It can't be told.


def _ends_amended(final: Block, earlier: Block | None) -> bool:
    """Whether the last action has its amendment; the action may stand in the block before."""
    before, _ = frames_upto(final.frames, final.last - 1)
    first = frame.head(final.frames, before)
    if first is not None and before + first.length < len(final.frames):
        return True
    return before == 0 and earlier is not None and earlier.last == final.last
