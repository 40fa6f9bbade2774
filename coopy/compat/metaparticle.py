"""The Python API of Metaparticle/Sync, for a sidecar: `coopy elector`, or the original one.

    lock = Lock("test")
    lock.acquire()
    ...
    lock.release()

Names, arguments and callbacks are those of metaparticle_sync (github.com/metaparticle-io/sync, python/). What did not work there does: a loss is
told, an election stands again after it, `release` frees the lock at once, and the package imports on Python 3. With ``lock_lost_callback`` a loss is told
there; without one `release`, or the end of the ``with`` block, raises `LockLost`, and `held` is False from the moment of the loss.

Every lock object is an owner of its own, also of others in the same pod. The holder does not rely on being told: it counts two thirds of the time that
the sidecar has promised, by a clock that nobody can set, from before it asked; when they are over, it holds the lock no more, whether anybody answers or not.
"""

from __future__ import annotations

import atexit
import contextlib
import http.client
import json
import logging
import os
import socket
import threading
import urllib.parse
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple
from uuid import uuid4

import coopy
from coopy.ground.raised import last_resort, on_failure
from coopy.sync import boot

BASE_URI = "http://localhost:13131"
POLL_S = 10.0
"""Between two attempts at a lock that another has, as the original has it. `coopy elector` answers as soon as it is free."""
PATIENCE_S = 60.0
"""A sidecar may start after the program: for so long `acquire` tries to reach it."""
RETRY_S = 0.5
"""Between two attempts to reach a sidecar."""
REQUEST_S = 10.0
"""A sidecar that does not answer by then is not there."""
GOODBYE_S = 2.0
"""For the request that frees a lock, as the process may be about to end."""
ORIGINAL_TTL_S = 30.0
"""The time to live of the original's locks, which they do not say."""
_HELD_OF_PROMISED = 2 / 3
"""Two clocks may differ in speed by half."""
_BEAT_OF_PROMISED = 1 / 3
"""A heartbeat that fails leaves time for others."""
_NS = 1_000_000_000  # Nanoseconds in a second.
_MS = 1_000  # Milliseconds in a second.
_OVER = "no heartbeat was answered within its time"

_log = logging.getLogger("coopy.compat.metaparticle")
_Callback = Callable[[], object]


class LockLost(coopy.LockLost, RuntimeError):
    """The lock was lost while it was held, and this was the first call since that could say so."""


class _Answer(NamedTuple):
    status: int
    token: int | None
    """None: of the original."""
    promised_s: float
    """For so long the lock surely stays as it is, counted from ``waited_s`` after the request was sent."""
    waited_s: float = 0.0
    """For so long the sidecar has waited for the lock, at least, before it took it."""


class _Hold:
    """One acquisition: what is known of it, and the thread that keeps it."""

    def __init__(self, sent_s: float, answer: _Answer) -> None:
        self.token = answer.token
        self.ended = threading.Event()
        """The thread has nothing more to do."""
        self.why = ""
        """Why it was lost, if it was."""
        self.renewed(sent_s, answer)
        self.thread: threading.Thread | None = None

    def renewed(self, sent_s: float, answer: _Answer) -> None:
        from_s = sent_s + answer.waited_s
        self.until_s = from_s + answer.promised_s * _HELD_OF_PROMISED
        self.beat_s = from_s + answer.promised_s * _BEAT_OF_PROMISED

    @property
    def is_good(self) -> bool:
        return not self.why and _now_s() < self.until_s


class Lock:
    """A lock that one owner at a time has, among all programs whose sidecars keep it together.

    Args:
        name: of the lock; its owners are those who ask for the same name.
        base_uri: where the sidecar is.
        lock_callback: called when the lock was acquired, before `acquire` returns.
        lock_lost_callback: called when the lock is not held any more: at once in another thread if it was lost, or by `release`.
    """

    def __init__(
        self,
        name: str,
        base_uri: str = BASE_URI,
        lock_callback: _Callback | None = None,
        lock_lost_callback: _Callback | None = None,
    ) -> None:
        self.name = name
        self.base_uri = base_uri
        self.lock_callback = lock_callback
        self.lock_lost_callback = lock_lost_callback
        self._is_original = False
        """Whether the sidecar is the one of Metaparticle, which knows nothing of DELETE."""
        self._own_nothing()
        _locks.add(self)

    def _own_nothing(self) -> None:
        self._owner = uuid4().hex
        self._mutex = threading.Lock()
        """Guards `_hold`. Not held while anything is waited for."""
        self._hold: _Hold | None = None
        self._given_up = threading.Event()
        self._asking: http.client.HTTPConnection | None = None
        """The request that waits for the lock."""

    @property
    def held(self) -> bool:
        """Whether this object holds the lock now, by what is known here; no request is sent."""
        hold = self._hold
        return hold is not None and hold.is_good

    @property
    def token(self) -> int | None:
        """The fencing token of what is held; None if nothing is, or if the sidecar is the original, which has none."""
        hold = self._hold
        return hold.token if hold is not None and hold.is_good else None

    def acquire(self, blocking: bool = True) -> bool:
        """Takes the lock, and waits for it if ``blocking``. Returns whether it was taken.

        Raises RuntimeError if this object has it already, `LockLost` if it was lost and nobody was told, and ConnectionError if no sidecar
        answers; that is tried for a minute if it may wait.
        """
        self._refuse_held()
        # It may have been taken all the same, where the answer was not heard.
        with on_failure(self._delete, None):
            sent_s, answer = self._asked(blocking)
        if answer is None or answer.status != http.client.OK:
            self._given_up.clear()
            return False
        hold = _Hold(sent_s, answer)
        with self._mutex:
            self._hold = hold
        hold.thread = threading.Thread(target=self._keep, args=(hold,), name=f"coopy lock {self.name}", daemon=True)
        hold.thread.start()
        if self.lock_callback is not None:
            with on_failure(self._release_if_held):
                self.lock_callback()
        return True

    def release(self) -> None:
        """Frees the lock at once, and calls ``lock_lost_callback``.

        Raises RuntimeError if this object does not hold it, which is `LockLost` if it was lost meanwhile.
        """
        with self._mutex:
            hold, self._hold = self._hold, None
        if hold is None:
            raise RuntimeError(f"the lock {self.name!r} is not held by this object. Nothing was changed.")
        was_good = hold.is_good
        hold.ended.set()
        if hold.thread is not None and hold.thread is not threading.current_thread():
            hold.thread.join()
        if not was_good and not hold.why:
            self._lose(hold, _OVER)
        if hold.why:
            raise LockLost(self.name, hold.token or 0, hold.why)
        self._delete(hold)
        if self.lock_lost_callback is not None:
            self.lock_lost_callback()

    def _release_if_held(self) -> None:
        with contextlib.suppress(RuntimeError):
            self.release()

    def give_up(self) -> None:
        """Has an `acquire` that waits in another thread return False; if none does, the next one."""
        self._given_up.set()
        asking = self._asking
        if asking is not None and asking.sock is not None:
            with contextlib.suppress(OSError):  # It has been answered by now.
                asking.sock.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Lock:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            self.release()
        except RuntimeError:
            # What was raised inside says more.
            if kind is None:
                raise

    # -- how it is taken

    def _refuse_held(self) -> None:
        with self._mutex:
            hold = self._hold
            if hold is None:
                return
            if hold.is_good:
                raise RuntimeError(
                    f"the lock {self.name!r} is held by this object already; it is not reentrant. Nothing was changed."
                )
            self._hold = None
        hold.ended.set()
        if self.lock_lost_callback is None:
            raise LockLost(self.name, hold.token or 0, hold.why or _OVER)

    def _asked(self, blocking: bool) -> tuple[float, _Answer | None]:
        """Returns the last answer and when it was asked for; None if it was given up."""
        until_s = _now_s() + (PATIENCE_S if blocking else 0)
        is_told = False
        while not self._given_up.is_set():
            began_s = sent_s = _now_s()
            try:
                answer = self._put(0)
                if answer.status == http.client.CONFLICT and blocking and not self._is_original:
                    sent_s = _now_s()
                    answer = self._put(int(POLL_S))
            except OSError as error:
                if _now_s() >= until_s and not self._given_up.is_set():
                    raise ConnectionError(
                        f"no sidecar answers at {self.base_uri}: {error}. The lock {self.name!r} was not acquired. Start one: coopy elector"
                    ) from error
                if not is_told and not self._given_up.is_set():
                    is_told = True
                    _log.warning("no sidecar answers at %s: %s. It is asked again for %d s.", self.base_uri, error, PATIENCE_S)
                self._given_up.wait(RETRY_S)
                continue
            if answer.status == http.client.OK and not _Hold(sent_s, answer).is_good:
                # This process stood still, and what was promised then is over by now.
                if blocking:
                    continue
                break
            if answer.status == http.client.OK or not blocking:
                return sent_s, answer
            if answer.status != http.client.CONFLICT:
                _log.warning(
                    "the sidecar at %s answers %d for the lock %r. It is asked again.", self.base_uri, answer.status, self.name
                )
            until_s = _now_s() + PATIENCE_S
            # One that has waited for the lock itself has taken that long.
            self._given_up.wait(max(0.0, POLL_S - (_now_s() - began_s)))
        # It may have been given all the same.
        self._delete(None)
        return 0.0, None

    # -- how it is kept

    def _keep(self, hold: _Hold) -> None:
        """Asks the sidecar to keep the lock, until it is released or lost."""
        while not hold.ended.wait(max(0.0, min(hold.beat_s, hold.until_s) - _now_s())):
            sent_s = _now_s()
            left_s = hold.until_s - sent_s
            if left_s <= 0:
                self._lose(hold, _OVER)
                return
            try:
                answer = self._put(0, min(REQUEST_S, left_s))
            except OSError as error:
                _log.warning(
                    "no sidecar answers at %s: %s. The lock %r is held for %.1f s more.",
                    self.base_uri,
                    error,
                    self.name,
                    left_s,
                )
                hold.beat_s = _now_s() + RETRY_S
                continue
            if answer.status == http.client.OK and answer.token == hold.token:
                hold.renewed(sent_s, answer)
            elif answer.status == http.client.OK:
                # It was free for a while, and is this object's again: whoever had it meanwhile has a token between the two.
                self._delete(None)
                self._lose(hold, "it was free for a while, as no heartbeat reached the sidecar in time")
                return
            elif answer.status == http.client.CONFLICT:
                self._lose(hold, "another has it")
                return
            else:
                _log.warning("the sidecar at %s answers %d for the lock %r.", self.base_uri, answer.status, self.name)
                hold.beat_s = _now_s() + RETRY_S

    def _lose(self, hold: _Hold, why: str) -> None:
        hold.why = why
        hold.ended.set()
        _log.error("the lock %r is lost: %s", self.name, why)
        if self.lock_lost_callback is not None:
            with self._mutex:
                if self._hold is hold:
                    self._hold = None
            # In a thread that nobody waits for; the lock is lost all the same.
            with last_resort(self._callback_raised):
                self.lock_lost_callback()

    def _callback_raised(self, error: Exception) -> None:
        _log.error("lock_lost_callback of the lock %r raised", self.name, exc_info=error)

    # -- requests

    def _put(self, wait_s: int, timeout_s: float = REQUEST_S) -> _Answer:
        """Asks for the lock. Raises OSError."""
        query = {"owner": self._owner, **({"wait": wait_s} if wait_s else {})}
        status, said = self._request("PUT", query, timeout_s + wait_s, is_asking=wait_s > 0)
        spec = said.get("spec") if isinstance(said, dict) else None
        spec = spec if isinstance(spec, dict) else {}
        token, remaining, waited = spec.get("token"), spec.get("remaining"), spec.get("waited")
        if isinstance(token, int) and isinstance(remaining, int) and isinstance(waited, int):
            self._is_original = False
            return _Answer(status, token, remaining / _MS, waited / _MS)
        self._is_original = self._is_original or "owner" in spec
        # After each 200 of the original at least half of the time is left, or the lock would have its full time again.
        return _Answer(status, None, ORIGINAL_TTL_S / 2)

    def _delete(self, hold: _Hold | None) -> None:
        """Frees the lock; what is not freed ends after its time."""
        if self._is_original:
            return  # It never answers that.
        query: dict[str, object] = {"owner": self._owner}
        if hold is not None:
            query["token"] = hold.token
        try:
            self._request("DELETE", query, GOODBYE_S)
        except OSError as error:
            _log.info("the lock %r was not freed: %s. It will be after its time.", self.name, error)

    def _request(self, method: str, query: dict[str, Any], timeout_s: float, is_asking: bool = False) -> tuple[int, Any]:
        parts = urllib.parse.urlsplit(self.base_uri)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "localhost", parts.port, timeout=timeout_s)
        path = f"{parts.path.rstrip('/')}/locks/{urllib.parse.quote(self.name, safe='')}?{urllib.parse.urlencode(query)}"
        try:
            connection.connect()
            if is_asking:
                self._asking = connection
                if self._given_up.is_set():
                    raise ConnectionAbortedError("it was given up")
            connection.request(
                method, path, headers={"accept": "application/json", "content-length": "0", "connection": "close"}
            )
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except http.client.HTTPException as error:
            raise ConnectionError(f"what answers speaks no HTTP: {error!r}") from error
        except ValueError:
            return answer.status, None
        finally:
            if is_asking:
                self._asking = None
            connection.close()


class Election:
    """Chooses one master among all programs that stand for the same name, and another after it.

    ``is_master_callback`` is called when this one has become it, ``lost_master_callback`` when it is not any more: at once, in another thread, if
    that was not its own will. If ``is_master_callback`` raises, this one resigns, and `run` raises it.
    """

    def __init__(
        self, name: str, is_master_callback: _Callback, lost_master_callback: _Callback, base_uri: str = BASE_URI
    ) -> None:
        self.master_callback = is_master_callback
        self.lost_master_callback = lost_master_callback
        self.lock = Lock(name, base_uri, lock_lost_callback=self._lost)
        self._mutex = threading.Lock()
        """Guards `_is_master`: a loss is told once."""
        self._is_master = False
        self._over = threading.Event()
        self._change = threading.Event()
        """Something has happened that a master must look at: it is none any more, or it is over."""

    @property
    def is_master(self) -> bool:
        """Whether this one is the master now, by what is known here."""
        return self._is_master and self.lock.held

    def run(self) -> None:
        """Stands for election, again after each loss, until `shutdown`. Raises what `Lock.acquire` and the callbacks raise."""
        try:
            while not self._over.is_set():
                self._change.clear()
                if not self.lock.acquire():
                    continue
                try:
                    if not self._over.is_set():
                        self._is_master = True
                        self.master_callback()
                        self._change.wait()
                finally:
                    # If it was lost, the callback has been called.
                    with contextlib.suppress(RuntimeError):
                        self.lock.release()
                    # Unless that was before this one took itself for the master.
                    self._lost()
        finally:
            self._over.clear()

    def shutdown(self) -> None:
        """Has `run` return, which resigns if this one is the master. Called before `run`, it has that return at once.

        A signal's handler must call it in a thread of its own: it runs in the midst of what the main thread does, and might wait for it.
        """
        self._over.set()
        self._change.set()
        self.lock.give_up()

    def _lost(self) -> None:
        with self._mutex:
            was_master, self._is_master = self._is_master, False
        self._change.set()
        if was_master:
            self.lost_master_callback()


_locks: weakref.WeakSet[Lock] = weakref.WeakSet()


def _now_s() -> float:
    return boot.now_ns() / _NS


def _free_all() -> None:
    """Frees what is held when the process ends."""
    for lock in list(_locks):
        hold = lock._hold
        if hold is not None and hold.is_good:
            lock._delete(hold)


def _own_nothing() -> None:
    """What the process holds is not its child's."""
    for lock in list(_locks):
        lock._own_nothing()


atexit.register(_free_all)
os.register_at_fork(after_in_child=_own_nothing)
