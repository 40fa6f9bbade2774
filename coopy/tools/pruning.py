"""Deletes the past of a system that is not open: what `coopy.past.retention` does, without running or loading anything."""

from __future__ import annotations

import itertools
import os
import time
from typing import NamedTuple

from coopy.disk import directory
from coopy.disk.dirlock import DirectoryLock
from coopy.ground import paths
from coopy.past import retention
from coopy.past.reading import Reading
from coopy.past.retention import Retention


class Pruned(NamedTuple):
    """What went, or would go."""

    snapshots: list[int]
    """Indexes of the snapshots."""
    files: list[str]
    """Names of the files, those of the journal too."""
    bytes: int
    """What they took on the disk."""
    oldest: int
    """Index of the oldest state that can still be shown."""


def prune(basedir: str, rule: Retention, *, dry_run: bool = False) -> Pruned:
    """Deletes snapshots that need not stay, and the journal that only they need.

    All that stays is read first: of a damaged system nothing is deleted. Raises `UsageError` where there is no
    system, `DirectoryInUse`, a `StorageError`, `JournalError`.
    """
    basedir = paths.absolute(basedir)
    with paths.reads(basedir) if dry_run else paths.writes(basedir, retention.PRUNED_IN_PART):
        return _pruned(basedir, rule, dry_run)


def _pruned(basedir: str, rule: Retention, dry_run: bool) -> Pruned:
    with Reading(basedir):
        pass  # A directory that is not a system's is left as it is, without so much as a lock in it.
    lock = None if dry_run else DirectoryLock(basedir)
    try:
        with Reading(basedir) as reading:
            oldest = retention.oldest_that_stays(reading.snapshots, rule, now := time.time_ns())
            indexes = reading.snapshots.indexes()
            if oldest is None and not indexes:
                return Pruned([], [], 0, 0)
            if oldest is None:
                # A pruning that failed may have left some of the journal before it.
                oldest = indexes[0]
            for _ in reading.log.read(oldest):
                pass
            gone = [index for index in indexes if index < oldest]
            names = os.listdir(basedir)
            firsts = directory.segments(names)
            paths = [directory.snapshot_path(basedir, index) for index in gone]
            paths += [
                directory.segment_path(basedir, first)
                for first, following in itertools.pairwise(firsts)
                if following <= oldest + 1
            ]
            taken = sum(os.stat(path).st_blocks * 512 for path in paths)
            if not dry_run:
                retention.prune(reading.log, reading.snapshots, rule, now)
            return Pruned(gone, [os.path.basename(path) for path in paths], taken, oldest)
    finally:
        if lock is not None:
            lock.release()
