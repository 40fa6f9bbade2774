"""What a place is: where a system lives.

A place is taken, held while the system is open, and let go. It gives the system its manifest, its log, its snapshots and the
entries beside them, and says what time it is there. A system asks for nothing else, and knows no file: whatever gives a log,
also one that several systems share, can be a place. tests/contract/test_place.py has what each must do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from coopy.disk.manifest import Manifest
from coopy.ground.storage import EntryStore, Log, SnapshotStore


class HeldLog(Log, Protocol):
    """The log of a system that is open."""

    def abandon(self) -> None:
        """Lets everything go without a word to the disk."""
        ...


class Place(Protocol):
    """Where a system lives.

    `take` is called once, by the thread that opens the system. `release` and `abandon` may be called at any moment from then
    on, also where `take` was interrupted, and again: they do what has not been done.
    """

    name: str
    """What errors and the log call it; of a directory, its absolute path."""

    path: str | None
    """The directory in which other processes can read the system. None if there is none."""

    is_alone: bool
    """Whether nobody but this process records in the system."""

    # Once it has been taken:

    manifest: Manifest

    @property
    def log(self) -> HeldLog:
        """Returns the log. It may be another one later: a node that mends its journal opens it again."""
        ...

    @property
    def snapshots(self) -> SnapshotStore:
        """Returns the snapshots, under the same condition."""
        ...

    @property
    def entries(self) -> EntryStore:
        """Returns where it is kept what the live system said of its state."""
        ...

    def take(self, grown: Callable[[int], None] | None = None) -> None:
        """Takes the place, and opens what is in it; makes it a system's if it is none yet.

        ``grown`` is called with the bytes that the log has grown by since the newest snapshot, and then with those that it
        grows by. Raises `DirectoryInUse`, `ForeignDirectory`, a `StorageError` or a `JournalError`, with the place let go.
        """
        ...

    def accept(self, header: bytes, sequence: int) -> None:
        """Receives the header of the last action and the last message of a line that the state has; 0 if it has none.

        Raises `UsageError` if a system of that state can't go on here.
        """
        ...

    def stay_deterministic(self) -> None:
        """Remembers for good that actions answer the standard library's clock and chance. Raises `JournalError`."""
        ...

    def now(self) -> int:
        """Returns nanoseconds since 1970-01-01 UTC."""
        ...

    def delivers(self) -> bool:
        """Returns whether this process carries out what actions ask for."""
        ...

    def check(self) -> None:
        """Raises `JournalError` if something else may be where the place was: nothing is put there, and nothing taken away."""
        ...

    def kept(self, index: int) -> tuple[int, float] | None:
        """Returns the size of a snapshot, and when it was written, in seconds since 1970 UTC. None if that is not known."""
        ...

    def sweep_after(self, pid: int) -> None:
        """Removes what a child has begun to write and did not finish."""
        ...

    def abandon(self) -> None:
        """Lets the log go without a word to the disk. The place is still held."""
        ...

    def release(self) -> None:
        """Lets the place go: others may take it."""
        ...

    def forked(self) -> None:
        """Called in a forked child, before anything else: the place is the parent's, and stays so."""
        ...


if TYPE_CHECKING:

    class Chosen(Protocol):
        """What a directory is opened with; `coopy.place.options.Settings` has it."""

        @property
        def durability(self) -> str:
            """Whether calls wait for the disk."""
            ...

        @property
        def segment_bytes(self) -> int:
            """The size at which a new journal file is begun."""
            ...

        @property
        def wait(self) -> float:
            """Seconds to wait for another process to leave the directory."""
            ...
