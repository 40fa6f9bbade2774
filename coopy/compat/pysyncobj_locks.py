"""PySyncObj's ReplLockManager, on the locks of `coopy.sync`.

The locks are state of the `SyncObj` that it is a consumer of. Time is counted in the log, and no process's clock frees a lock early, as PySyncObj's
does for whoever asks next. What waits for the system waits in a thread of the manager's own, so that no call but those with ``sync`` takes long.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

from coopy import CoopyError, abort_exception, readonly
from coopy.batteries import LockManager
from coopy.compat.pysyncobj_conf import FAIL_REASON, SyncObjException
from coopy.compat.pysyncobj_domain import Domain, member_of
from coopy.compat.pysyncobj_member import Callback, SyncObjConsumer
from coopy.compat.pysyncobj_running import Running, reason_of
from coopy.ground import log
from coopy.sync import Locks

_now = time.monotonic


def _change_locks(number: int) -> Callable[..., Any]:
    @abort_exception
    def change_locks(self: Domain, what: str, *args: Any) -> Any:
        return member_of(self, number)._held.change_locks(what, *args)

    return change_locks


def _see_locks(number: int) -> Callable[..., Any]:
    @readonly
    def see_locks(self: Domain, what: str, *args: Any) -> Any:
        return member_of(self, number)._held.see_locks(what, *args)

    return see_locks


class _Locks(SyncObjConsumer):
    """The state. Of several among the consumers of one `SyncObj` the first has the locks of all."""

    _coopy_domain_methods = {"change_locks": _change_locks, "see_locks": _see_locks}

    def __init__(self) -> None:
        super().__init__()
        self._held = Locks()


class ReplLockManager:
    """Takes and gives back locks by name. A lock whose holder is gone is free after ``autoUnlockTime`` seconds.

    Args:
        autoUnlockTime: seconds, more than 0.
        selfID: what this holder is called in messages; by default host, process and id.
        timeout: another name for autoUnlockTime, which PySyncObj's README uses.

    manager = ReplLockManager(autoUnlockTime=75)
    system = SyncObj("a:4321", ["b:4321", "c:4321"], consumers=[manager])
    if manager.tryAcquire("door", sync=True):
        manager.release("door")
    """

    def __init__(self, autoUnlockTime: float | None = None, selfID: str | None = None, *, timeout: float | None = None) -> None:
        found = timeout if autoUnlockTime is None else autoUnlockTime
        if found is None:
            raise TypeError(
                "ReplLockManager() takes autoUnlockTime: the seconds after which a lock is free whose holder is gone"
            )
        self._time_s = float(found)
        self.selfID = f"{socket.gethostname()}:{os.getpid()}:{id(self)}" if selfID is None else selfID
        self._state = _Locks()
        self._keeper: LockManager | None = None
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._worker: threading.Thread | None = None
        self._destroyed = False

    def _consumer(self) -> SyncObjConsumer:
        return self._state

    def tryAcquire(
        self, lockID: str, callback: Callback | None = None, sync: bool = False, timeout: float | None = None
    ) -> bool | None:
        """Takes a lock. With ``sync`` returns whether this manager has it; else returns None, and ``callback(result, reason)`` is told.

        One that took longer than half of autoUnlockTime is given back, and told as not taken. Raises `SyncObjException` with ``sync``.
        """
        began = _now()

        def acquire() -> bool:
            found = self._opened().tryAcquire(self._name(lockID))
            if found and _now() - began > self._time_s / 2:
                self._opened().release(self._name(lockID))
                return False
            return found

        try:
            taken: bool | None = self._do(acquire, callback, sync, timeout)
        except SyncObjException:
            self.release(lockID)  # Nobody waits for it any more, if it is taken after all.
            raise
        return taken

    def release(self, lockID: str, callback: Callback | None = None, sync: bool = False, timeout: float | None = None) -> None:
        """Gives a lock back, if this manager has it. ``callback(None, reason)`` is told. Raises `SyncObjException` with ``sync``."""

        def release() -> None:
            self._opened().release(self._name(lockID))

        self._do(release, callback, sync, timeout)

    def isAcquired(self, lockID: str) -> bool:
        """Whether this manager has a lock, by its own clock. Asks nobody."""
        return self._keeper is not None and self._keeper.isAcquired(self._name(lockID))

    def destroy(self) -> None:
        """Gives all locks back; to be called before the `SyncObj` is destroyed."""
        self._destroyed = True
        if self._keeper is not None:
            self._keeper.destroy()

    # -- how

    def _name(self, lockID: str) -> str:
        """What a lock is called among those of all managers of the `SyncObj`."""
        return f"{self._state._coopy_number}:{lockID}"

    def _opened(self) -> LockManager:
        """Returns the manager of the system. Raises `SyncObjException`."""
        if self._keeper is None:
            running = self._state._coopy_sends
            if not isinstance(running, Running) or self._destroyed:
                raise SyncObjException("this ReplLockManager is not among the consumers of a SyncObj, or is destroyed")
            self._keeper = LockManager(self._time_s, self.selfID, system=running.system())
        return self._keeper

    def _do(self, work: Callable[[], Any], callback: Callback | None, sync: bool, timeout: float | None) -> Any:
        """Has the worker do something, in the order in which it was asked for."""
        answer = futures.Future[Any]()

        def run() -> None:
            if answer.set_running_or_notify_cancel():
                try:
                    answer.set_result(work())
                except (CoopyError, SyncObjException) as error:
                    answer.set_exception(error)

        if not sync:
            answer.add_done_callback(lambda found: self._tell(found, callback))
        self._work.put(run)
        if self._worker is None:
            self._worker = threading.Thread(target=self._keep_working, name=f"coopy locks {self.selfID}", daemon=True)
            self._worker.start()
        if not sync:
            return None
        if not futures.wait([answer], timeout).done:
            answer.cancel()
            raise SyncObjException("Timeout")
        try:
            return answer.result()
        except CoopyError as error:
            raise SyncObjException(reason_of(error)) from error

    def _keep_working(self) -> None:
        while True:
            self._work.get()()

    def _tell(self, answer: futures.Future[Any], callback: Callback | None) -> None:
        error = answer.exception()
        reason = FAIL_REASON.SUCCESS
        if error is not None:
            reason = FAIL_REASON.REQUEST_DENIED if isinstance(error, SyncObjException) else reason_of(error) or reason
            log.warn("%s: %s", self.selfID, error)
        if callback is not None:
            log.call_back(self.selfID, callback, answer.result() if error is None else None, reason)
