"""The directory of a node: made a system's, begun with a snapshot of another node, cut, put aside.

What is put aside is renamed into a directory of its own, `aside-<time>`, where nobody takes it for the system's, and nothing is lost.
"""

from __future__ import annotations

import os
import time

from coopy.disk import cutting, directory, manifest
from coopy.disk.fs import Calls
from coopy.disk.manifest import Manifest
from coopy.disk.segment import Segment
from coopy.disk.snapshots import DiskSnapshots
from coopy.errors import ForeignDirectory
from coopy.ground.storage import Stored
from coopy.place.directory import begin
from coopy.replication.sharing import in_pieces

FIRST_BYTES = 1024 * 1024
"""What the first segment of a directory takes that begins with a snapshot of another node: the next one is as long as others."""


class Files:
    """One node's. ``cls``: the domain class."""

    def __init__(self, calls: Calls, path: str, cls: type) -> None:
        self._calls = calls
        self._cls = cls
        self.path = path

    # -- a system's

    def manifest(self) -> Manifest | None:
        """Returns the manifest; None if the directory is no system's yet."""
        return manifest.read(self._calls, self.path)

    def begin(self) -> Manifest:
        """Makes the directory that of a new system, and returns its manifest."""
        return begin(self._calls, self.path, self._cls)

    def join(self, system: bytes, secret: bytes, deterministic: bool) -> Manifest:
        """Makes the directory that of a system which others began. Raises `ForeignDirectory` if it holds files of another."""
        if not self.is_empty:
            raise ForeignDirectory(f"{self.path} holds files of a system and no coopy.json. Nothing was changed.")
        return begin(self._calls, self.path, self._cls, secret, system, deterministic)

    @property
    def is_empty(self) -> bool:
        """Whether it holds neither a journal nor a snapshot."""
        names = self._calls.names(self.path)
        return not directory.segments(names) and not directory.snapshots(names)

    # -- another beginning

    def install(self, system: bytes, index: int, data: Stored) -> None:
        """Makes a snapshot of another node the beginning of an empty directory."""
        Segment.create(self._calls, directory.segment_path(self.path, index + 1), system, index + 1, FIRST_BYTES).close()
        DiskSnapshots(self._calls, self.path, system).write(index, lambda file: in_pieces(file, data))

    def cut(self, system: bytes, index: int) -> None:
        """Has the journal end before an action. Raises a `StorageError` with all as it was if nothing leads to its end."""
        cutting.cut(self._calls, self.path, system, index, self._new_aside())

    def set_aside(self) -> None:
        """Puts the journal and the snapshots aside."""
        aside = self._new_aside()
        for name in self._calls.names(self.path):
            if directory.segments([name]) or directory.snapshots([name]):
                self._calls.rename(os.path.join(self.path, name), os.path.join(aside, name))
        self._calls.sync_directory(self.path)

    def _new_aside(self) -> str:
        aside = os.path.join(self.path, f"aside-{time.time_ns()}")
        self._calls.make_directory(aside)
        return aside
