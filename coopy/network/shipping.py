"""Snapshots on the servers: what a node that is too far behind, or new, begins with. A `coopy.ground.storage.SnapshotStore`.

They lie in an object bucket of JetStream, in chunks, each object named by its index. They are written with
nats-py, and read by sequence, many chunks at once, from whichever server answers: that takes no consumer, so a
replica can do it as well. What is read is whole: its size and its SHA-256 are those of the object's entry.

Subjects and entries of a bucket are those of the object store that clients of NATS share (ADR-20).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import tempfile
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

from coopy.errors import DamagedSnapshot, Unavailable
from coopy.ground.storage import StateWriter, Trial
from coopy.network.connection import Connection
from coopy.network.subjects import Names

if TYPE_CHECKING:
    from nats.js.object_store import ObjectStore

CHUNK = 512 * 1024
"""A chunk is a message, of which the servers keep some in memory on the way; a large state is some thousands of them."""
FETCH_BYTES = 16 * 1024 * 1024
"""So much is asked for at a time, and must come within `coopy.network.connection.REQUEST_S`: that takes 3.4 MB/s."""
WAIT_S = 600.0
"""Ten gigabytes at 17 MB/s."""
STALLS_MAX = 100
"""At 0.2 s each, and more while the servers do not answer at all: longer than they take to agree on a leader."""
Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all."""


class ShippedSnapshots:
    """The snapshots of a system that lie on the servers. The bucket is there."""

    def __init__(self, connection: Connection, names: Names, progress: Progress | None = None) -> None:
        self._connection = connection
        self._names = names
        self._stream = names.snapshots
        self.progress = progress

    def indexes(self) -> list[int]:
        return sorted(self._entries())

    def loaded(self, index: int) -> None:
        pass  # Each is a copy of one that lies on the disk of a node.

    @property
    def newest_loaded(self) -> int:
        return max(self.indexes(), default=-1)

    def write(self, index: int, save: Callable[[StateWriter], None], tries: Trial | None = None) -> None:
        with tempfile.TemporaryFile() as file:
            save(_Spooled(file))
            self._connection.insist(lambda: self._put(index, file), WAIT_S)

    async def _put(self, index: int, file: IO[bytes]) -> None:
        from nats.js.api import ObjectMeta, ObjectMetaOptions

        file.seek(0)
        store = await self._bucket()
        name = f"{index:015d}"
        meta = ObjectMeta(name=name, options=ObjectMetaOptions(max_chunk_size=CHUNK))
        await store.put(name, file, meta)  # type: ignore[arg-type]

    def latest(self, upto: int | None = None) -> tuple[int, memoryview] | None:
        entries = self._entries()
        found = max((index for index in entries if upto is None or index <= upto), default=None)
        if found is None:
            return None
        entry = entries[found]
        data = self._connection.run(self._chunks(entry, entry["size"]), WAIT_S)
        digest = "SHA-256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode()
        if digest.rstrip("=") != str(entry["digest"]).rstrip("="):
            raise DamagedSnapshot(self._where(), found, "what was read is not what its entry says")
        return found, memoryview(data)

    def head(self, index: int, size: int) -> bytes:
        data = self._connection.run(self._chunks(self._entries()[index], size), WAIT_S)
        if len(data) < size:
            raise DamagedSnapshot(self._where(), index, "it is too short")
        return bytes(data[:size])

    def forget(self, upto: int) -> None:
        for index in self.indexes():
            if index < upto:
                self._connection.run(self._delete(index), WAIT_S)

    async def _delete(self, index: int) -> None:
        await (await self._bucket()).delete(f"{index:015d}")

    async def _bucket(self) -> ObjectStore:
        return await self._connection.stream_api.object_store(self._names.bucket)

    def _entries(self) -> dict[int, dict[str, Any]]:
        return self._connection.insist(self._read_entries, 30)

    async def _read_entries(self) -> dict[int, dict[str, Any]]:
        found: dict[int, dict[str, Any]] = {}

        def take(headers: Any, data: bytes) -> None:
            entry = json.loads(data)
            if not entry.get("deleted") and entry["name"].isdigit():
                found[int(entry["name"])] = entry

        await self._connection.fetch(self._stream, {"multi_last": [self._names.entries], "batch": 1000}, take)
        return found

    async def _chunks(self, entry: dict[str, Any], size: int) -> bytearray:
        """The first bytes of an object: at least so many, unless it has fewer."""
        data = bytearray()
        following = 1

        def take(headers: Any, chunk: bytes) -> None:
            nonlocal following
            sequence = int(headers["Nats-Sequence"])
            if sequence >= following:
                data.extend(chunk)
                following = sequence + 1

        stalled = 0
        while len(data) < min(size, entry["size"]):
            before = len(data)
            # One that answers may be behind another.
            asked = {"next_by_subj": self._names.chunks(entry["nuid"]), "seq": following}
            limits = {"batch": FETCH_BYTES // CHUNK, "max_bytes": FETCH_BYTES}
            # While the servers agree on a leader.
            with contextlib.suppress(Unavailable, asyncio.TimeoutError):
                await self._connection.fetch(self._stream, {**asked, **limits}, take)
            stalled = stalled + 1 if len(data) == before else 0
            if stalled > STALLS_MAX:
                raise Unavailable(f"{self._where()}: the servers have {len(data)} of the {entry['size']} bytes of a snapshot")
            if stalled:
                await asyncio.sleep(0.2)
            if self.progress is not None:
                self.progress(len(data), entry["size"])
        return data

    def _where(self) -> str:
        return f"the bucket {self._names.bucket}"


class _Spooled:
    """A `coopy.ground.storage.StateWriter` into a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, data: bytes, /) -> object:
        return self._file.write(data)

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()


async def make(connection: Connection, names: Names, replicas: int) -> None:
    """Makes the bucket, unless it is there. Raises `nats.errors.Error`."""
    from nats.js.api import ObjectStoreConfig
    from nats.js.errors import NotFoundError

    api = connection.stream_api
    try:
        await api.stream_info(names.snapshots)
    except NotFoundError:
        await api.create_object_store(names.bucket, ObjectStoreConfig(replicas=replicas))
