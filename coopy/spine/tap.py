"""Who is told, in this process, of actions that may be told now.

The engine says, with its lock held, up to which action all have ended (`Tap.tell`): one comparison for a call while nobody listens, a flag
to look at for each subscriber while one does. Each `Subscription` has a thread of its own, which waits until those actions are settled
and then calls its callback with the range of them, without the lock. Since it is told of ranges, nothing is queued: a slow callback holds
up no call and no other subscriber, and is told of a longer range the next time.

No action is decoded here; `coopy.control` has what reads them.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from coopy.errors import CoopyError, SystemClosed
from coopy.ground.log import error as log_error
from coopy.ground.raised import last_resort
from coopy.ground.storage import Log
from coopy.ground.words import shown

if TYPE_CHECKING:
    from typing_extensions import Self

Told = Callable[[int, int], object]
"""Called with the indexes of the first and the last action of a range."""


class Tapped(Protocol):
    """What a tap asks of an engine."""

    log: Log
    tap: Tap | None

    def run(self, function: Callable[[], object]) -> object:
        """Runs a function with the lock held."""
        ...


class Tap:
    """Where subscribers of one engine are told. Guarded by the engine's lock, but for what is said otherwise."""

    def __init__(self, newest: int) -> None:
        self.newest = newest
        """Index of the last action that has ended. Read by subscribers without the lock."""
        self.ended = False
        """Whether nothing comes any more."""
        self.is_settled = False
        """Whether all actions are settled, though the log takes no more."""
        self.subscriptions: tuple[Subscription, ...] = ()

    def tell(self, index: int) -> None:
        """Takes the index of the last action that has ended."""
        self.newest = index
        for each in self.subscriptions:
            if each.asleep:
                each.wake()

    def end(self, index: int | None) -> None:
        """Takes the index of the last action of all, or None if it is not known whether what came last is settled."""
        if not self.ended:
            self.is_settled = index is not None
            if index is not None:
                self.newest = index
            self.ended = True
        for each in self.subscriptions:
            each.wake()


class Subscription:
    """What `Control.subscribe` returns. The callback is called until it is closed, or the system is; as a context manager it is closed at the end."""

    def __init__(self, engine: Tapped, tap: Tap, told: Told, after: int, then: Callable[[], object] | None) -> None:
        self.last = after
        """Index of the last action that the callback has been told of."""
        self.asleep = False
        self._engine = weakref.ref(engine, lambda _: self._stop())
        self._tap = tap
        self._told = told
        self._then = then
        self._closed = False
        self._moved = threading.Condition(threading.RLock())
        self._bell = threading.Lock()
        self._bell.acquire()
        self._thread = threading.Thread(target=self._run, name=f"coopy subscriber {shown(told)}", daemon=True)

    def start(self) -> None:
        """Starts the thread. Raises RuntimeError if there can't be one more."""
        self._thread.start()

    def wake(self) -> None:
        """Has the thread look for news. May be called by a signal handler, and in between of anything."""
        self.asleep = False
        try:
            self._bell.release()
        except RuntimeError:
            pass  # It has just been woken.

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the callback has been told of every action that has ended by now, or until it is told of none any more.

        Returns False if that takes longer than ``timeout`` seconds. Not to be called by the callback itself.
        """
        upto = self._tap.newest
        with self._moved:
            return self._moved.wait_for(lambda: self.last >= upto or not self._thread.is_alive(), timeout)

    def close(self) -> None:
        """Ends it. A callback that runs now is waited for, unless it is the one that calls this. Closing twice is fine."""
        self._stop()
        engine = self._engine()
        if engine is not None:
            engine.run(lambda: self._leave(engine))
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _leave(self, engine: Tapped) -> None:
        self._tap.subscriptions = tuple(each for each in self._tap.subscriptions if each is not self)
        if not self._tap.subscriptions and engine.tap is self._tap:
            engine.tap = None

    def _stop(self) -> None:
        self._closed = True
        self.wake()

    def _run(self) -> None:
        try:
            while self._tell_on():
                pass
        finally:
            with self._moved:
                self._moved.notify_all()
            if self._then is not None:
                self._then()

    def _tell_on(self) -> bool:
        """Tells of what is new; waits for it. Returns False once nothing comes any more."""
        tap = self._tap
        self.asleep = True
        # Whoever tells now sees that this thread sleeps; what was told before is seen here.
        if tap.newest <= self.last and not tap.ended and not self._closed:
            self._bell.acquire()
        self.asleep = False
        upto = tap.newest
        if self._closed or (upto <= self.last and tap.ended):
            return False
        if upto <= self.last:
            return True
        if not self._is_settled(upto):
            return False
        # It is the user's code: it is told of the next actions all the same.
        with last_resort(self._raised, upto):
            self._told(self.last + 1, upto)
        self.last = upto
        with self._moved:
            self._moved.notify_all()
        return True

    def _raised(self, error: Exception, upto: int) -> None:
        log_error(
            "a subscriber, %s, raised %r when it was told of actions %d to %d", shown(self._told), error, self.last + 1, upto
        )

    def _is_settled(self, upto: int) -> bool:
        """Waits until actions may be told. Returns False if that can't be known any more."""
        engine = self._engine()
        if engine is None:
            return False
        try:
            engine.log.wait(upto)
            return True
        except SystemClosed:
            pass  # It is being closed, which makes them durable.
        except (CoopyError, OSError) as error:
            log_error("a subscriber, %s, is told of no action after %d: %s", shown(self._told), self.last, error)
            return False
        del engine
        while not self._tap.ended and not self._closed:
            self._bell.acquire()
        return self._tap.is_settled and not self._closed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()
