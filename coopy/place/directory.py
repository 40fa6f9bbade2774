"""A directory of this machine as the place of a system: it is locked, and nobody else records there. A node's is in coopy/replication/.

Does not know the engine, the proxy or the domain's state.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from coopy.disk import directory, dirlock, manifest, older
from coopy.disk.digests import Digests
from coopy.disk.dirlock import DirectoryLock
from coopy.disk.fs import Calls, remove_if_there
from coopy.disk.journal import Journal
from coopy.disk.manifest import Manifest
from coopy.disk.snapshots import DiskSnapshots
from coopy.errors import CoopyError, DirectoryInUse, ForeignDirectory, JournalError, StorageError, Unreadable, UsageError
from coopy.ground import log, paths
from coopy.ground.program import MAIN
from coopy.ground.raised import on_failure
from coopy.ground.storage import EntryStore, SnapshotStore

if TYPE_CHECKING:
    from coopy.place.seam import Chosen

WAIT_STEP_S = 0.02
"""How long a process that waits for a directory sleeps before it looks again: soon enough for a person."""


class DirectoryPlace:
    """A directory, locked."""

    is_alone = True
    manifest: Manifest
    log: Journal
    snapshots: SnapshotStore
    entries: EntryStore

    def __init__(
        self,
        basedir: str,
        cls: type,
        settings: Chosen,
        *,
        calls: Calls | None = None,
        secret: bytes | None = None,
        is_quiet: bool = False,
        has_objects: bool = False,
    ) -> None:
        """``secret`` is that of a system that is begun here; ``is_quiet``: effects are left to another program; ``has_objects``: the
        directory is one of many objects, each with a key."""
        self.name: str = basedir
        self.path: str | None = basedir
        self.calls = Calls() if calls is None else calls
        self._cls = cls
        self._settings = settings
        self._secret = secret
        self._is_quiet = is_quiet
        self._has_objects = has_objects
        self._lock: DirectoryLock | None = None
        self._grown: Callable[[int], None] | None = None

    def take(self, grown: Callable[[int], None] | None = None) -> None:
        """Takes the directory, and opens its log and its snapshots; see `Place.take`."""
        self._grown = grown
        directory.make(self.calls, self.name)
        # A directory that is not ours is left as it is, without so much as a lock in it.
        refuse_foreign(self.calls, self.name)
        self._take_lock()
        with on_failure(self.release):
            self.hold()

    def hold(self) -> None:
        """Opens what is in the directory, which is locked."""
        self.manifest = self.begun()
        sweep(self.calls, self.name)
        # A process before may have given a file its name, and not have come to make the name durable.
        self.calls.sync_directory(self.name)
        self.entries = Digests(self.calls, self.name)
        self.open_files()

    def _take_lock(self) -> None:
        """Locks the directory; waits for another process to leave it. Raises `DirectoryInUse`."""
        until, has_collected = time.monotonic() + self._settings.wait, False
        while True:
            try:
                DirectoryLock(self.name, self._know)
                return
            except DirectoryInUse as error:
                if error.pid == os.getpid():
                    if has_collected:
                        raise
                    # A system of this process that nobody refers to any more may be waiting for the collector.
                    gc.collect()
                    has_collected = True
                elif time.monotonic() >= until:
                    raise
                else:
                    time.sleep(WAIT_STEP_S)

    def _know(self, lock: DirectoryLock) -> None:
        self._lock = lock

    def begun(self) -> Manifest:
        """Returns the manifest of the directory; makes it a system's if it is none yet."""
        found = manifest.read(self.calls, self.name, with_objects=True)
        if found is None:
            return begin(self.calls, self.name, self._cls, self._secret, has_objects=self._has_objects)
        if found.has_objects and not self._has_objects:
            raise UsageError(
                f"{self.name} holds many objects, each with a key, and was opened as one system. Nothing was changed. Open it with "
                f"coopy.objects({self._cls.__qualname__}, ...), or choose another directory."
            )
        if self._has_objects and not found.has_objects:
            raise UsageError(
                f"{self.name} holds one system, and was opened for many objects. Nothing was changed. Open it with "
                f"coopy.init_system({self._cls.__qualname__}, ...), or choose another directory."
            )
        return found

    def open_files(self) -> None:
        """Opens the log and the snapshots, also again."""
        calls, system = self.calls, self.manifest.system
        self.snapshots = DiskSnapshots(calls, self.name, system)
        newest = max(self.snapshots.indexes(), default=0)
        journal = self.log = Journal(
            calls,
            self.name,
            system,
            durability=self._settings.durability,
            segment_bytes=self._settings.segment_bytes,
            floor=max(self.snapshots.indexes(), default=None),
            grown=self._grown,
            held=self._lock,
        )
        if self._grown is not None:
            self._grown(journal.bytes_since(newest))
        if journal.is_whole and self._lock is not None:
            self._lock.mark()

    def accept(self, header: bytes, sequence: int) -> None:
        """Refuses the state of a node: what is recorded outside the line makes it differ from the others."""
        if sequence:
            raise UsageError(
                f"{self.name} is a node of a replicated system, and was opened as a system of its own. Nothing was "
                f"changed. Open it as the node it is (master=, replication= or cluster=); read it with coopy.replay(); or begin "
                f"a system with what it holds: init_system(coopy.replay({self._cls.__qualname__}, {self.name!r}), NEW)."
            )

    def stay_deterministic(self) -> None:
        """Says so in the directory: before the first action that needs it, and not if the state can't be restored."""
        if not self.manifest.deterministic:
            try:
                self.manifest = manifest.make_deterministic(self.calls, self.name, self.manifest)
            except OSError as error:
                raise JournalError(error.errno, f"{error.strerror}. The system was not opened.", self.name) from error

    def now(self) -> int:
        """Returns nanoseconds since 1970-01-01 UTC."""
        return time.time_ns()

    def delivers(self) -> bool:
        """Returns whether this process carries out what actions ask for."""
        return not self._is_quiet

    def check(self) -> None:
        """Raises `JournalError` if another directory may lie where this one was."""
        if self._lock is not None:
            self._lock.check()

    def kept(self, index: int) -> tuple[int, float] | None:
        """Returns the size of a snapshot's file, and when it was written."""
        try:
            file = os.stat(directory.snapshot_path(self.name, index))
        except OSError:
            return None
        return file.st_size, file.st_mtime

    def sweep_after(self, pid: int) -> None:
        """Removes what a child has begun to write and did not finish."""
        try:
            sweep(self.calls, self.name, f".{pid}{directory.TEMPORARY}")
        except OSError as error:
            log.warn("%s: what a snapshot has left behind is removed at the next opening: %s", self.name, error)

    def abandon(self) -> None:
        """Lets the journal go without a word to the disk, if it was opened."""
        journal = getattr(self, "log", None)
        if journal is not None:
            journal.abandon()

    def release(self) -> None:
        """Unlocks the directory."""
        if self._lock is not None:
            self._lock.release()

    def forked(self) -> None:
        """Lets a child know whose the lock is: it must be the parent's, even when the child outlives it."""
        if self._lock is not None:
            dirlock.forked_from.add(self._lock.pid)


# -- directories


def refuse_foreign(calls: Calls, basedir: str) -> None:
    """Refuses what an older release wrote, and a directory without a manifest that holds what looks like a system."""
    try:
        if manifest.read(calls, basedir, with_objects=True) is not None:
            return
    except ForeignDirectory:
        older.refuse(basedir)
        raise
    names = calls.names(basedir)
    found = [directory.segment_path(basedir, first) for first in directory.segments(names)]
    found += [directory.snapshot_path(basedir, index) for index in directory.snapshots(names)]
    if found:
        if all(map(paths.is_file, found)):
            older.refuse(basedir)
        raise ForeignDirectory(
            f"{basedir} holds segments or snapshots but no coopy.json: the file is lost, or something else wrote them. "
            f"Nothing was changed. Put coopy.json back from a backup, or choose another directory."
        )


def begin(
    calls: Calls,
    basedir: str,
    cls: type,
    secret: bytes | None = None,
    system: bytes | None = None,
    deterministic: bool = False,
    has_objects: bool = False,
) -> manifest.Manifest:
    """Makes a directory a system's."""
    refuse_foreign(calls, basedir)
    try:
        # Who made the directory may not have come to this.
        directory.sync_above(calls, basedir)
        domain, program = _made_for(cls)
        return manifest.create(calls, basedir, domain, secret, system, deterministic, program, has_objects)
    except OSError as error:
        raise JournalError(error.errno, f"{error.strerror}. No system was begun.", basedir) from error


def _made_for(cls: type) -> tuple[str, str]:
    """What names the class for other programs: module:Class, and the file if it is that of a program, which is no module."""
    main = sys.modules.get(cls.__module__)
    spec, path = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    is_there: Any = main
    for name in cls.__qualname__.split("."):
        is_there = getattr(is_there, name, None)
    if cls.__module__ in MAIN and is_there is cls and path:
        if spec is not None and spec.name not in MAIN:
            return f"{spec.name}:{cls.__qualname__}", ""  # Of python -m, which runs a module.
        return f"__main__:{cls.__qualname__}", os.path.abspath(path)
    return f"{cls.__module__}:{cls.__qualname__}", ""


def not_opened(error: BaseException, basedir: str) -> BaseException:
    """An error of opening that says which directory it is about."""
    if not isinstance(error, OSError) or (isinstance(error, CoopyError) and not isinstance(error, Unreadable)):
        return error
    is_there = os.path.isdir(basedir)
    said = "The directory was not opened, and what was in it still is." if is_there else "Nothing was opened or changed."
    return paths.refusal(error, basedir, said)


def absent(basedir: str) -> UsageError:
    return UsageError(
        f"{basedir}: there is no system, and create=False. Nothing was made. See that this is the directory that is meant, "
        f"also from this current directory; to begin a new system, leave create=False out."
    )


def sweep(calls: Calls, basedir: str, ending: str = directory.TEMPORARY) -> None:
    """Removes what an earlier process had begun to write and did not finish."""
    for name in calls.names(basedir):
        if name.endswith(ending) and name.startswith(("transaction_", "snapshot_", manifest.NAME)):
            path = os.path.join(basedir, name)
            if not paths.is_directory(path):
                remove_if_there(calls, path)


def is_deterministic(basedir: str, asked: bool | None) -> bool:
    """Whether actions answer the standard library's clock and chance; sees to it that they can. Raises `UsageError`."""
    try:
        found = manifest.read(Calls(), basedir, with_objects=True)
    except (StorageError, OSError):
        found = None  # Opening it says why.
    if found is not None and found.deterministic:
        if asked is False:
            raise UsageError(
                f"deterministic=False: the actions in {basedir} were recorded with deterministic=True, and without it "
                f"replay would give another state. Nothing was opened. Leave it out, or choose another directory."
            )
        asked = True
    if not asked:
        return False
    from coopy.determinism.install import install

    install()
    return True


def refuse_absent(basedir: str) -> None:
    """Raises `UsageError` where there is no system. Of what looks like a part of one, opening it says what it is."""
    try:
        names = Calls().names(basedir)
    except (FileNotFoundError, NotADirectoryError):
        raise absent(basedir) from None
    except OSError:
        return  # Opening it says why.
    if not directory.snapshots(names) and not directory.segments(names):
        raise absent(basedir)
