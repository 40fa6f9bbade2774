"""A data directory opened to be read: it may be in use, and nothing in it is changed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TypeVar

from coopy import migration
from coopy.disk import manifest
from coopy.disk.digests import Digests
from coopy.disk.fs import Calls
from coopy.disk.journal import Journal
from coopy.disk.manifest import Manifest
from coopy.disk.snapshots import DiskSnapshots
from coopy.errors import ReplayError, UsageError
from coopy.ground import action, paths
from coopy.ground.log import Bar
from coopy.ground.storage import Log
from coopy.ground.words import shown
from coopy.past import history
from coopy.past.history import Action
from coopy.past.proxy import codec_of_past
from coopy.spine import versions
from coopy.spine.agreement import Only
from coopy.spine.machine import Machine
from coopy.spine.replay import Progress, restore
from coopy.values.codec import Codec

T = TypeVar("T")


class Reading:
    """The log and the snapshots of a directory. Raises `UsageError` if there is no system, or a `StorageError`.

    ``cls`` is the domain class; with None what is stored is decoded by the names it was stored under.
    """

    def __init__(self, basedir: str, cls: type | None = None) -> None:
        if cls is not None:
            migration.of(cls).check()
        basedir = paths.absolute(basedir)
        calls = Calls()
        with paths.reads(basedir):
            found = manifest.read(calls, basedir)
        if found is None:
            raise UsageError(f"{basedir}: there is no coopy.json, so no system to read or replay. Nothing was changed.")
        self.basedir = basedir
        self.manifest = found
        if found.deterministic:
            from coopy.determinism import install

            install.install()
        self._begin: Callable[[Machine], None] | None = None
        if cls is None:
            self.codec = Codec(object)
        else:
            self.codec, self._begin = codec_of_past(cls)
        with paths.reads(basedir):
            self.snapshots = DiskSnapshots(calls, basedir, found.system)
            self.entries = Digests(calls, basedir)
            self.log = Journal(calls, basedir, found.system, write=False, floor=max(self.snapshots.indexes(), default=0))

    def machine(
        self,
        until: int | datetime | None = None,
        progress: Progress | None = None,
        loading: Progress | None = None,
        stops: Sequence[int] = (),
        visit: Callable[[Machine], None] | None = None,
        misfit: Callable[[ReplayError], None] | None = None,
    ) -> Machine:
        """The machine as it was then; see `coopy.spine.replay.restore`."""
        index, instant, clock_from = point(until, self.log.last, self.manifest)
        with paths.reads(self.basedir):
            return restore(
                self.log,
                self.snapshots,
                self.codec,
                self.manifest.secret,
                deterministic=self.manifest.deterministic,
                until=index,
                instant=instant,
                clock_from=clock_from,
                progress=progress,
                loading=loading,
                begin=self._begin,
                stops=stops,
                visit=visit,
                misfit=misfit,
            )

    def machine_from(
        self,
        base: int,
        until: int | None,
        stops: Sequence[int],
        visit: Callable[[Machine], None],
        log: Log | None = None,
        progress: Progress | None = None,
    ) -> Machine:
        """The machine after action ``until``, replayed from the snapshot of action ``base``, whatever later ones there are.

        ``log`` is read in the place of the directory's.
        """
        return restore(
            self.log if log is None else log,
            Only(self.snapshots, base),
            self.codec,
            self.manifest.secret,
            deterministic=self.manifest.deterministic,
            until=until,
            progress=progress,
            begin=self._begin,
            stops=stops,
            visit=visit,
        )

    def refuse_other_class(self) -> None:
        """Refuses to be read for a class that the state is not of, as `machine` does. Raises what that raises."""
        named = f"{self.codec.domain_class.__module__}:{self.codec.domain_class.__qualname__}"
        indexes = self.snapshots.indexes()
        if self.manifest.domain != named and indexes:
            self.machine(min(indexes[-1], self.log.last))

    def actions(self, after: int | None = None) -> Iterator[Action]:
        """The recorded actions, from the oldest that is there or from the one behind ``after`` on."""
        oldest = self.log.oldest - 1
        with paths.reads(self.basedir):
            yield from history.actions(self.log, self.codec, oldest if after is None else max(after, oldest))

    def close(self) -> None:
        self.log.close()

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def replay(
    cls: type[T],
    basedir: str | os.PathLike[str],
    until: int | datetime | None = None,
    *,
    progress: Progress | None = None,
) -> T:
    """The plain domain object as it was: after an action, at a time, or (None) after all.

    >>> wiki = init_system(Wiki, "data")
    >>> wiki.create_page("Home", "Welcome")
    1
    >>> wiki.create_page("News", "None")
    2
    >>> replay(Wiki, "data", until=1).pages  # or until=datetime(2026, 3, 1, 12, 0)
    {'Home': 'Welcome'}

    Writes nothing, and may be called while a system is open in the directory. A naive datetime
    is local time of this machine.

    Raises:
        UsageError: there is no system there, or ``until`` is not a point of it.
        StorageError, ReplayError, DecodingError: as for `init_system`.
    """
    if not isinstance(cls, type):
        raise UsageError(f"replay() takes the domain class, not an instance of {type(cls).__qualname__}")
    with Reading(paths.absolute(basedir), cls) as reading:
        bar = Bar(f"replaying {os.path.basename(reading.basedir)}")
        try:
            machine = reading.machine(until, progress or bar, None if progress else bar.loading)
        finally:
            bar.finish()
    versions.leave(machine.domain)
    domain: T = machine.domain
    return domain


def point(until: int | datetime | None, last: int, said: Manifest) -> tuple[int | None, int | None, int]:
    """``until`` as an index or an instant (ns), and the action from which on the clock runs that shows that instant."""
    if isinstance(until, datetime):
        # Actions have nanoseconds, datetimes do not: every action of that microsecond is in.
        instant = action.nanoseconds(until) + 999
        return None, instant, said.clock_from(instant)
    if until is None:
        return None, None, 0
    if isinstance(until, bool) or not isinstance(until, int):
        raise UsageError(f"until={shown(until)}: must be the index of an action, a datetime, or None")
    if not 0 <= until <= last:
        raise UsageError(f"until={shown(until)}: the system has actions 1 to {last}; 0 is the state before the first")
    return until, None, 0
