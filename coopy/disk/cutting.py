"""Takes the end of a journal out of the way, from one action on, and the snapshots that have it.

Nobody may have the directory's journal open, and nothing is destroyed: all that goes is kept in another directory. Each step leaves
a shorter journal that opens, and the last one the journal up to the action before. So after a crash the same may be done again:

1. Snapshots that have the action, and segments that begin after it, newest first, are moved by one rename each.
2. The end of the segment that has the action is copied to `<segment>.from-<byte>`; and the segment is written anew, without
   the action, under another name and renamed into its place.
"""

from __future__ import annotations

import os

from coopy.disk import digests, directory, frame
from coopy.disk.fs import Calls
from coopy.disk.segment import HEADER, Segment, frames_upto
from coopy.ground.record import WRAP, joined


def cut(calls: Calls, basedir: str, system: bytes, index: int, aside: str) -> None:
    """Has a journal end before action ``index``; what it had from there on is in the directory ``aside`` then. Raises OSError, `StorageError`."""
    digests.set_aside(calls, basedir, aside)
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
        offset, rest = _end(segment, index)
    finally:
        segment.close()
    name = f"{os.path.basename(path)}.from-{offset}"
    directory.write_whole(calls, os.path.join(aside, name), data[offset:].rstrip(b"\0"))
    calls.sync_directory(aside)
    directory.write_whole(calls, path, data[:offset] + rest + bytes(len(data) - offset - len(rest)))
    calls.sync_directory(basedir)


def _end(segment: Segment, index: int) -> tuple[int, bytes]:
    """Where the frame begins that has an action, and the frame of the actions before it that it has as well."""
    end = HEADER.size
    for block in segment.blocks():
        if block.last >= index:
            size, _ = frames_upto(block.frames, index - 1)
            return block.offset + size, _part(block.frames, size, index)
        end = block.offset + len(block.frames)
    return end, b""


def _part(frames: bytes, offset: int, index: int) -> bytes:
    split = frame.head(frames, offset)
    if split is None or split.first >= index:
        return b""
    together, sizes = joined(split.records(frames, offset)[: index - split.first])
    return frame.pack_together(together[len(WRAP) :], sizes, split.first, split.synced)
