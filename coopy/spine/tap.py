"""Who is told, in this process, of actions that may be told now.

The engine says, with its lock held, up to which action all have ended (`Tap.tell`): one comparison for a call while nobody listens, a flag
to look at for each subscriber while one does. Each `Subscription` has a thread of its own, which waits until those actions are settled
and then calls its callback with the range of them, without the lock. Since it is told of ranges, nothing is queued: a slow callback holds
up no call and no other subscriber, and is told of a longer range the next time.

Whoever only waits until there may be something new, and then asks, needs neither a range nor a thread: all of them in a process share
one `Doorbell`, which is rung by the call itself.

No action is decoded here; `coopy.control` has what reads them.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from coopy.errors import CoopyError, SystemClosed
from coopy.ground.bell import Bell, Waiter
from coopy.ground.log import error as log_error
from coopy.ground.raised import last_resort
from coopy.ground.storage import Log
from coopy.ground.words import shown

if TYPE_CHECKING:
    from typing_extensions import Self

Told = Callable[[int, int], object]
"""Called with the indexes of the first and the last action of a range."""


Withdrawn = Callable[[int], object]
"""Called with the index of an action that is withdrawn, with the lock held, before another action runs."""


class Tapped(Protocol):
    """What a tap asks of an engine."""

    log: Log
    tap: Tap | None

    def listen(self, listener: Listener) -> None:
        """Adds a listener to the tap. Raises `SystemClosed`."""
        ...

    def run(self, function: Callable[[], object]) -> object:
        """Runs a function with the lock held."""
        ...


class Listener(Protocol):
    """What a tap rings."""

    asleep: bool
    """Whether it is to be woken by what comes next."""

    def wake(self) -> None:
        """Is called, with the lock held or while nothing comes any more, if it was asleep."""
        ...

    def withdrawn(self, index: int, /) -> object:
        """Is told, with the lock held, of an action that is withdrawn."""
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
        self.listeners: tuple[Listener, ...] = ()

    def tell(self, index: int) -> None:
        """Takes the index of the last action that has ended."""
        self.newest = index
        for each in self.listeners:
            if each.asleep:
                each.wake()

    def withdraw(self, index: int) -> None:
        """Takes the index of an action that is withdrawn."""
        for each in self.listeners:
            each.withdrawn(index)

    def leave(self, listener: Listener, engine: Tapped) -> None:
        """Lets a listener go, and the tap with the last one."""
        self.listeners = tuple(each for each in self.listeners if each is not listener)
        if not self.listeners and engine.tap is self:
            engine.tap = None

    def end(self, index: int | None) -> None:
        """Takes the index of the last action of all, or None if it is not known whether what came last is settled."""
        if not self.ended:
            self.is_settled = index is not None
            if index is not None:
                self.newest = index
            self.ended = True
        for each in self.listeners:
            each.wake()


class Doorbell:
    """Rings for all in this process who wait for what the next action brings; see `coopy.ground.bell`.

    It hangs on the tap while somebody waits. When nobody does any more, the next call takes it off, so that whoever stops waiting needs no lock.
    """

    def __init__(self, engine: Tapped) -> None:
        self.asleep = False
        self._engine = weakref.ref(engine)
        self._bell = Bell()
        self._hangs = False

    def register(self, waiter: Waiter) -> bool:
        """Has a waiter woken by the next action. Returns False if `hang` must be called before that is so."""
        self._bell.register(waiter)
        self.asleep = True
        return self._hangs

    def hang(self) -> None:
        """Hangs the bell up. Takes the lock. Raises `SystemClosed`."""
        engine = self._engine()
        assert engine is not None, "who waits for a system holds it"
        engine.run(lambda: self._hang(engine))

    def _hang(self, engine: Tapped) -> None:
        if not self._hangs:
            engine.listen(self)
            self._hangs = True

    def leave(self, waiter: Waiter) -> None:
        """Has a waiter not be woken any more."""
        self._bell.leave(waiter)
        if not self._bell:
            self.asleep = True  # So the next call takes it off.

    def pass_on(self, waiter: Waiter) -> None:
        """Wakes the next. Each that was woken calls this when it has asked."""
        self._bell.pass_on(waiter)

    def wake(self) -> None:
        """Wakes the first of those who wait."""
        # In this order: who registers meanwhile is rung, or finds that the bell must be hung up, or that it sleeps.
        self.asleep = False
        if self._bell:
            self._bell.ring()
            return
        self._hangs = False
        engine = self._engine()
        tap = engine.tap if engine is not None else None
        if self._bell or engine is None or tap is None:
            self._hangs = bool(self._bell)
            self._bell.ring()
            return
        tap.leave(self, engine)

    def withdrawn(self, index: int, /) -> object:
        """Is not of interest: who was woken asks."""


def of_no_interest(index: int) -> None:
    pass


class Subscription:
    """What `Control.subscribe` returns. The callback is called until it is closed, or the system is; as a context manager it is closed at the end."""

    def __init__(
        self,
        engine: Tapped,
        tap: Tap,
        told: Told,
        after: int,
        then: Callable[[], object] | None,
        withdrawn: Withdrawn = of_no_interest,
    ) -> None:
        self.last = after
        """Index of the last action that the callback has been told of."""
        self.asleep = False
        self._engine = weakref.ref(engine, lambda _: self._stop())
        self._tap = tap
        self._told = told
        self._then = then
        self.withdrawn = withdrawn
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
            engine.run(lambda: self._tap.leave(self, engine))
        if self._thread is not threading.current_thread():
            self._thread.join()

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
        # It is the user's code: it is told of the next actions all the same. `sys.exit` would end this thread alone, without a word.
        with last_resort(self._raised, upto, of=(Exception, SystemExit)):
            self._told(self.last + 1, upto)
        self.last = upto
        with self._moved:
            self._moved.notify_all()
        return True

    def _raised(self, error: BaseException, upto: int) -> None:
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
