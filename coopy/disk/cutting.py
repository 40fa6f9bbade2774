"""Takes the end of a journal out of the way, from one action on, and the snapshots that have it.

Nobody may have the directory's journal open, and nothing is destroyed: all that goes is kept in another directory. Each step leaves
a shorter journal that opens, and the last one the journal up to the action before. So after a crash the same may be done again:

1. Snapshots that have the action, and segments that begin after it, newest first, are moved by one rename each.
2. The segment that has the action is copied, and is then written anew, without it, under another name and renamed into its place.
"""

from __future__ import annotations

import os

from coopy.disk import directory, frame
from coopy.disk.fs import Calls
from coopy.disk.segment import HEADER, Block, Segment, frames_upto
from coopy.storage import WRAP, joined


def cut(calls: Calls, basedir: str, system: bytes, index: int, aside: str) -> None:
    """Has a journal end before action ``index``; what it had from there on is in the directory ``aside`` then. Raises OSError, `StorageError`."""
    names = calls.names(basedir)
    firsts = directory.segments(names)
    last = max((first for first in firsts if first < index), default=index)
    gone = [directory.snapshot_path(basedir, each) for each in reversed(directory.snapshots(names)) if each >= index]
    gone += [directory.segment_path(basedir, first) for first in reversed(firsts) if first > last]
    for path in gone:
        calls.rename(path, os.path.join(aside, os.path.basename(path)))
        # One at a time: a power cut must not leave a gap.
        calls.sync_directory(aside)
        calls.sync_directory(basedir)
    if last not in firsts:
        return
    path = directory.segment_path(basedir, last)
    segment = Segment.open(calls, path, system, last, write=False)
    try:
        data = segment.file.read(0, segment.file.size)
        kept = _kept(segment, index)
    finally:
        segment.close()
    directory.write_whole(calls, os.path.join(aside, os.path.basename(path)), data)
    calls.sync_directory(aside)
    directory.write_whole(calls, path, kept + bytes(len(data) - len(kept)))
    calls.sync_directory(basedir)


def _kept(segment: Segment, index: int) -> bytes:
    """The bytes of a segment up to an action, whose frame may have others before it."""
    end = HEADER.size
    for block in segment.blocks():
        if block.last >= index:
            return segment.file.read(0, block.offset) + _kept_of(block, index)
        end = block.offset + len(block.frames)
    return segment.file.read(0, end)


def _kept_of(block: Block, index: int) -> bytes:
    size, _ = frames_upto(block.frames, index - 1)
    split = frame.head(block.frames, size)
    if split is None or split.first >= index:
        return block.frames[:size]
    records = split.records(block.frames, size)[: index - split.first]
    together, sizes = joined(records)
    return block.frames[:size] + frame.pack_together(together[len(WRAP) :], sizes, split.first, split.synced)
