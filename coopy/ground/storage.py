"""The seam between the spine and wherever bytes are kept, and both sides of it in memory.

Below the seam there are bytes and indexes, never an action: memory, disk and
network are three ways to fill in these two interfaces, and one suite of tests
(tests/contract) holds for all of them.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple, Protocol

from coopy.errors import DamagedSnapshot, MissingActions, SystemClosed
from coopy.ground.record import PREFIX_BYTES, WRAP


class Log(Protocol):
    """Records in order, each with an index from 1, without gaps.

    ``append``, ``amend`` and ``close`` are called by one thread at a time;
    ``wait`` by any number of threads at once.
    """

    last: int
    """Index of the newest record; 0 when there is none."""

    settled: int
    """Up to this index a caller need not wait. -1 once the log takes no more records."""

    @property
    def synced(self) -> int:
        """Up to this index, and no further, the records are known to be durable."""
        ...

    def append(self, record: bytes) -> int:
        """Takes a record and returns its index; the record survives the end of this process.

        Raises `JournalError` with the log as it was, or `SystemClosed`.
        """
        ...

    def append_all(self, joined: bytes, sizes: array[int]) -> None:
        """Takes records in order, as `append` takes one: with as few writes as it can.

        They are joined as `read` yields them: each behind a WRAP; ``sizes`` are those of each, with it. Raises what
        `append` raises; ``last`` says how many of them were taken.
        """
        ...

    def amend(self, record: bytes) -> None:
        """Adds a record that belongs to the newest one and takes no index. At most one for each."""
        ...

    def settle(self) -> None:
        """Makes all records, the amendment too, as durable as the log was asked to be. Raises `JournalError`."""
        ...

    def wait(self, index: int) -> None:
        """Returns when the record of ``index`` is as durable as the log was asked to be.

        Raises `JournalError` if that can't be known any more; the log is then closed for good.
        """
        ...

    def read(self, after: int) -> Iterator[tuple[int, memoryview | bytes]]:
        """Yields ``(index, records)`` in order: ``index`` is that of the first record.

        Nothing is appended meanwhile. Records are joined. Each leaves on a pickle stack a bytes object that ends in its prefix, and
        then what the rest of it leaves; nothing else between them means anything to pickle.
        Raises `DamagedJournal` or `MissingActions` where the log cannot be read.
        """
        ...

    def reader(self) -> Log:
        """The records there are now, or a little later, to be read while others are appended; closed by who asked."""
        ...

    def where(self, index: int) -> str:
        """The place of a record, for a person to read."""
        ...

    def forget(self, upto: int) -> None:
        """The records up to ``upto`` are not needed any more; the log may drop them."""
        ...

    def close(self, amendment: bytes | None = None) -> None:
        """Makes all records durable, then the amendment of the newest one, and takes no more."""
        ...


class StateWriter(Protocol):
    """What a snapshot is written through."""

    def write(self, data: bytes, /) -> object: ...

    def restart(self) -> None:
        """Forgets what was written."""
        ...


class Stored(Protocol):
    """The bytes of a state: all of them, as a memoryview is, or a file that is read where they are asked for.

    A part that can't be read any more raises `DamagedSnapshot` or OSError.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> memoryview: ...


Trial = Callable[[Stored], bool]


class SnapshotStore(Protocol):
    """Whole states, each at an index."""

    def write(self, index: int, save: Callable[[StateWriter], None], tries: Trial | None = None) -> None:
        """Keeps what ``save`` writes. It is durable and visible as a whole, or not at all.

        ``tries`` is given what was written before it is visible, and returns whether it was loaded. It raises if that can't be
        loaded; then nothing is kept.
        """
        ...

    def loaded(self, index: int) -> None:
        """A state has been loaded from the snapshot of an index."""
        ...

    @property
    def newest_loaded(self) -> int:
        """Index of the newest snapshot that is known to have been loaded once; -1 if that is not known of any."""
        ...

    def latest(self, upto: int | None = None) -> tuple[int, Stored] | None:
        """Index and bytes of the newest whole snapshot at or before ``upto``; None if there is none."""
        ...

    def head(self, index: int, size: int) -> bytes:
        """The first bytes of a state, without a look at the rest. Raises `DamagedSnapshot`."""
        ...

    def indexes(self) -> list[int]:
        """Indexes of the snapshots there are, whole or not, oldest first."""
        ...

    def forget(self, upto: int) -> None:
        """Snapshots before ``upto`` are not needed any more."""
        ...


class Entry(NamedTuple):
    """What was said of the state after an action, whose index that is: a line of printable ASCII."""

    action: int
    text: str


class EntryStore(Protocol):
    """What was said of states, in the order in which it was added. Nothing depends on it. Methods raise OSError."""

    def add(self, entry: Entry) -> None:
        """Adds an entry, which need not be durable."""
        ...

    def read(self) -> list[Entry]:
        """All entries."""
        ...

    def keep(self, first: int, last: int) -> None:
        """Drops entries before and after some indexes, and some of those in between if there are many."""
        ...

    def clear(self) -> None:
        """Drops all entries."""
        ...


class MemoryLog:
    """A log that lives as long as its object."""

    def __init__(self) -> None:
        self.last = 0
        self.settled = 0
        self._first = 1
        self._records: list[bytes] = []

    @property
    def synced(self) -> int:
        return self.last

    def append(self, record: bytes) -> int:
        if self.settled < 0:
            raise SystemClosed("the log is closed")
        self._records.append(WRAP + record)
        self.last += 1
        self.settled = self.last
        return self.last

    def append_all(self, joined: bytes, sizes: array[int]) -> None:
        ends = list(accumulate(sizes, initial=0))
        for start, end in itertools.pairwise(ends):
            self.append(joined[start + len(WRAP) : end])

    def amend(self, record: bytes) -> None:
        if not self._records:
            return
        amendment = WRAP + record
        last = self._records[-1]
        tail = last[-len(amendment) :]
        if len(last) == len(tail) or not tail.startswith(WRAP) or not tail.endswith(record[PREFIX_BYTES:]):
            self._records[-1] += amendment

    def settle(self) -> None:
        self.wait(self.last)

    def wait(self, index: int) -> None:
        if self.settled < 0:
            raise SystemClosed("the log is closed")

    def read(self, after: int) -> Iterator[tuple[int, memoryview | bytes]]:
        if after + 1 < self._first:
            raise MissingActions("memory", after + 1, self._first - 1, "They were forgotten.")
        if after < self.last:
            yield after + 1, b"".join(self._records[after + 1 - self._first :])

    def reader(self) -> MemoryLog:
        found = MemoryLog()
        found.last, found._first, found._records = self.last, self._first, list(self._records)
        return found

    def where(self, index: int) -> str:
        return "in memory"

    def forget(self, upto: int) -> None:
        del self._records[: max(0, upto + 1 - self._first)]
        self._first = max(self._first, upto + 1)

    def close(self, amendment: bytes | None = None) -> None:
        if amendment is not None and self.settled >= 0:
            self.amend(amendment)
        self.settled = -1


class MemoryWriter:
    """A `StateWriter` that keeps what it is given."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes, /) -> None:
        self._parts.append(bytes(data))

    def restart(self) -> None:
        self._parts.clear()

    def value(self) -> bytes:
        return b"".join(self._parts)


class MemorySnapshots:
    """Snapshots that live as long as their object."""

    def __init__(self) -> None:
        self._snapshots: dict[int, bytes] = {}
        self._loaded: set[int] = set()

    def write(self, index: int, save: Callable[[StateWriter], None], tries: Trial | None = None) -> None:
        writer = MemoryWriter()
        save(writer)
        data = writer.value()
        if tries is None or tries(memoryview(data)):
            self.loaded(index)
        self._snapshots[index] = data

    def loaded(self, index: int) -> None:
        self._loaded.add(index)

    @property
    def newest_loaded(self) -> int:
        return max(self._loaded & set(self._snapshots), default=-1)

    def latest(self, upto: int | None = None) -> tuple[int, memoryview] | None:
        found = [index for index in self.indexes() if upto is None or index <= upto]
        if not found:
            return None
        if not self._snapshots[found[-1]]:
            raise DamagedSnapshot("memory", found[-1], "it is empty")
        return found[-1], memoryview(self._snapshots[found[-1]])

    def head(self, index: int, size: int) -> bytes:
        state = self._snapshots[index]
        if len(state) < size:
            raise DamagedSnapshot("memory", index, "it is too short")
        return state[:size]

    def indexes(self) -> list[int]:
        return sorted(self._snapshots)

    def forget(self, upto: int) -> None:
        for index in self.indexes():
            if index < upto:
                del self._snapshots[index]


class MemoryEntries:
    """Entries that live as long as their object."""

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        self._entries = list(entries)

    def add(self, entry: Entry) -> None:
        self._entries.append(entry)

    def read(self) -> list[Entry]:
        return list(self._entries)

    def keep(self, first: int, last: int) -> None:
        self._entries = thinned([each for each in self._entries if first <= each.action <= last])

    def clear(self) -> None:
        self._entries.clear()


ENTRIES_MAX = 1000  # A file of digests stays some hundred kilobytes; every second of the older ones goes.


def thinned(entries: list[Entry]) -> list[Entry]:
    """Entries, if there are not too many; else without every second one of the older, again and again."""
    while len(entries) > ENTRIES_MAX:
        half = len(entries) // 2
        entries = entries[:half:2] + entries[half:]
    return entries
