"""Snapshots: whole states, each a file of its own. A `coopy.ground.storage.SnapshotStore`.

    offset  size  field
         0     8  magic     "COOPYSNP"
         8     4  version   1; little-endian, like every field
        12    16  system    id of the system it belongs to
        28     8  index     the action after which the state was so
        36     1  loaded    1 if the state was loaded once before the file got its name
        37    23  zeros
        60     4  checksum  CRC-32 of all before it
        64     n  state     bytes
         +  4 * c  table    CRC-32 of each CHUNK bytes of the state (the last may be shorter)
         +     8  size      n
         +     4  chunks    c
         +     4  checksum  CRC-32 of table, size and chunks; the file ends here

A snapshot is written under another name, synced, renamed, and its directory
synced: under its own name it is whole, or it is damaged. A damaged newest one is
passed over, with a warning: the one before it and more of the journal give the
same state.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from functools import partial

from coopy.disk import child, directory
from coopy.disk.chunks import CHUNK, Chunks, Writer
from coopy.disk.fs import Calls, File, remove_if_there
from coopy.errors import DamagedSnapshot, ForeignDirectory, StorageError, UnsupportedFormat
from coopy.ground.log import warn
from coopy.ground.paths import is_file, reads
from coopy.ground.raised import on_failure
from coopy.ground.storage import StateWriter, Stored, Trial

IN_MEMORY_BYTES = 16 * CHUNK
"""A state of more than this is read while it is loaded, and is never in memory besides."""
TRIAL_S, TRIAL_TIMES = 30.0, 10
"""Loading a state again may take so many seconds, or so many times as long as writing it."""
MAGIC = b"COOPYSNP"
VERSION = 1  # Of the format of snapshots; another one is refused.
HEADER = struct.Struct("<8sI16sQB23sI")
FOOTER = struct.Struct("<QI")
assert HEADER.size == 64, "the table above is what is packed"


class DiskSnapshots:
    """The snapshots of one directory."""

    def __init__(self, calls: Calls, basedir: str, system: bytes) -> None:
        self._calls = calls
        self._basedir = basedir
        self._system = system
        self._loaded: set[int] = set()
        """Of those that do not say it themselves."""

    def indexes(self) -> list[int]:
        with reads(self._basedir):
            return directory.snapshots(self._calls.names(self._basedir))

    def loaded(self, index: int) -> None:
        self._loaded.add(index)

    @property
    def newest_loaded(self) -> int:
        for index in reversed(self.indexes()):
            if index in self._loaded or self._was_loaded(index):
                return index
        return -1

    def _was_loaded(self, index: int) -> bool:
        path = directory.snapshot_path(self._basedir, index)
        try:
            data = self._bytes(path, index, HEADER.size)
        except DamagedSnapshot:
            return False
        return self._problem_of_header(data, path, index) is None and bool(HEADER.unpack(data)[4])

    def write(self, index: int, save: Callable[[StateWriter], None], tries: Trial | None = None) -> None:
        path = directory.snapshot_path(self._basedir, index)
        # Named by the process: a child whose parent was killed must not meet the next opener's file.
        temporary = f"{path}.{os.getpid()}{directory.TEMPORARY}"
        is_new = index not in self.indexes()
        file = File(self._calls, temporary, write=True, create=True)
        with on_failure(self._remove_half, [temporary, path] if is_new else [temporary]), on_failure(file.close):
            begun = time.monotonic()
            writer = Writer(file, HEADER.size)
            save(writer)
            self._finish(file, writer)
            is_loaded = False
            if tries is not None:
                state = Chunks(file, HEADER.size, writer.size, writer.checksums, partial(_damaged, path, index))
                with child.within(max(TRIAL_S, TRIAL_TIMES * (time.monotonic() - begun)), "loading it again"):
                    is_loaded = tries(state)
            head = HEADER.pack(MAGIC, VERSION, self._system, index, is_loaded, b"", 0)[:-4]
            file.write(0, head + zlib.crc32(head).to_bytes(4, "little"))
            # Under its own name it must be whole: sync, rename, and make the name durable.
            file.sync()
            file.close()
            self._calls.rename(temporary, path)
            self._calls.sync_directory(self._basedir)

    def _finish(self, file: File, writer: Writer) -> None:
        """Writes what is left of a state, and the end."""
        writer.finish()
        end = struct.pack(f"<{len(writer.checksums)}I", *writer.checksums)
        end += FOOTER.pack(writer.size, len(writer.checksums))
        file.write(HEADER.size + writer.size, end + zlib.crc32(end).to_bytes(4, "little"))

    def _remove_half(self, paths: Sequence[str]) -> None:
        for path in paths:
            # A half one is swept away by the next opening, and a whole one does no harm.
            with contextlib.suppress(OSError):
                remove_if_there(self._calls, path)

    def latest(self, upto: int | None = None) -> tuple[int, Stored] | None:
        damage: DamagedSnapshot | None = None
        for index in reversed(self.indexes()):
            if upto is not None and index > upto:
                continue
            try:
                found = index, self._read(index)
            except DamagedSnapshot as problem:
                if index in self.indexes():  # If it is not, it was pruned since.
                    damage = damage or problem
                continue
            if damage is not None:
                warn("%s: damaged; going back to the snapshot of action %d", damage.path, index)
            return found
        if damage is not None:
            raise damage
        return None

    def head(self, index: int, size: int) -> bytes:
        path = directory.snapshot_path(self._basedir, index)
        data = self._bytes(path, index, HEADER.size + size)
        problem = self._problem_of_header(data, path, index)
        if problem is None and len(data) < HEADER.size + size:
            problem = DamagedSnapshot(path, index, "it is too short")
        if problem is not None:
            raise problem
        return bytes(data[HEADER.size :])

    def forget(self, upto: int) -> None:
        for index in self.indexes():
            if index < upto:
                remove_if_there(self._calls, directory.snapshot_path(self._basedir, index))

    def _read(self, index: int) -> Stored:
        path = directory.snapshot_path(self._basedir, index)
        with reads(path):
            file = self._opened(path, index)
            with on_failure(file.close):
                refused = self._problem_of_header(memoryview(file.read(0, HEADER.size)), path, index)
                if refused is not None:
                    raise refused
                state = self._state(file, path, index)
                if len(state) > IN_MEMORY_BYTES:
                    state.check()
                    return state
                found = state[:]
            file.close()
            return found

    def _bytes(self, path: str, index: int, size: int) -> memoryview:
        with reads(path):
            file = self._opened(path, index)
            try:
                return memoryview(file.read(0, size))
            finally:
                file.close()

    def _opened(self, path: str, index: int) -> File:
        try:
            if not is_file(path):
                raise DamagedSnapshot(path, index, "this is not a file, or a link to one")
            return File(self._calls, path, write=False)
        except FileNotFoundError:
            raise DamagedSnapshot(path, index, "it is not there any more") from None

    def _problem_of_header(self, data: memoryview, path: str, index: int) -> StorageError | None:
        if len(data) < HEADER.size:
            return DamagedSnapshot(path, index, "it is too short")
        magic, version, system, named, _, _, checksum = HEADER.unpack_from(data)
        if magic != MAGIC or checksum != zlib.crc32(data[: HEADER.size - 4]):
            return DamagedSnapshot(path, index, "the checksum of its header does not match")
        if version != VERSION:
            return UnsupportedFormat(f"{path} has format {version}; this coopy reads {VERSION}. Nothing was changed.")
        if system != self._system:
            return ForeignDirectory(
                f"{path} belongs to system {system.hex()}, the directory to {self._system.hex()}. Nothing was "
                f"changed. Move the file to where it came from."
            )
        if named != index:
            return DamagedSnapshot(path, index, f"its header says that it is of action {named}")
        return None

    def _state(self, file: File, path: str, index: int) -> Chunks:
        """The state in a file, none of which was looked at yet. Raises `DamagedSnapshot` if the end of the file is not whole."""
        if file.size < HEADER.size + FOOTER.size + 4:
            raise DamagedSnapshot(path, index, "it is too short")
        size, chunks = FOOTER.unpack(file.read(file.size - FOOTER.size - 4, FOOTER.size))
        table = HEADER.size + size
        if table + 4 * chunks + FOOTER.size + 4 != file.size or chunks != -(-size // CHUNK):
            raise DamagedSnapshot(path, index, "its size is not what its end says")
        end = file.read(table, file.size - table)
        if zlib.crc32(end[:-4]) != int.from_bytes(end[-4:], "little"):
            raise DamagedSnapshot(path, index, "the checksum of its end does not match")
        checksums = struct.unpack_from(f"<{chunks}I", end)
        return Chunks(file, HEADER.size, size, checksums, partial(_damaged, path, index))


def _damaged(path: str, index: int, place: int) -> DamagedSnapshot:
    return DamagedSnapshot(path, index, f"the checksum of its bytes from {HEADER.size + place} does not match")
