"""The directory of a shared system: taken to write, or to follow who writes there. Knows no engine and no proxy."""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from collections.abc import Callable

from coopy.disk import directory, dirlock, manifest
from coopy.disk.digests import Digests
from coopy.disk.dirlock import DirectoryLock
from coopy.disk.fs import Calls
from coopy.disk.snapshots import DiskSnapshots
from coopy.errors import DirectoryInUse, ForeignDirectory, Unavailable
from coopy.ground.raised import on_failure
from coopy.place.directory import DirectoryPlace, refuse_foreign
from coopy.place.options import Settings
from coopy.replication import local, parcels
from coopy.replication.caller import LOOK_S, LOOK_S_MAX, Caller, Channel, Lost
from coopy.replication.followed import Followed, Shown
from coopy.replication.local import Listening
from coopy.replication.parcels import said
from coopy.replication.serving import NEWS
from coopy.values.codec import Codec

LOADING_S = 1.0
"""A writer that has just taken the directory has said so within this, however large its state is."""


def _nobody() -> None:
    pass


WARM_S = 0.2
"""A process that is opened leaves a directory whose writer was killed so long to those that have its state."""


class SharedPlace(DirectoryPlace):
    """The directory of a shared system: taken to write, or to follow who writes."""

    is_alone = False

    def __init__(self, basedir: str, cls: type, settings: Settings, *, calls: Calls | None = None) -> None:
        super().__init__(basedir, cls, settings, calls=calls)
        self.timeout_s = settings.timeout
        self.may_write = settings.copy
        """Whether this process writes if nobody else does: one that keeps no state can't."""
        self._wait_s = settings.wait
        self.caller = Caller(basedir, self._greeting, settings.timeout)
        self._codec = Codec(cls)
        self.listening: Listening | None = None
        """Where this process answers, if it writes."""
        self.news: Channel | None = None
        """Over which this process is told what is settled, if it follows."""
        self._forgotten = weakref.finalize(self, _nobody)

    @property
    def writes(self) -> bool:
        """Whether this process has the directory's lock."""
        return self.listening is not None

    def _greeting(self, purpose: str) -> bytes:
        return said(self._codec, parcels.FORMAT, self.manifest.system, purpose)

    def take(self, grown: Callable[[int], None] | None = None) -> None:
        """Takes the directory, or connects to who has it; see `Place.take`. Raises `Unavailable` if that one does not answer."""
        self._grown = grown
        directory.make(self.calls, self.name)
        with contextlib.suppress(ForeignDirectory):
            refuse_foreign(self.calls, self.name)
        # Between the two looks of it another process may have begun a system.
        refuse_foreign(self.calls, self.name)
        began = time.monotonic()
        look_s = LOOK_S
        # Where a process was killed another that has the state takes over: this one would have to load it first.
        warm_s = WARM_S if local.published(self.name) is not None else 0.0
        while True:
            waited_s = time.monotonic() - began
            if waited_s >= warm_s and self.may_write and self.took_lock():
                break
            if self._followed_at_once():
                return
            if waited_s > max(self._wait_s, LOADING_S) and self.may_write and not self._is_shared():
                self._take_lock()  # Says who has it.
                break
            if waited_s > self.timeout_s:
                raise Unavailable(
                    f"{self.name}: the process that writes has not answered for {self.timeout_s:g} s. Nothing was opened."
                )
            time.sleep(look_s)
            look_s = min(look_s * 2, LOOK_S_MAX)
        with on_failure(self.release):
            self.hold()

    def took_lock(self) -> bool:
        """Takes the lock, if nobody has it. Returns whether this process has it now."""
        try:
            DirectoryLock(self.name, self._know)
        except DirectoryInUse:
            self._lock = None
            return False
        return True

    def _is_shared(self) -> bool:
        """Whether who has the directory has opened it to be shared."""
        found = local.published(self.name)
        return found is not None and found.pid == dirlock.holder(self.name)

    def _followed_at_once(self) -> bool:
        """Connects to who writes, if somebody does. Returns whether it has answered."""
        found = manifest.read(self.calls, self.name)
        if found is None:
            return False
        self.manifest = found
        try:
            self.listen_to(self.caller.connected(NEWS, self.timeout_s))
        except Lost as lost:
            if lost.was_silent:
                raise Unavailable(f"{self.name}: {lost} from the process that writes. Nothing was opened.") from lost
            return False
        assert self.news is not None, "it has just been connected"
        with on_failure(self.release):
            last = self.news.welcome.position
            self.entries = Digests(self.calls, self.name)
            self._follow_from(last)
        return True

    def listen_to(self, news: Channel) -> None:
        """Has a connection as the one for news, and has it end when a caller finds that nobody answers."""
        news.wait_at_most(0)
        self.news = news
        self.caller.suspects = news.end
        self._forgotten.detach()
        # Who listens to it does not keep the system, and ends with it.
        self._forgotten = weakref.finalize(self, news.end)
        self._forgotten.atexit = False

    def let_news_go(self) -> None:
        """Ends the connection for news, and hears no more."""
        if self.news is not None:
            self.news.close()
            self.news = None
            self.caller.suspects = _nobody

    def hold(self) -> None:
        # Before anything is loaded: who comes meanwhile knows that the directory is shared, and waits.
        self.listening = Listening(self.name)
        super().hold()

    def forked(self) -> None:
        """Makes of the place of the parent one of this child: what is open is the parent's, and nothing is held."""
        if self._lock is not None:
            # Of a child it closes copies, and gives no lock back.
            self._lock.release()
            self._lock = None
        if self.listening is not None:
            self.listening.close()
        self.caller.forked()
        self.listening = self.news = None
        self.caller = Caller(self.name, self._greeting, self.timeout_s)
        log = getattr(self, "log", None)
        if log is None:
            return
        last = log.last
        log.abandon()
        self._follow_from(last)

    def _follow_from(self, last: int) -> None:
        """Has an action that the writer has told as the end of the log."""
        system = self.manifest.system
        self.log = Followed(self.calls, self.name, system, last)  # type: ignore[assignment]
        self.snapshots = Shown(DiskSnapshots(self.calls, self.name, system), self.log)  # type: ignore[arg-type]

    def stay_deterministic(self) -> None:
        if self.writes:
            super().stay_deterministic()

    def delivers(self) -> bool:
        return self.writes

    def abandon(self) -> None:
        log = getattr(self, "log", None)
        if log is not None:
            log.abandon()

    def release(self) -> None:
        self.caller.close()
        if self.news is not None:
            self.news.end()
        if self.listening is not None:
            self.listening.close()
            if self._lock is not None and self._lock.pid == os.getpid():
                self.listening.remove()
        super().release()
