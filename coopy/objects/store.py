"""Where the records of many objects are kept: one log, read by place. The two ways to fill in `Store`: a directory, and memory.

Neither knows what a record says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from coopy.disk import manifest
from coopy.disk.fs import Calls, File
from coopy.disk.places import Places
from coopy.errors import SystemClosed
from coopy.ground.record import joined
from coopy.objects import poison, table
from coopy.objects.poison import Watch
from coopy.objects.table import Table
from coopy.place.directory import DirectoryPlace


class Store(Protocol):
    """Records in order, each with an index from 1 and an offset. `append` and what follows it is called by one thread at a time."""

    @property
    def last(self) -> int:
        """Index of the newest record; 0 when there is none."""
        ...

    @property
    def settled(self) -> int:
        """Up to this index a caller need not wait. -1 once no more records are taken."""
        ...

    def append(self, records: Sequence[bytes]) -> int:
        """Takes records in order: whatever comes, all of them are there or none. Returns the offset of all of them.

        Raises `JournalError` with the log as it was, or `SystemClosed`.
        """
        ...

    def at(self, index: int, offset: int) -> bytes:
        """Returns a record by its place. Raises a `StorageError`."""
        ...

    def after(self, index: int) -> Iterator[tuple[int, int, bytes]]:
        """Yields the records after one, with the index and the offset of each. Nothing is appended meanwhile. Raises a `StorageError`."""
        ...

    def begins(self) -> list[int]:
        """Returns the indexes from which on, each, records can be forgotten together; the first is that of the oldest record."""
        ...

    def forget(self, first: int) -> int:
        """Forgets the records before an index, which is one of `begins`. Returns how many groups of them there were. Raises OSError."""
        ...

    def where(self, index: int, offset: int) -> str:
        """Returns the place of a record, for a person to read."""
        ...

    def wait(self, index: int) -> None:
        """Returns when the record of an index is as durable as was asked for. Raises `JournalError`."""
        ...

    def flush(self) -> None:
        """Makes all records durable, whatever was asked for. Raises `JournalError`, OSError."""
        ...

    def kept_table(self) -> tuple[Table, int]:
        """Returns the table that was kept, and the last index in it; an empty one and 0 if there is none that can be used."""
        ...

    def keep_table(self, data: bytes) -> None:
        """Keeps a packed table, whose records are durable. Raises OSError."""
        ...

    def watch(self) -> Watch:
        """Returns what tells of which object the process dies, and has died before. Called once."""
        ...

    def close(self) -> None:
        """Makes all records durable, and takes no more. Raises `JournalError`, OSError."""
        ...

    def abandon(self) -> None:
        """Lets everything go without a word to the disk."""
        ...


class DirectoryStore:
    """The log of a directory, which is held."""

    def __init__(self, place: DirectoryPlace) -> None:
        self._place = place
        self._log = log = place.log
        self._calls: Calls = place.calls
        self._places = Places(place.calls, place.name, place.manifest.system, log.firsts)
        self._page: File | None = None
        self.wait = log.wait

    @property
    def last(self) -> int:
        return self._log.last

    @property
    def settled(self) -> int:
        return self._log.settled

    def append(self, records: Sequence[bytes]) -> int:
        return self._log.append_together(*joined(records))

    def at(self, index: int, offset: int) -> bytes:
        return self._places.at(index, offset)

    def after(self, index: int) -> Iterator[tuple[int, int, bytes]]:
        # The end of the log is looked for anew, if it was lost: `last` is right then.
        self._log.find_end()
        # What was forgotten nothing needs.
        return self._places.after(max(index, self._log.oldest - 1), self._log.last)

    def begins(self) -> list[int]:
        return list(self._log.firsts)

    def forget(self, first: int) -> int:
        before = len(self._log.firsts)
        self._log.forget(first - 1)
        self._places.close()
        return before - len(self._log.firsts)

    def where(self, index: int, offset: int) -> str:
        return self._log.where(index)

    def flush(self) -> None:
        self._log.flush()

    def kept_table(self) -> tuple[Table, int]:
        found = table.read(self._calls, self._place.name, self._place.manifest.system)
        if found is None or found[1] > self._log.last:
            return Table(), 0
        return found

    def keep_table(self, data: bytes) -> None:
        table.write(self._calls, self._place.name, data)

    def watch(self) -> Watch:
        calls, name = self._calls, self._place.name
        page, self._page = poison.opened(calls, name)
        return Watch(page, poison.read(calls, name), lambda deaths: poison.write(calls, name, deaths), name, self.last)

    @property
    def manifest(self) -> manifest.Manifest:
        return self._place.manifest

    def close(self) -> None:
        self._let_go()
        try:
            self._log.close()
        finally:
            self._place.release()

    def abandon(self) -> None:
        self._let_go()
        self._log.abandon()
        self._place.release()

    def _let_go(self) -> None:
        self._places.close()
        if self._page is not None:
            self._page.close()


class MemoryStore:
    """Records that live as long as their object."""

    def __init__(self) -> None:
        self._records: list[bytes] = []
        self._table: bytes = b""
        self._is_closed = False

    @property
    def last(self) -> int:
        return len(self._records)

    @property
    def settled(self) -> int:
        return -1 if self._is_closed else len(self._records)

    def append(self, records: Sequence[bytes]) -> int:
        self.wait(0)
        self._records += records
        return 0

    def at(self, index: int, offset: int) -> bytes:
        return self._records[index - 1]

    def after(self, index: int) -> Iterator[tuple[int, int, bytes]]:
        for number, record in enumerate(self._records[index:], index + 1):
            yield number, 0, record

    def begins(self) -> list[int]:
        return [1]

    def forget(self, first: int) -> int:
        return 0

    def where(self, index: int, offset: int) -> str:
        return "in memory"

    def wait(self, index: int) -> None:
        if self._is_closed:
            raise SystemClosed("the objects are closed. Open them again to use them.")

    def flush(self) -> None:
        pass

    def kept_table(self) -> tuple[Table, int]:
        return Table(), 0

    def keep_table(self, data: bytes) -> None:
        self._table = data

    def watch(self) -> Watch:
        return Watch(bytearray(poison.PAGE_BYTES), [], lambda deaths: None, "memory", self.last)

    def reopened(self) -> MemoryStore:
        """Returns a store with the same records, as a process finds them that opens them again."""
        found = MemoryStore()
        found._records = list(self._records)
        return found

    def close(self) -> None:
        self._is_closed = True

    def abandon(self) -> None:
        self._is_closed = True
