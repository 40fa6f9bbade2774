"""Memory as the place of a system: what is given to it is what it gives."""

from __future__ import annotations

import time
from collections.abc import Callable

from coopy.disk.manifest import Manifest
from coopy.ground.storage import EntryStore, SnapshotStore
from coopy.place.seam import HeldLog


class MemoryPlace:
    """Memory: what is given to it is what it gives, and nobody else can take it."""

    is_alone = True
    path: str | None = None

    def __init__(self, name: str, manifest: Manifest, log: HeldLog, snapshots: SnapshotStore, entries: EntryStore) -> None:
        self.name: str = name
        self.manifest = manifest
        self.log = log
        self.snapshots = snapshots
        self.entries = entries

    def take(self, grown: Callable[[int], None] | None = None) -> None:
        """Does nothing: nobody has to be kept away, and no file is told to grow."""

    def accept(self, header: bytes, sequence: int) -> None:
        """Accepts every state."""

    def stay_deterministic(self) -> None:
        """Does nothing: whatever opens the system again has the same options."""

    def now(self) -> int:
        """Returns nanoseconds since 1970-01-01 UTC."""
        return time.time_ns()

    def delivers(self) -> bool:
        """Returns True: nobody else has the system."""
        return True

    def check(self) -> None:
        """Does nothing: nothing else can be where a system in memory is."""

    def kept(self, index: int) -> tuple[int, float] | None:
        """Returns None: no file has a size or a time."""
        return None

    def sweep_after(self, pid: int) -> None:
        """Does nothing: a child's memory is not ours."""

    def abandon(self) -> None:
        """Closes the log."""
        self.log.abandon()

    def release(self) -> None:
        """Does nothing: nobody waits for it."""

    def forked(self) -> None:
        """Does nothing: the child has a copy."""
